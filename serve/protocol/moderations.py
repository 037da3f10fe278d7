"""``/v1/moderations`` on the wire.

Source: https://platform.openai.com/docs/api-reference/moderations
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from serve.domain.ids import new_id
from serve.domain.messages import Judgement
from serve.domain.moderation import CATEGORIES
from serve.domain.records import JsonObject
from serve.protocol.items import Wire


class TextToJudge(Wire):
    """A text."""

    type: Literal["text"]
    text: str


class ImageAddress(Wire):
    """Where a picture is: an https or data URL."""

    url: str


class ImageToJudge(Wire):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageAddress


PartToJudge = Annotated[TextToJudge | ImageToJudge, Field(discriminator="type")]


class CreateModeration(Wire):
    """Body of ``POST /v1/moderations``. Parts of one list of objects are judged as one."""

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=256)]
        | Annotated[list[PartToJudge], Field(min_length=1, max_length=16)]
    )
    model: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedInput:
    """One input's judgement. ``kinds``: which kinds of input each score comes from."""

    judgement: Judgement
    flagged: tuple[str, ...]
    kinds: dict[str, list[str]]


def render_moderation(model: str, judged: Sequence[JudgedInput]) -> JsonObject:
    """OpenAI's body, with our own category beside theirs."""
    return {
        "id": new_id("modr"),
        "model": model,
        "results": [
            {
                "flagged": bool(each.flagged),
                "categories": {name: name in each.flagged for name in CATEGORIES},
                "category_scores": {
                    name: each.judgement.scores.get(name, 0.0) for name in CATEGORIES
                },
                "category_applied_input_types": {
                    name: each.kinds.get(name, []) for name in CATEGORIES
                },
            }
            for each in judged
        ],
    }
