"""Writing one response's entries, one number after the other."""

from __future__ import annotations

import asyncio

from serve.domain.journal import Wrote
from serve.domain.messages import LogEvent
from serve.domain.ports import Journal


class EventWriter:
    """The supervisor's pen. ``next_seq`` passes to the generator with the call."""

    def __init__(self, journal: Journal, response_id: str, *, epoch: int, next_seq: int) -> None:
        self._journal = journal
        self._response_id = response_id
        self._epoch = epoch
        self._writing = asyncio.Lock()
        self.next_seq = next_seq

    async def write(self, *events: LogEvent) -> None:
        """Append in order."""
        async with self._writing:
            record = Wrote(self._response_id, self._epoch, self.next_seq, events)
            await self._journal.append([record])
            self.next_seq += len(events)
