"""The application on a listening socket, inside an event loop that belongs to somebody else."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import uvicorn
from fastapi import FastAPI

# As long as browsers and SDKs keep an idle connection.
_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 2048
# Twice this without an answer and a WebSocket counts as gone.
_WEBSOCKET_PING_S: Final = 10.0


class ServerEnded(RuntimeError):
    """The HTTP server is not running any more."""


class _Announcing(uvicorn.Server):
    """Says when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()


class AppServer:
    """Serves ``app`` on a bound socket. One use: ``start``, then ``stop``."""

    def __init__(self, app: FastAPI, listener: socket.socket, *, grace_s: int) -> None:
        """``grace_s``: how long ``stop`` waits for requests before it cuts them."""
        self._app = app
        self._listener = listener
        self._server = _Announcing(
            uvicorn.Config(
                app,
                http="httptools",
                ws="websockets-sansio",
                # Run by us, so that opening, serving and closing share one task.
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # Anybody could claim an address and pass the limits that go by address.
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=grace_s,
                ws_ping_interval=_WEBSOCKET_PING_S,
                ws_ping_timeout=_WEBSOCKET_PING_S,
                # Small messages: compressing one costs more than all the rest of it.
                ws_per_message_deflate=False,
            )
        )
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open everything and return once connections are accepted. Raises what went wrong."""
        loop = asyncio.get_running_loop()
        # Not in a group: it lives on between the calls of start and stop, and check watches it.
        self._life = loop.create_task(self._live())
        accepting = loop.create_task(self._server.accepting.wait())
        await asyncio.wait((self._life, accepting), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        if self._life.done():
            self._life.result()

    def check(self) -> None:
        """Raise ``ServerEnded`` unless connections are accepted."""
        if self._life is None or self._life.done() or not self._server.accepting.is_set():
            raise ServerEnded("the HTTP server ended")

    async def stop(self) -> None:
        """Accept no more, let requests finish, cut what takes too long, close everything."""
        self._server.should_exit = True
        if self._life is not None:
            await asyncio.wait((self._life,))

    async def _live(self) -> None:
        async with self._app.router.lifespan_context(self._app):
            await self._server.serve(sockets=[self._listener])
            cut = tuple(self._server.server_state.tasks)
            if cut:
                # They still use what is about to be closed.
                await asyncio.wait(cut)
