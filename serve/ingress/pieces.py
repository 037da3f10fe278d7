"""Bytes as they are made: sound, pictures on their way, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.domain.errors import PolymodalError
from serve.ingress.leaving import ClientLeft, client_left
from serve.ingress.streaming import SSE_HEADERS

Pieces = AsyncGenerator[bytes, None]


class PieceStream(Response):
    """Writes pieces as they come; the status waits for the first, so a refusal can have its own.

    A failure behind it breaks the connection, unless ``pieces`` can say it in its own words. When
    the client leaves, ``pieces`` is closed.
    """

    def __init__(self, pieces: Pieces, media_type: str) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(SSE_HEADERS)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until the sound or the client ends."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(client_left(receive))
                group.create_task(self._write(send, watcher))
        except* ClientLeft:
            pass
        except* PolymodalError as refused:
            raise refused.exceptions[0] from None

    async def _write(self, send: Send, watcher: asyncio.Task[None]) -> None:
        is_open = False
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                if not is_open:
                    is_open = True
                    await self._open(send)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not is_open:
            await self._open(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        # At once: to the watcher, a complete response looks like a client that left.
        watcher.cancel()

    async def _open(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
