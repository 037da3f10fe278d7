"""One blocking read per process over all the streams it needs."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from serve.domain.errors import StoreUnavailable
from serve.storage.redis.connection import Rows, backoff, end_task, leave_unparsed

_log = logging.getLogger(__name__)

_BLOCK_MS = 5_000
_ANSWER_TIMEOUT_S = 5.0
# Bounds for how long one answer keeps the event loop.
_MAX_ROWS_PER_STREAM = 100

Position = tuple[int, int]
"""Place in a stream: milliseconds by the server's clock, and a number within the millisecond."""

BEGINNING: Position = (0, 0)


def position_of(row_id: bytes) -> Position:
    """A stream id as numbers, which compare as the server compares them."""
    milliseconds, _, number = row_id.partition(b"-")
    return int(milliseconds), int(number)


def id_of(position: Position) -> bytes:
    """What ``position_of`` was given."""
    return b"%d-%d" % position


class Sink(Protocol):
    """Who takes the rows of one stream. Called from the event loop; must not raise."""

    def begin(self, position: Position) -> None:
        """What comes after ``position`` will be delivered. Called again after some ``fail``."""
        ...

    def deliver(self, rows: Rows) -> None:
        """The next rows of the stream, in order, none left out."""
        ...

    def fail(self, error: StoreUnavailable) -> None:
        """Rows may be missing from here on: whoever listens must begin again."""
        ...


class StreamTail:
    """Reads streams from where they end when ``start`` is called. Rows come in order."""

    def __init__(
        self, blocking: Redis, group: asyncio.TaskGroup, *, patience_s: float, retention_s: float
    ) -> None:
        """Keep ``blocking`` for the tail alone; it reads in a task of ``group``.

        ``patience_s``: how long the server may be away before the sinks fail. ``retention_s``:
        a reader that stood still for longer may have missed rows.
        """
        for command in ("XREAD", "XINFO STREAM"):
            leave_unparsed(blocking, command)
        self._blocking = blocking
        self._group = group
        self._sinks: dict[bytes, Sink] = {}
        self._patience_s = patience_s
        self._retention_s = retention_s
        self._last_ids: dict[bytes, bytes] = {}
        self._asked_at = 0.0
        self._is_placed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    def add(self, key: str, sink: Sink) -> None:
        """Read this stream too. Only before ``start``."""
        self._sinks[key.encode()] = sink

    async def start(self) -> None:
        """Return once positions are known: what is appended after this is delivered.

        May be called again and again. Raises ``StoreUnavailable``.
        """
        if self._last_ids:
            return
        if self._task is None:
            self._task = self._group.create_task(self._run())
        try:
            async with asyncio.timeout(self._patience_s):
                await self._is_placed.wait()
        except TimeoutError as exc:
            raise StoreUnavailable("the stream store does not answer; try again") from exc

    def position(self, key: str) -> Position:
        """All rows up to and including this one were delivered."""
        return position_of(self._last_ids.get(key.encode(), id_of(BEGINNING)))

    async def stop(self) -> None:
        """End reading; the sinks fail."""
        self._is_stopping = True
        if self._task is not None:
            await end_task(self._task)

    async def _run(self) -> None:
        try:
            await self._keep_reading()
        finally:
            self._fail(StoreUnavailable("this process is closing; follow again elsewhere"))

    async def _keep_reading(self) -> None:
        pauses = backoff()
        down_since: float | None = None
        while not self._is_stopping:
            try:
                await self._read_once()
            except (RedisError, OSError, TimeoutError) as exc:
                if down_since is None:
                    down_since = time.monotonic()
                    _log.warning("stream tail lost", extra={"reason": type(exc).__name__})
                if time.monotonic() - down_since > self._patience_s:
                    self._fail(StoreUnavailable("the stream store does not answer; try again"))
                await self._blocking.connection_pool.disconnect()
                await asyncio.sleep(next(pauses))
            else:
                if down_since is not None:
                    _log.info(
                        "stream tail is back", extra={"down_s": time.monotonic() - down_since}
                    )
                    down_since, pauses = None, backoff()

    async def _read_once(self) -> None:
        self._forget_when_late()
        if not self._last_ids:
            self._last_ids = await self._ends()
            for key, last_id in self._last_ids.items():
                self._sinks[key].begin(position_of(last_id))
            self._is_placed.set()
        # The margin over BLOCK finds connections that died without a word.
        async with asyncio.timeout(_BLOCK_MS / 1000 + 5.0):
            answer: list[tuple[bytes, Rows]] | None = await self._blocking.execute_command(  # type: ignore[no-untyped-call]
                "XREAD",
                "COUNT",
                _MAX_ROWS_PER_STREAM,
                "BLOCK",
                _BLOCK_MS,
                "STREAMS",
                *self._last_ids.keys(),
                *self._last_ids.values(),
            )
        for key, rows in answer or ():
            self._last_ids[key] = rows[-1][0]
            self._sinks[key].deliver(rows)

    def _forget_when_late(self) -> None:
        # By a clock that also runs while the machine sleeps: the server trims by time of day.
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._last_ids and now_s - self._asked_at > self._retention_s:
            _log.warning("stream tail stood still for too long")
            self._last_ids = {}
            self._is_placed.clear()
            self._fail(StoreUnavailable("part of the event log was missed; follow again"))
        self._asked_at = now_s

    async def _ends(self) -> dict[bytes, bytes]:
        ends = {}
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            for key in self._sinks:
                ends[key] = await self._end(key)
        return ends

    async def _end(self, key: bytes) -> bytes:
        # Not the last row: that may have been trimmed, and what comes next still has a later id.
        try:
            facts: list[bytes] = await self._blocking.execute_command(  # type: ignore[no-untyped-call]
                "XINFO STREAM", key
            )
        except ResponseError as error:
            if "no such key" in str(error):
                return id_of(BEGINNING)
            raise
        return facts[facts.index(b"last-generated-id") + 1]

    def _fail(self, error: StoreUnavailable) -> None:
        for sink in self._sinks.values():
            sink.fail(error)
