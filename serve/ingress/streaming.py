"""A log of events, as frames on a wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Protocol

import orjson

from serve.domain.asks import Run, Runs
from serve.domain.messages import (
    TERMINAL_EVENTS,
    Failed,
    LogEntry,
    LogEvent,
    StageFinished,
    StageStarted,
)
from serve.domain.records import JsonObject

# A refusal (prompt over the window, broken media) is nearly always known by then and gets its
# HTTP status; after this the stream opens and a refusal becomes its last event.
_HOLD_STATUS_S = 10.0


class WireFold(Protocol):
    """Log events to wire events."""

    def opening(self) -> Iterator[JsonObject]:
        """What precedes the log."""
        ...

    def apply(self, event: LogEvent) -> Iterator[JsonObject]:
        """What one event amounts to."""
        ...


async def until_accepted(runs: Runs, run: Run) -> None:
    """Return once the answer has begun. Raises what the run was refused with."""
    try:
        async with asyncio.timeout(_HOLD_STATUS_S), aclosing(runs.follow(run.record.id)) as entries:
            async for entry in entries:
                if isinstance(entry.event, Failed):
                    await run.finished()
                if not isinstance(entry.event, StageStarted | StageFinished):
                    return
    except TimeoutError:
        return


async def wire_events(
    entries: AsyncGenerator[LogEntry, None], fold: WireFold, *, after: int = -1
) -> AsyncGenerator[JsonObject, None]:
    """Fold a log, leaving out events numbered up to ``after`` (events without number pass)."""
    for event in fold.opening():
        if event.get("sequence_number", after + 1) > after:
            yield event
    async with aclosing(entries) as source:
        async for entry in source:
            for event in fold.apply(entry.event):
                if event.get("sequence_number", after + 1) > after:
                    yield event
            if isinstance(entry.event, TERMINAL_EVENTS):
                return


async def replay(entries: tuple[LogEntry, ...]) -> AsyncGenerator[LogEntry, None]:
    """A finished log, as if it were followed."""
    for entry in entries:
        yield entry


def frame(event: JsonObject, *, named: bool) -> bytes:
    """One server-sent event. The Responses API names its events, Chat Completions does not."""
    name = f"event: {event['type']}\n".encode() if named else b""
    return name + b"data: " + orjson.dumps(event) + b"\n\n"


async def abandoning(frames: AsyncGenerator[bytes, None], run: Run) -> AsyncGenerator[bytes, None]:
    """Pass frames on; when the client leaves before the end, stop the run."""
    whole = False
    try:
        async with aclosing(frames) as source:
            async for chunk in source:
                yield chunk
        whole = True
    finally:
        if not whole:
            run.abandon()
