"""Texts and pictures to scores of what may be wrong with them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deployments.loading import model_dir
from deployments.moderation.attacks import AttackDetector
from deployments.moderation.nudity import NudityDetector
from deployments.moderation.patterns import scores_of
from deployments.vision.pictures import decode_picture
from serve.domain.messages import Judgement

if TYPE_CHECKING:
    from serve.registry.specs import ModelSpec

# Longer texts are judged by their beginning: a page takes a tenth of a second.
_MAX_CHARS: Final = 100_000


class ModeratorReplica:
    """Judges one thing at a time. ``models_dir``: where prepared models are."""

    def __init__(self, spec: ModelSpec, models_dir: Path) -> None:
        self._spec = spec
        self._attacks = AttackDetector()
        self._nudity = NudityDetector(model_dir(spec, models_dir))
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="judge")

    async def judge_texts(self, texts: tuple[str, ...]) -> tuple[Judgement, ...]:
        """One judgement per text, in order."""
        loop = asyncio.get_running_loop()
        return tuple([await loop.run_in_executor(self._worker, self._text, text) for text in texts])

    async def judge_picture(self, content: bytes) -> Judgement:
        """Of an encoded picture. Raises ``BrokenMedia`` when it cannot be decoded."""
        return await asyncio.get_running_loop().run_in_executor(
            self._worker, self._picture, content
        )

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    def _text(self, text: str) -> Judgement:
        text = text[:_MAX_CHARS]
        scores = self._attacks.scores_of(text)
        for category, score in scores_of(text).items():
            scores[category] = max(score, scores.get(category, 0.0))
        return Judgement(scores=scores)

    def _picture(self, content: bytes) -> Judgement:
        return Judgement(scores={"sexual": self._nudity.score(decode_picture(content))})
