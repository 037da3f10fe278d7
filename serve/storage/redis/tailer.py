"""One blocking read per process for all streams anybody here follows.

A tail starts reading at the beginning of its stream, so what is there already and what comes
later arrive through the same command: there is no seam at which an entry could be lost or seen
twice. Decoding happens once per tail, however many followers it has.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from serve.domain.errors import InternalError, PolymodalError, StoreUnavailable
from serve.storage.redis.connection import Rows, leave_unparsed

_log = logging.getLogger(__name__)

T = TypeVar("T")

_BLOCK_MS = 5_000
_MAX_ROWS_PER_STREAM = 2_000
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 1.0


class _Tail(Generic[T]):
    """A followed stream: what was read of it, and who wants to know."""

    __slots__ = ("backlog", "decode", "followers", "key", "last_id")

    def __init__(
        self, key: str, decode: Callable[[bytes], T], start_id: bytes, keep: int | None
    ) -> None:
        self.key = key
        self.decode = decode
        self.last_id = start_id
        self.backlog: deque[T] = deque(maxlen=keep)
        self.followers: set[asyncio.Queue[list[T] | PolymodalError]] = set()

    def deliver(self, rows: Rows) -> None:
        items = [self.decode(fields[1]) for _, fields in rows]
        self.last_id = rows[-1][0]
        self.backlog.extend(items)
        for queue in self.followers:
            queue.put_nowait(items)

    def fail(self, error: PolymodalError) -> None:
        for queue in self.followers:
            queue.put_nowait(error)


class StreamTailer:
    """Reads every followed stream through ``blocking``; ``run`` does so until stopped."""

    def __init__(self, *, blocking: Redis, commands: Redis, give_up_after_s: float) -> None:
        """Keep ``blocking`` for the tailer alone; ``commands`` may be shared."""
        leave_unparsed(blocking, "XREAD")
        self._blocking = blocking
        self._commands = commands
        self._give_up_after_s = give_up_after_s
        self._tails: dict[str, _Tail[object]] = {}
        self._wake_key = f"pm:wake:{uuid.uuid4().hex}"
        self._last_wake_id = b"0-0"
        self._is_reading = False
        self._is_stopping = False

    async def follow(
        self,
        key: str,
        decode: Callable[[bytes], T],
        *,
        start_id: bytes = b"0-0",
        keep: int | None = None,
    ) -> AsyncGenerator[list[T], None]:
        """Entries after ``start_id`` in batches, live, until the iterator is closed.

        A second follower of the same key first gets the newest ``keep`` entries (None: all)
        the first one has seen; its own ``start_id`` and ``decode`` are then not looked at.
        Raises ``StoreUnavailable`` when the server stays away for too long.
        """
        tail: _Tail[T] | None = self._tails.get(key)  # type: ignore[assignment]  # one type per key
        is_new = tail is None
        if tail is None:
            tail = _Tail(key, decode, start_id, keep)
            self._tails[key] = tail  # type: ignore[assignment]  # the dict mixes types
        queue: asyncio.Queue[list[T] | PolymodalError] = asyncio.Queue()
        if tail.backlog:
            queue.put_nowait(list(tail.backlog))
        tail.followers.add(queue)
        try:
            if is_new:
                await self._wake()
            while True:
                batch = await queue.get()
                if isinstance(batch, PolymodalError):
                    raise batch
                yield batch
        finally:
            tail.followers.discard(queue)
            if not tail.followers and self._tails.get(key) is tail:
                del self._tails[key]

    async def run(self) -> None:
        """Read until stopped; sit out restarts of the server."""
        try:
            await self._keep_reading()
        finally:
            self._fail_all(StoreUnavailable("this process is closing; follow again elsewhere"))

    async def stop(self, running: asyncio.Task[None]) -> None:
        """End ``running``, the task of ``run``; its followers fail."""
        self._is_stopping = True
        while not running.done():
            # Again and again: after a reconnect, redis-py was seen to swallow a cancellation.
            running.cancel()
            await asyncio.wait({running}, timeout=0.2)

    async def _keep_reading(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        down_since: float | None = None
        while not self._is_stopping:
            try:
                await self._read_once()
            except (RedisError, OSError, TimeoutError) as exc:
                if down_since is None:
                    down_since = time.monotonic()
                    _log.warning("stream tail lost", extra={"reason": type(exc).__name__})
                if time.monotonic() - down_since > self._give_up_after_s:
                    self._fail_all(StoreUnavailable("the stream store does not answer; try again"))
                await self._blocking.connection_pool.disconnect()
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LAST_BACKOFF_S)
            else:
                if down_since is not None:
                    _log.info(
                        "stream tail is back", extra={"down_s": time.monotonic() - down_since}
                    )
                down_since, backoff_s = None, _FIRST_BACKOFF_S

    async def _read_once(self) -> None:
        # The tails are remembered by identity: a key may have been left and followed anew
        # while the server still answers for the old position.
        asked = {tail.key.encode(): tail for tail in self._tails.values()}
        self._is_reading = True
        try:
            # The margin over BLOCK finds connections that died without a word.
            async with asyncio.timeout(_BLOCK_MS / 1000 + 5.0):
                answer: list[tuple[bytes, Rows]] | None = await self._blocking.execute_command(  # type: ignore[no-untyped-call]
                    "XREAD",
                    "COUNT",
                    _MAX_ROWS_PER_STREAM,
                    "BLOCK",
                    _BLOCK_MS,
                    "STREAMS",
                    self._wake_key,
                    *asked,
                    self._last_wake_id,
                    *(tail.last_id for tail in asked.values()),
                )
        finally:
            self._is_reading = False
        for key, rows in answer or ():
            if key in asked:
                self._deliver(asked[key], rows)
            else:
                self._last_wake_id = rows[-1][0]

    def _deliver(self, tail: _Tail[object], rows: Rows) -> None:
        try:
            tail.deliver(rows)
        except (ValueError, LookupError, TypeError, PolymodalError):
            _log.exception("damaged stream entry", extra={"stream": tail.key})
            tail.fail(InternalError("the event log of this response is damaged"))
            if self._tails.get(tail.key) is tail:
                del self._tails[tail.key]

    def _fail_all(self, error: PolymodalError) -> None:
        tails = list(self._tails.values())
        self._tails.clear()
        for tail in tails:
            tail.fail(error)

    async def _wake(self) -> None:
        """Make a read that is under way return, so that the next one sees new tails."""
        if not self._is_reading:
            return
        # Without the server the read has ended too, and starts again with the new tails.
        with suppress(RedisError, OSError):
            async with self._commands.pipeline(transaction=False) as pipe:
                pipe.xadd(self._wake_key, {"w": ""}, maxlen=1, approximate=False)
                pipe.expire(self._wake_key, 600)
                await pipe.execute()
