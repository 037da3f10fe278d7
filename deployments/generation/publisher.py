"""Writes what all responses of an engine step have to say in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from serve.domain.errors import Conflict
from serve.domain.messages import LogEntry, LogEvent
from serve.domain.ports import StreamLog


class StepPublisher:
    """Collects the entries of one turn of the event loop and appends them together.

    The engine wakes every response that got a token in the same turn, so a turn is a step. While
    one append is under way the next batch grows: a slow log slows its writers, and nothing piles
    up without bound.
    """

    def __init__(self, log: StreamLog) -> None:
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._open: tuple[list[tuple[str, LogEntry]], asyncio.Task[None]] | None = None

    async def write(self, response_id: str, entries: Sequence[LogEntry]) -> None:
        """Return when the entries are in the log.

        Raises:
            Conflict: Somebody else writes this response. Others in the batch are not concerned.
            StoreUnavailable: The log does not answer.
        """
        if self._open is None:
            batch: list[tuple[str, LogEntry]] = []
            flush = asyncio.get_running_loop().create_task(self._flush(batch))
            # All writers may be cancelled; then nobody is left to be told.
            flush.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._open = batch, flush
        batch, flush = self._open
        batch.extend((response_id, entry) for entry in entries)
        try:
            # One writer that is cancelled must not take the words out of the others' mouths.
            await asyncio.shield(flush)
        except Conflict as conflict:
            concerned = str(conflict.context.get("response_ids", response_id)).split(",")
            if response_id in concerned:
                raise

    async def _flush(self, batch: list[tuple[str, LogEntry]]) -> None:
        async with self._one_at_a_time:
            self._open = None
            await self._log.append(batch)


class ResponseWriter:
    """One response's events, numbered without gaps."""

    def __init__(self, publisher: StepPublisher, response_id: str, first_seq: int) -> None:
        self._publisher = publisher
        self._response_id = response_id
        self.next_seq = first_seq

    async def write(self, events: Sequence[LogEvent]) -> None:
        """Append them in order; see ``StepPublisher.write``."""
        if events:
            entries = [LogEntry(seq, event) for seq, event in enumerate(events, self.next_seq)]
            self.next_seq += len(entries)
            await self._publisher.write(self._response_id, entries)
