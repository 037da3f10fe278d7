"""A log of events as server-sent events. What every token costs is decided here.

A batch of entries becomes one write. The steady state, one more piece of text, is formatted
without a dict or a model; everything rare takes the general way through the fold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.domain.asks import Run
from serve.domain.errors import PolymodalError
from serve.domain.messages import (
    Failed,
    LogEntry,
    Queued,
    StageFinished,
    StageProgress,
    StageStarted,
    TextDelta,
)
from serve.domain.records import JsonObject
from serve.ingress.context import send_on
from serve.ingress.errors import as_error
from serve.ingress.idempotency import BROKEN
from serve.protocol.chat import ChatChunks
from serve.protocol.errors import render_error
from serve.protocol.events import STAGE_EVENT, TEXT_EVENT, ResponseEvents

# A refusal (prompt over the window, broken media) is nearly always known by then and gets its
# HTTP status; after this the stream opens and a refusal becomes its last event.
_HOLD_STATUS_S: Final = 10.0
# A connection that died without a word is found by writing to it.
_HEARTBEAT_S: Final = 15.0
_HEARTBEAT: Final = b": \n\n"
SSE_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_DONE: Final = b"data: [DONE]\n\n"
_TEXT_FRAME: Final = b"event: %b\ndata: " % TEXT_EVENT.encode()

Batches = AsyncGenerator[Sequence[LogEntry], None]


class Frames(Protocol):
    """A log as bytes, for one reader, fed from the log's start."""

    def opening(self) -> bytes:
        """What precedes the log."""
        ...

    def batch(self, entries: Sequence[LogEntry]) -> bytes:
        """What these entries amount to; may be nothing."""
        ...

    def broken(self, error: PolymodalError) -> bytes:
        """That the log cannot be read on."""
        ...

    def closing(self) -> bytes:
        """What follows the log."""
        ...


class ResponseFrames:
    """Named events of the Responses API; those numbered up to ``after`` are left out."""

    def __init__(self, fold: ResponseEvents, *, after: int = -1) -> None:
        self._fold = fold
        self._after = after

    def opening(self) -> bytes:
        """See ``Frames``."""
        return b"".join(map(named_frame, self._wanted(self._fold.opening())))

    def batch(self, entries: Sequence[LogEntry]) -> bytes:
        """See ``Frames``."""
        frames: list[bytes] = []
        for entry in entries:
            event = entry.event
            if type(event) is TextDelta:
                delta = self._fold.apply_text(event.text)
                if delta is not None:
                    if delta[0] > self._after:
                        frames.append(_TEXT_FRAME + delta[1] + b"\n\n")
                    continue
            elif type(event) is Queued:
                frames.append(_in_line(event))
            frames.extend(map(named_frame, self._wanted(self._fold.apply(event))))
        return b"".join(frames)

    def broken(self, error: PolymodalError) -> bytes:
        """See ``Frames``. No number of its own: who resumes behind it misses nothing."""
        told = {"code": error.code, "message": error.message, "param": error.param}
        number = {"sequence_number": self._fold.last_number}
        return named_frame({"type": "error", **told, **number})

    def closing(self) -> bytes:
        """See ``Frames``."""
        return b""

    def _wanted(self, events: Iterable[JsonObject]) -> Iterable[JsonObject]:
        # Strict OpenAI clients know no stages; the WebSocket has them.
        return (
            event
            for event in events
            if event["sequence_number"] > self._after and event["type"] != STAGE_EVENT
        )


class ChatFrames:
    """Chunks of Chat Completions, without names or numbers."""

    def __init__(self, fold: ChatChunks) -> None:
        self._fold = fold

    def opening(self) -> bytes:
        """See ``Frames``."""
        return b"".join(map(nameless_frame, self._fold.opening()))

    def batch(self, entries: Sequence[LogEntry]) -> bytes:
        """See ``Frames``."""
        frames: list[bytes] = []
        for entry in entries:
            event = entry.event
            if type(event) is TextDelta:
                frames.append(b"data: " + self._fold.apply_text(event.text) + b"\n\n")
            elif type(event) is Queued:
                frames.append(_in_line(event))
            else:
                frames.extend(map(nameless_frame, self._fold.apply(event)))
        return b"".join(frames)

    def broken(self, error: PolymodalError) -> bytes:
        """See ``Frames``."""
        return nameless_frame(render_error(error))

    def closing(self) -> bytes:
        """See ``Frames``."""
        return _DONE


