"""Writing one response's log, one sequence number after the other."""

from __future__ import annotations

import asyncio

from serve.domain.errors import Conflict
from serve.domain.messages import TERMINAL_EVENTS, LogEntry, LogEvent
from serve.domain.ports import StreamLog

_SEAL_ATTEMPTS = 20


class LogWriter:
    """The supervisor's pen. ``next_seq`` passes to the generator and back with each call."""

    def __init__(self, log: StreamLog, response_id: str) -> None:
        self._log = log
        self._response_id = response_id
        self._writing = asyncio.Lock()
        self.next_seq = 0

    async def write(self, *events: LogEvent) -> None:
        """Append in order."""
        async with self._writing:
            entries = [
                (self._response_id, LogEntry(self.next_seq + offset, event))
                for offset, event in enumerate(events)
            ]
            await self._log.append(entries)
            self.next_seq += len(entries)


async def seal(log: StreamLog, response_id: str, event: LogEvent) -> tuple[LogEntry, ...]:
    """End a log that somebody else may still be writing, and return all of it.

    Claiming the next free place makes every later append of the other writer a ``Conflict``.
    A log that has an end already keeps it.
    """
    for _ in range(_SEAL_ATTEMPTS):
        entries = await log.read(response_id)
        if entries and isinstance(entries[-1].event, TERMINAL_EVENTS):
            return entries
        last = LogEntry(len(entries), event)
        try:
            await log.append([(response_id, last)])
        except Conflict:
            continue
        return (*entries, last)
    raise Conflict(f"the log of {response_id} could not be ended: its writer does not stop")
