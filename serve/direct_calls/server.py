"""Takes calls where a generator runs."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

from serve.direct_calls.frames import (
    MAX_PASSWORD_BYTES,
    MAX_PAYLOAD_BYTES,
    BadFrame,
    Frame,
    FrameBuffer,
    Kind,
    error_to_json,
    frame,
    request_from_json,
)
from serve.domain.errors import EngineDead, InternalError, PolymodalError
from serve.domain.messages import GenerationRequest

_log = logging.getLogger(__name__)

# Who connects and says nothing, or the wrong thing, does not stay.
_PASSWORD_WITHIN_S: Final = 5.0

Generate = Callable[[GenerationRequest], Awaitable[None]]


def loopback() -> str:
    """Where callers of this machine alone are heard."""
    return "127.0.0.1"


class CallServer:
    """Carries out the calls of all ingresses with ``generate``.

    A call outlives its connection: a response whose ingress died is taken over by another one,
    and so is the work on it. Only a cancel ends it.
    """

    def __init__(self, generate: Generate, find_host: Callable[[], str]) -> None:
        """``find_host``: the address to listen on; asked once, when there is a loop."""
        self._generate = generate
        self._find_host = find_host
        self._callers: set[_Caller] = set()
        self._is_leaving = False
        self.address = ""
        self.password = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take calls inside the block, at ``address``, from who knows ``password``."""
        self.password = secrets.token_urlsafe(32)
        server = await asyncio.get_running_loop().create_server(
            lambda: _Caller(self), self._find_host(), 0
        )
        try:
            host, port = server.sockets[0].getsockname()[:2]
            self.address = f"{host}:{port}"
            yield
        finally:
            self.address = ""
            server.close()
            for caller in tuple(self._callers):
                caller.close()

    async def leave(self) -> None:
        """Have callers go elsewhere from now on, and wait for what is wanted by them still."""
        self._is_leaving = True
        for caller in self._callers:
            caller.say(Kind.LEAVING)
        while any(caller.n_calls for caller in self._callers):
            await asyncio.wait([task for each in self._callers for task in each.calls])

    # --- for callers --------------------------------------------------------------------------

    def joined(self, caller: _Caller) -> None:
        """It connected and gave the password."""
        self._callers.add(caller)
        if self._is_leaving:
            caller.say(Kind.LEAVING)

    def left(self, caller: _Caller) -> None:
        """Its connection is gone."""
        self._callers.discard(caller)

    async def answer(self, payload: bytes) -> bytes | None:
        """Carry out one call; what it failed with, if it did."""
        try:
            if self._is_leaving:
                raise EngineDead("this generator is leaving; try again")
            await self._generate(request_from_json(payload))
        except PolymodalError as error:
            return error_to_json(error)
        except Exception:  # noqa: BLE001 - the border of a call: log, answer
            _log.exception("call failed unexpectedly")
            return error_to_json(InternalError("the generator failed on this request"))
        return None


class _Caller(asyncio.Protocol):
    """One connection of an ingress."""

    def __init__(self, server: CallServer) -> None:
        self._server = server
        self._frames = FrameBuffer(MAX_PASSWORD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._is_known = False
        self._calls: dict[int, asyncio.Task[None]] = {}

    @property
    def calls(self) -> tuple[asyncio.Task[None], ...]:
        """In work."""
        return tuple(self._calls.values())

    @property
    def n_calls(self) -> int:
        """How many are in work."""
        return len(self._calls)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def say(self, kind: Kind, number: int = 0, payload: bytes = b"") -> None:
        """Send a frame, if anybody is there to hear it."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(kind, number, payload))

    # --- asyncio's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # uvloop's is none by its class.
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(_PASSWORD_WITHIN_S, self.close)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        try:
            for each in self._frames.feed(data):
                self._take(each)
        except BadFrame as error:
            _log.warning("caller hung up on", extra={"reason": str(error)})
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        if self._patience is not None:
            self._patience.cancel()
        self._transport = None
        self._server.left(self)

    # --- frames ---------------------------------------------------------------------------------

    def _take(self, each: Frame) -> None:
        if not self._is_known:
            self._admit(each)
            return
        match each.kind:
            case Kind.CALL:
                if each.number in self._calls:
                    raise BadFrame("two calls of one number")
                loop = asyncio.get_running_loop()
                self._calls[each.number] = loop.create_task(self._call(each))
            case Kind.CANCEL:
                if (call := self._calls.get(each.number)) is not None:
                    call.cancel()
            case _:
                raise BadFrame("a frame that no caller sends")

    def _admit(self, each: Frame) -> None:
        password = self._server.password.encode()
        if each.kind is not Kind.PASSWORD or not hmac.compare_digest(each.payload, password):
            raise BadFrame("no password, or a wrong one")
        self._is_known = True
        self._frames.max_payload_bytes = MAX_PAYLOAD_BYTES
        if self._patience is not None:
            self._patience.cancel()
        self._server.joined(self)

    async def _call(self, each: Frame) -> None:
        try:
            failure = await self._server.answer(each.payload)
        finally:
            del self._calls[each.number]
        if failure is None:
            self.say(Kind.DONE, each.number)
        else:
            self.say(Kind.FAILED, each.number, failure)