class LineMessages:
    """Messages of the browser's line, one per event, stages included."""

    def __init__(
        self, fold: ResponseEvents, client_id: str | None, response_id: str, *, after: int = -1
    ) -> None:
        self._fold = fold
        self._after = after
        head = {"type": "event", "client_id": client_id, "response_id": response_id}
        self._head = orjson.dumps(head)[:-1] + b',"event":'

    def opening(self) -> list[str]:
        """What precedes the log."""
        return self._wanted(self._fold.opening())

    def batch(self, entries: Sequence[LogEntry]) -> list[str]:
        """What these entries amount to."""
        messages: list[str] = []
        for entry in entries:
            event = entry.event
            if type(event) is TextDelta:
                delta = self._fold.apply_text(event.text)
                if delta is not None:
                    if delta[0] > self._after:
                        messages.append((self._head + delta[1] + b"}").decode())
                    continue
            messages.extend(self._wanted(self._fold.apply(event)))
        return messages

    def _wanted(self, events: Iterable[JsonObject]) -> list[str]:
        return [
            (self._head + orjson.dumps(event) + b"}").decode()
            for event in events
            if event["sequence_number"] > self._after or self._is_stage_of_now(event)
        ]

    def _is_stage_of_now(self, event: JsonObject) -> bool:
        """Stages carry the number of the event before them, so the reader may not know this one."""
        is_now: bool = event["sequence_number"] == self._after
        return is_now and event["type"] == STAGE_EVENT


class _ClientLeft(Exception):
    """The connection is gone."""


class EventStream(Response):
    """Writes a log as it grows.

    ``run`` is given when it belongs to this client alone: a refusal gets its HTTP status, and when
    the client leaves before the end, so does the run. A server that stops cuts the stream only.
    """

    media_type = "text/event-stream"

    def __init__(self, batches: Batches, frames: Frames, *, run: Run | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(SSE_HEADERS)
        self._batches = batches
        self._frames = frames
        self._run = run
        self._held: list[bytes] = []
        self._is_open = False
        self._is_silent = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until the log or the client ends."""
        on = send_on(scope, send)
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch(receive, send, on))
                # A task of its own: resumed for every batch, it should not have to be reached
                # through all the layers that called us.
                group.create_task(self._write_all(send, on, watcher))
        except* _ClientLeft:
            if self._run is not None:
                self._run.abandon()
        except* PolymodalError as refused:
            raise refused.exceptions[0] from None

    async def _write_all(self, send: Send, on: Send, watcher: asyncio.Task[None]) -> None:
        await self._write(send, on)
        # At once: to the watcher, a complete response looks like a client that left.
        watcher.cancel()

    async def _write(self, send: Send, on: Send) -> None:
        self._held.append(self._frames.opening())
        if self._run is None:
            await self._open(send)
        async with aclosing(self._batches) as batches:
            try:
                async for batch in batches:
                    frames = self._frames.batch(batch)
                    if self._is_open:
                        if frames:
                            self._is_silent = False
                            await on(_body(frames))
                        continue
                    self._held.append(frames)
                    if await self._has_begun(batch):
                        await self._open(send)
            except PolymodalError as error:
                if not self._is_open:
                    raise
                await on({**_body(self._frames.broken(as_error(error))), BROKEN: True})
        await self._open(send)
        await on({**_body(self._frames.closing()), "more_body": False})

    async def _has_begun(self, batch: Sequence[LogEntry]) -> bool:
        """Whether there is an answer. Raises what the run was refused with."""
        for entry in batch:
            if isinstance(entry.event, Failed) and self._run is not None:
                await self._run.finished()
            if not isinstance(entry.event, StageStarted | StageProgress | StageFinished | Queued):
                return True
        return False

    async def _open(self, send: Send) -> None:
        if self._is_open:
            return
        self._is_open = True
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        await send(_body(b"".join(self._held)))
        self._held.clear()

    async def _watch(self, receive: Receive, send: Send, on: Send) -> None:
        """Notice the client leaving; speak up when there is nothing to say."""
        wait_s = _HEARTBEAT_S if self._run is None else _HOLD_STATUS_S
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    message = await receive()
            except TimeoutError:
                if not self._is_open:
                    await self._open(send)
                elif self._is_silent:
                    await on(_body(_HEARTBEAT))
                self._is_silent = True
                wait_s = _HEARTBEAT_S
                continue
            if message["type"] == "http.disconnect":
                raise _ClientLeft


async def replay(entries: Sequence[LogEntry]) -> Batches:
    """A finished log, as if it were followed."""
    yield entries


def _in_line(queued: Queued) -> bytes:
    """A comment: strict clients of OpenAI know no such event."""
    return b": queued place=%d eta_s=%.0f\n\n" % (queued.place, queued.eta_s)


def _body(frames: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": frames, "more_body": True}


def named_frame(event: JsonObject) -> bytes:
    """One server-sent event, as the Responses API sends them."""
    return f"event: {event['type']}\n".encode() + nameless_frame(event)


def nameless_frame(event: JsonObject) -> bytes:
    """One server-sent event, as Chat Completions sends them."""
    return b"data: " + orjson.dumps(event) + b"\n\n"
