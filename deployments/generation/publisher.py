"""Writes what all responses of an engine step have to say in one round trip."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from serve.domain.journal import Wrote
from serve.domain.messages import GenerationRequest, LogEvent, Stage, StageStarted, TextDelta
from serve.domain.ports import JournalWriter

# Writes that may wait while the store is away: half a minute of a hundred quick answers.
_MAX_WAITING: Final = 1 << 16


class ResponseWriter:
    """One response's events, numbered without gaps."""

    def __init__(self, publisher: StepPublisher, request: GenerationRequest) -> None:
        self._publisher = publisher
        self._response_id = request.response_id
        self._epoch = request.epoch
        self._next_seq = request.first_seq
        self._goes_on = bool(request.emitted_ids)
        self._waiting: list[LogEvent] = []
        self._is_under_way = False
        self._lost: Exception | None = None

    def begin(self) -> None:
        """Say that the prompt is being read, unless the answer is half written already."""
        if not self._goes_on:
            self.write([StageStarted(Stage.READING, "", time.time())])

    def write(self, events: Sequence[LogEvent]) -> None:
        """Say these with the next append; they must end at a safe boundary. Does not wait.

        Raises what an earlier append raised: after that the response has a gap.
        """
        if self._lost is not None:
            raise self._lost
        if not events:
            return
        if not self._waiting:
            self._publisher.expect(self)
        self._publisher.n_waiting += 1
        for event in events:
            self._add(event)

    async def flushed(self) -> None:
        """Return when all that was written is in the store. Raises what the append raised."""
        while self._waiting or self._is_under_way:
            await self._publisher.next_append()
        if self._lost is not None:
            raise self._lost

    def _add(self, event: LogEvent) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            # Text without tokens before text with tokens is one piece of the same boundary.
            self._waiting[-1] = TextDelta(last.text + event.text, last.token_ids + event.token_ids)
        else:
            self._waiting.append(event)

    # --- for the publisher --------------------------------------------------------------------

    def take(self) -> Wrote:
        """All that waits, now under way."""
        record = Wrote(self._response_id, self._epoch, self._next_seq, tuple(self._waiting))
        self._next_seq += len(self._waiting)
        self._waiting.clear()
        self._is_under_way = True
        return record

    def arrived(self, error: Exception | None) -> None:
        """What was under way is in the store, or lost and with it all that waits behind it."""
        self._is_under_way = False
        if error is not None:
            self._lost = error
            self._waiting.clear()

    @property
    def has_news(self) -> bool:
        """Something waits."""
        return bool(self._waiting)


class StepPublisher:
    """Collects what is written in one turn of the event loop and appends it together.

    The engine wakes every response that got a token in the same turn, so a turn is a step. While
    one append is under way the next batch grows; what one response writes meanwhile is merged.
    """

    def __init__(self, journal: JournalWriter, *, max_waiting: int = _MAX_WAITING) -> None:
        self._journal = journal
        self._max_waiting = max_waiting
        self.n_waiting = 0
        self._writers: list[ResponseWriter] = []
        self._appending: asyncio.Task[None] | None = None
        self._appended = asyncio.Event()

    def expect(self, writer: ResponseWriter) -> None:
        """Include this writer in the next append."""
        self._writers.append(writer)
        if self._appending is None:
            # It runs in the next turn, when everybody in this one has written.
            self._appending = asyncio.get_running_loop().create_task(self._append())

    @property
    def is_full(self) -> bool:
        """So much waits that writers should wait for ``next_append``."""
        return self.n_waiting >= self._max_waiting

    async def next_append(self) -> None:
        """Return after the append that is under way, or the next one, succeeded or failed."""
        await self._appended.wait()

    async def _append(self) -> None:
        try:
            while self._writers:
                await self._append_once()
        finally:
            self._appending = None

    async def _append_once(self) -> None:
        writers, self._writers = [each for each in self._writers if each.has_news], []
        self.n_waiting = 0
        error: Exception | None = None
        try:
            await self._journal.append([writer.take() for writer in writers])
        except Exception as failure:  # noqa: BLE001 - whoever wrote is told
            error = failure
        for writer in writers:
            writer.arrived(error)
        self._appended.set()
        self._appended = asyncio.Event()
