"""Bytes as they are made: sound, pictures on their way, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.domain.errors import PolymodalError
from serve.ingress.leaving import ClientLeft, client_left
from serve.ingress.streaming import SSE_HEADERS

Pieces = AsyncGenerator[bytes, None]
Tell = Callable[[bytes], Awaitable[None]]


class ToldStream(Response):
    """Writes what ``work`` tells, as it comes; the status waits for the first.

    So a refusal can have its own. A failure behind it breaks the connection, unless ``work`` can
    say it in its own words. When the client leaves, ``work`` is cancelled.
    """

    def __init__(
        self,
        work: Callable[[Tell], Awaitable[None]],
        media_type: str,
        *,
        has_arrived: asyncio.Event | None = None,
    ) -> None:
        """``has_arrived``: until then, ``work`` reads the request and sees a client leave."""
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(SSE_HEADERS)
        self._work = work
        self._has_arrived = has_arrived
        self._is_open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until the work or the client ends."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch(receive))
                group.create_task(self._write(send, watcher))
        except* ClientLeft:
            pass
        except* PolymodalError as refused:
            raise refused.exceptions[0] from None

    async def _watch(self, receive: Receive) -> None:
        if self._has_arrived is not None:
            await self._has_arrived.wait()
        await client_left(receive)

    async def _write(self, send: Send, watcher: asyncio.Task[None]) -> None:
        async def tell(piece: bytes) -> None:
            await self._open(send)
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        await self._work(tell)
        await self._open(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        # At once: to the watcher, a complete response looks like a client that left.
        watcher.cancel()

    async def _open(self, send: Send) -> None:
        if not self._is_open:
            self._is_open = True
            head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(head)


class PieceStream(ToldStream):
    """The same of pieces that a generator makes, which is closed when the client leaves."""

    def __init__(self, pieces: Pieces, media_type: str) -> None:
        super().__init__(lambda tell: _tell_all(pieces, tell), media_type)


async def _tell_all(pieces: Pieces, tell: Tell) -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            await tell(piece)
