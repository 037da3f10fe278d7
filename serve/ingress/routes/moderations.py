"""``/v1/moderations``."""

from __future__ import annotations

from fastapi import APIRouter

from serve.domain.media import MediaKind
from serve.domain.messages import Judgement
from serve.domain.records import JsonObject
from serve.ingress.authentication import Reader
from serve.ingress.context import IngressPorts, Ports
from serve.media.intake import MediaSource
from serve.protocol.moderations import (
    CreateModeration,
    ImageToJudge,
    JudgedInput,
    PartToJudge,
    render_moderation,
)

router = APIRouter(prefix="/v1/moderations", tags=["moderations"])


@router.post("")
async def create(body: CreateModeration, ports: Ports, _caller: Reader) -> JsonObject:
    """Judge texts and pictures. Nothing of them is kept."""
    model = ports.models.choose("moderator", body.model).name
    if isinstance(body.input, str):
        judged = await _texts(ports, (body.input,))
    elif all(isinstance(each, str) for each in body.input):
        judged = await _texts(ports, tuple(str(each) for each in body.input))
    else:
        parts = [each for each in body.input if not isinstance(each, str)]
        judged = [await _parts(ports, parts)]
    return render_moderation(model, judged)


async def _texts(ports: IngressPorts, texts: tuple[str, ...]) -> list[JudgedInput]:
    policy = ports.moderation
    found = await policy.moderator.judge_texts(texts)
    return [
        JudgedInput(
            judgement=judgement,
            flagged=policy.text_rules.flagged(judgement),
            kinds={name: ["text"] for name in judgement.scores},
        )
        for judgement in found
    ]


async def _parts(ports: IngressPorts, parts: list[PartToJudge]) -> JudgedInput:
    """All parts together: each category's highest score, and where it could come from."""
    scores: dict[str, float] = {}
    kinds: dict[str, list[str]] = {}
    flagged: set[str] = set()
    for part in parts:
        if isinstance(part, ImageToJudge):
            judgement = await _picture(ports, part.image_url.url)
            rules, kind = ports.moderation.picture_rules, "image"
        else:
            (judgement,) = await ports.moderation.moderator.judge_texts((part.text,))
            rules, kind = ports.moderation.text_rules, "text"
        flagged.update(rules.flagged(judgement))
        for name, score in judgement.scores.items():
            scores[name] = max(score, scores.get(name, 0.0))
            if kind not in kinds.setdefault(name, []):
                kinds[name].append(kind)
    return JudgedInput(Judgement(scores=scores), tuple(sorted(flagged)), kinds)


async def _picture(ports: IngressPorts, url: str) -> Judgement:
    source = MediaSource(url=url, expect=MediaKind.IMAGE, param="input.image_url")
    media = await ports.intake.clean(source)
    return await ports.moderation.moderator.judge_picture(media.content)
