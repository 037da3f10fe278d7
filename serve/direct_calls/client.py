"""Calls generators from an ingress, without Serve's router between them.

Which replicas there are, and how busy, their beats say; which one gets a call is decided as Serve's
router would (``serve.domain.affinity``). A replica that nobody heard of yet is left to Serve.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final, cast

from serve.direct_calls.frames import (
    MAX_PAYLOAD_BYTES,
    BadFrame,
    Frame,
    FrameBuffer,
    Kind,
    error_from_json,
    frame,
    request_to_json,
)
from serve.domain.affinity import affinity_of, preferred
from serve.domain.errors import EngineDead
from serve.domain.journal import Beat
from serve.domain.messages import GenerationRequest
from serve.domain.ports import Generator
from serve.observability.metrics import GENERATOR_CALLS

_log = logging.getLogger(__name__)

_CONNECT_WITHIN_S: Final = 1.0
# One that could not be reached is not tried again for so long.
_UNTRIED_S: Final = 1.0
_GONE: Final = "the generator is restarting; nothing was lost, try again"

Alive = Callable[[str], Sequence[Beat]]


class DirectCalls:
    """The connections of one ingress to all generator replicas."""

    def __init__(self, alive: Alive) -> None:
        """``alive``: the last beat of every process of a kind that is not silent."""
        self._alive = alive
        self._lines: dict[str, _Line] = {}
        self._untried_until_s: dict[str, float] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[DirectCalls]:
        """Call inside the block; leaving it leaves what generators work on to them."""
        try:
            yield self
        finally:
            for line in tuple(self._lines.values()):
                line.close()

    def generator(self, model: str, by_serve: Generator) -> Generator:
        """The replicas of one model; ``by_serve`` reaches them when no beat tells how."""
        return _DirectGenerator(self, model, by_serve)

    async def line_for(self, model: str, request: GenerationRequest) -> _Line | None:
        """To the replica that should have this request; None when there is none to be reached."""
        beats = {
            beat.process_id: beat
            for beat in self._alive("generator")
            if beat.model == model and beat.address and self._is_to_be_had(beat.process_id)
        }
        lengths = {name: self._queue_length(beat) for name, beat in beats.items()}
        for name in preferred(request.affinity or affinity_of(request.messages), lengths):
            line = self._lines.get(name) or self._lines.setdefault(name, _Line())
            line.n_calls += 1
            try:
                await line.reached(beats[name])
            except (OSError, TimeoutError) as error:
                line.n_calls -= 1
                self._give_up(name, line, error)
                continue
            except BaseException:
                line.n_calls -= 1
                raise
            return line
        return None

    def _is_to_be_had(self, name: str) -> bool:
        line = self._lines.get(name)
        if line is not None and line.is_closed:
            # A process that lives on may be called again, in a moment.
            self._give_up(name, line, None)
        if self._untried_until_s.get(name, 0.0) > time.monotonic():
            return False
        return line is None or not line.is_leaving

    def _give_up(self, name: str, line: _Line, error: Exception | None) -> None:
        if self._lines.get(name) is line:
            self._forget_the_dead()
            self._lines.pop(name, None)
            self._untried_until_s[name] = time.monotonic() + _UNTRIED_S
            _log.info("generator not reached", extra={"generator": name, "reason": repr(error)})

    def _forget_the_dead(self) -> None:
        now = time.monotonic()
        self._lines = {name: line for name, line in self._lines.items() if not line.is_closed}
        self._untried_until_s = {
            name: until for name, until in self._untried_until_s.items() if until > now
        }

    def _queue_length(self, beat: Beat) -> int:
        """As last heard, but no shorter than what we alone have given it."""
        line = self._lines.get(beat.process_id)
        ours = 0 if line is None else line.n_calls
        heard = beat.load.get("running", 0.0) + beat.load.get("waiting", 0.0)
        return max(ours, int(heard))


@dataclass(frozen=True, slots=True)
class _DirectGenerator:
    """``domain.ports.Generator``."""

    calls: DirectCalls
    model: str
    by_serve: Generator

    async def generate(self, request: GenerationRequest) -> None:
        """See ``Generator``."""
        line = await self.calls.line_for(self.model, request)
        GENERATOR_CALLS.labels("direct" if line else "serve").inc()
        if line is None:
            await self.by_serve.generate(request)
            return
        try:
            await line.call(request)
        finally:
            line.n_calls -= 1


@dataclass(slots=True)
class _Line:
    """The connection to one replica; it is made by the first who needs it.

    ``n_calls``: those that were given to it and are not over.
    """

    n_calls: int = 0
    _connecting: asyncio.Task[_Connection] | None = None
    _connection: _Connection | None = None

    @property
    def is_closed(self) -> bool:
        return self._connection is not None and self._connection.is_closed

    @property
    def is_leaving(self) -> bool:
        return self._connection is not None and self._connection.is_leaving

    async def reached(self, beat: Beat) -> None:
        """Connect, once. Raises ``OSError`` and ``TimeoutError``."""
        if self._connection is None:
            if self._connecting is None:
                # A task: who asked first may leave while others wait.
                self._connecting = asyncio.get_running_loop().create_task(_connect(beat))
                self._connecting.add_done_callback(_seen)
            self._connection = await asyncio.shield(self._connecting)
        if self._connection.is_closed:
            raise ConnectionResetError("closed")

    async def call(self, request: GenerationRequest) -> None:
        assert self._connection is not None  # noqa: S101 - ``reached`` came before
        await self._connection.call(request)

    def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()


async def _connect(beat: Beat) -> _Connection:
    host, _, port = beat.address.rpartition(":")
    async with asyncio.timeout(_CONNECT_WITHIN_S):
        transport, connection = await asyncio.get_running_loop().create_connection(
            _Connection, host, int(port)
        )
    transport.write(frame(Kind.PASSWORD, payload=beat.password.encode()))
    return connection


def _seen(connecting: asyncio.Task[_Connection]) -> None:
    # Nobody may be waiting any more; asyncio complains about errors that nobody has seen.
    if not connecting.cancelled():
        connecting.exception()


@dataclass(eq=False, slots=True)
class _Connection(asyncio.Protocol):
    """A connection that is made, and the calls that wait for its answers."""

    is_closed: bool = False
    is_leaving: bool = False
    _transport: asyncio.Transport | None = None
    _frames: FrameBuffer = field(default_factory=lambda: FrameBuffer(MAX_PAYLOAD_BYTES))
    _numbers: count[int] = field(default_factory=count)
    _waiting: dict[int, asyncio.Future[None]] = field(default_factory=dict)

    async def call(self, request: GenerationRequest) -> None:
        """Return when the replica has. Cancelling this cancels its work."""
        if self.is_closed:
            raise EngineDead(_GONE)
        number = next(self._numbers) & 0xFFFF_FFFF
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._say(frame(Kind.CALL, number, request_to_json(request)))
        self._waiting[number] = answer
        try:
            await answer
        except asyncio.CancelledError:
            self._say(frame(Kind.CANCEL, number))
            raise
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Hang up."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.close()

    def _say(self, encoded: bytes) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.write(encoded)

    # --- asyncio's side -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by its class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for each in self._frames.feed(data):
                self._take(each)
        except BadFrame as error:
            _log.warning("generator hung up on", extra={"reason": str(error)})
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(EngineDead(_GONE))

    def _take(self, each: Frame) -> None:
        if each.kind is Kind.LEAVING:
            self.is_leaving = True
            return
        answer = self._waiting.get(each.number)
        if answer is None or answer.done():
            return
        if each.kind is Kind.DONE:
            answer.set_result(None)
        elif each.kind is Kind.FAILED:
            answer.set_exception(error_from_json(each.payload))
        else:
            raise BadFrame("a frame that no generator sends")
