"""The HTTP server inside a loop of somebody else's: how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from serve.ingress.server import AppServer, ServerEnded

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def _app(lifespan: Lifespan) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/stream")
    async def stream(n: int) -> StreamingResponse:
        async def numbers() -> AsyncIterator[bytes]:
            for number in range(n):
                yield b"%d\n" % number
                await asyncio.sleep(0.1)

        return StreamingResponse(numbers())

    return app


def _bound() -> tuple[socket.socket, str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def _no_database() -> None:
    raise ConnectionError("no database")


async def test_requests_are_finished_before_everything_closes() -> None:
    steps: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        steps.append("opened")
        yield
        steps.append("closed")

    listener, url = _bound()
    server = AppServer(_app(lifespan), listener, grace_s=30)
    await server.start()
    server.check()
    async with httpx.AsyncClient(base_url=url) as http, http.stream("GET", "/stream?n=5") as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == "0"
        async with asyncio.TaskGroup() as group:
            group.create_task(server.stop())
            assert [line async for line in lines] == ["1", "2", "3", "4"]
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(url)
    assert steps == ["opened", "closed"]
    with pytest.raises(ServerEnded):
        server.check()


async def test_what_takes_too_long_is_cut() -> None:
    closed = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        closed.set()

    listener, url = _bound()
    server = AppServer(_app(lifespan), listener, grace_s=0)
    await server.start()
    async with httpx.AsyncClient(base_url=url) as http, http.stream("GET", "/stream?n=999") as cut:
        lines = cut.aiter_lines()
        assert await anext(lines) == "0"
        await server.stop()
        assert closed.is_set()
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in lines:
                pass


async def test_a_start_that_fails_says_why() -> None:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await _no_database()
        yield

    listener, _ = _bound()
    with listener:
        server = AppServer(_app(lifespan), listener, grace_s=1)
        with pytest.raises(ConnectionError, match="no database"):
            await server.start()
        with pytest.raises(ServerEnded):
            server.check()
