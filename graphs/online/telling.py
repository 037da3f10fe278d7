"""Telling people how far something has come, not more often than they can see."""

from __future__ import annotations

import time
from typing import Final

from graphs.online.writer import EventWriter
from serve.domain.messages import Progress, Stage, StageProgress

# Every one of them goes through the store to all who watch.
_PERIOD_S: Final = 0.25


class Teller:
    """Writes the progress of one stage: its first, its last, and some between them."""

    def __init__(self, stage: Stage, subject: str, writer: EventWriter) -> None:
        self._stage = stage
        self._subject = subject
        self._writer = writer
        self._told_at_s = 0.0

    async def watch(self, progress: Progress) -> None:
        """See ``Watch``."""
        now_s = time.monotonic()
        if now_s - self._told_at_s < _PERIOD_S and progress.done < 1:
            return
        self._told_at_s = now_s
        await self._writer.write(
            StageProgress(self._stage, self._subject, progress.done, progress.note, time.time())
        )
