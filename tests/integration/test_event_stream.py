"""A log on its way to a client, over a real connection: holding, leaving, breaking, silence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from serve.domain.errors import ContextLengthExceeded, PolymodalError, StoreUnavailable
from serve.domain.messages import (
    Failed,
    Finished,
    FinishReason,
    LogEntry,
    LogEvent,
    Stage,
    StageStarted,
    TextDelta,
    Usage,
)
from serve.domain.records import ResponseRecord
from serve.ingress import streaming
from serve.ingress.errors import install_error_handlers
from serve.ingress.server import AppServer
from serve.ingress.streaming import EventStream, ResponseFrames
from serve.protocol.events import ResponseEvents
from tests.fixtures.logs import asked_record

_READING = StageStarted(Stage.READING, "", 1.0)
_END = Finished(FinishReason.STOP, Usage(output_tokens=1), 1.0)


@dataclass
class _Log:
    """A run whose log the test writes; ``None`` ends it, an error breaks it."""

    record: ResponseRecord = field(default_factory=asked_record)
    written: asyncio.Queue[LogEvent | PolymodalError | None] = field(default_factory=asyncio.Queue)
    refusal: PolymodalError | None = None
    was_abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    was_closed: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, *events: LogEvent | PolymodalError | None) -> None:
        for event in events:
            self.written.put_nowait(event)

    async def follow(self) -> AsyncGenerator[Sequence[LogEntry], None]:
        seq = 0
        try:
            while (event := await self.written.get()) is not None:
                self.written.task_done()
                if isinstance(event, PolymodalError):
                    raise event
                yield [LogEntry(seq, event)]
                seq += 1
        finally:
            self.was_closed.set()

    async def finished(self) -> ResponseRecord:
        if self.refusal is not None:
            raise self.refusal
        return self.record

    def abandon(self) -> None:
        self.was_abandoned.set()


@dataclass
class _Served:
    url: str
    log: _Log
    server: AppServer

    @asynccontextmanager
    async def reader(self, path: str) -> AsyncIterator[httpx.Response]:
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=30) as http,
            http.stream("GET", path) as response,
        ):
            yield response


@pytest.fixture
async def served() -> AsyncIterator[_Served]:
    """``/own``: the client waits for its run. ``/watched``: it looks at somebody's."""
    app = FastAPI()
    install_error_handlers(app)
    log = _Log()

    @app.get("/own")
    async def own() -> Response:
        frames = ResponseFrames(ResponseEvents(log.record))
        return EventStream(log.follow(), frames, run=log)

    @app.get("/watched")
    async def watched() -> Response:
        return EventStream(log.follow(), ResponseFrames(ResponseEvents(log.record)))

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = AppServer(app, listener, grace_s=0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    await server.start()
    yield _Served(url, log, server)
    await server.stop()


async def _names(response: httpx.Response) -> list[str]:
    lines = [line async for line in response.aiter_lines()]
    return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


async def test_a_stream_begins_and_ends_with_the_log(served: _Served) -> None:
    served.log.write(_READING, TextDelta("so", (1,)), TextDelta(" be", (2,)), _END, None)
    async with served.reader("/own") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        names = await _names(response)
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names.count("response.output_text.delta") == 2
    assert names[-1] == "response.completed"
    assert not served.log.was_abandoned.is_set()
    assert served.log.was_closed.is_set()


async def test_a_refusal_before_the_first_word_is_an_http_status(served: _Served) -> None:
    served.log.refusal = ContextLengthExceeded("too long", limit=3)
    served.log.write(_READING, Failed("context_length_exceeded", "too long", 1.0), None)
    async with served.reader("/own") as response:
        assert response.status_code == 400
        await response.aread()
        assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_a_status_is_not_held_for_ever(
    served: _Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_HOLD_STATUS_S", 0.01)
    served.log.refusal = ContextLengthExceeded("too long", limit=3)
    served.log.write(_READING)
    async with served.reader("/own") as response:
        assert response.status_code == 200
        served.log.write(Failed("context_length_exceeded", "too long", 1.0), None)
        assert (await _names(response))[-1] == "response.failed"


@pytest.mark.parametrize("began", [False, True])
async def test_a_client_that_leaves_ends_its_own_run(served: _Served, *, began: bool) -> None:
    served.log.write(_READING, *([TextDelta("so")] if began else []))
    async with asyncio.TaskGroup() as group:

        async def read() -> None:
            async with served.reader("/own") as response:
                await response.aread()

        reading = group.create_task(read())
        await served.log.written.join()
        reading.cancel()
    await served.log.was_abandoned.wait()
    await served.log.was_closed.wait()


async def test_a_client_that_only_watched_ends_nothing(served: _Served) -> None:
    served.log.write(TextDelta("so"))
    async with served.reader("/watched") as response:
        assert response.status_code == 200
    await served.log.was_closed.wait()
    assert not served.log.was_abandoned.is_set()


async def test_a_server_that_stops_cuts_the_stream_and_not_the_run(served: _Served) -> None:
    served.log.write(TextDelta("so"))
    async with served.reader("/own") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "event: response.created"
        await served.server.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in lines:
                pass
    assert not served.log.was_abandoned.is_set()
    assert served.log.was_closed.is_set()


async def test_a_log_that_breaks_off_is_told_in_the_stream(served: _Served) -> None:
    served.log.write(TextDelta("so"), StoreUnavailable("try again"))
    async with served.reader("/own") as response:
        assert (await _names(response))[-1] == "error"


async def test_a_log_that_breaks_off_before_the_first_word_is_an_http_status(
    served: _Served,
) -> None:
    served.log.write(_READING, StoreUnavailable("try again"))
    async with served.reader("/own") as response:
        assert response.status_code == 503


async def test_silence_is_broken_by_comments(
    served: _Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_HEARTBEAT_S", 0.01)
    async with served.reader("/watched") as response:
        lines = response.aiter_lines()
        while await anext(lines) != ": ":
            pass
        served.log.write(TextDelta("so"), _END, None)
        assert "event: response.completed" in [line async for line in lines]
