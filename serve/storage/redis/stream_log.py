"""The event log of responses in flight: one Redis stream per response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from importlib.resources import files
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from serve.domain.errors import Conflict, StoreUnavailable
from serve.domain.messages import TERMINAL_EVENTS, LogEntry
from serve.storage.codec import decode_log_entry, encode_log_entry
from serve.storage.redis.connection import Rows, connect, leave_unparsed, redis_errors
from serve.storage.redis.tailer import StreamTailer

_LOG_PREFIX = "pm:log:"
_CANCELS_KEY = "pm:cancels"
# Longest answer we allow is far below; the cap only bounds what a bug can do.
_MAX_ENTRIES = 200_000
# A log nobody settles is forgotten after this. Longer than any request may take.
_SAFETY_TTL_S = 6 * 3600
# A generator that starts listening this late still learns of a cancel.
_CANCEL_MEMORY_S = 60
_FIRST_BACKOFF_S = 0.02


class RedisStreamLog:
    """``StreamLog`` on Redis or Valkey.

    The id of an entry is its sequence number plus one, so the server itself refuses a place
    that is taken or comes too late. All keys must live on one primary: one read covers them all.
    """

    def __init__(
        self, commands: Redis, blocking: Redis, group: asyncio.TaskGroup, patience_s: float
    ) -> None:
        """Use ``open`` instead, unless you own the task group."""
        leave_unparsed(commands, "XRANGE")
        self._commands = commands
        self._blocking = blocking
        self._group = group
        self._patience_s = patience_s
        self._tailer = StreamTailer(
            blocking=blocking, commands=commands, give_up_after_s=patience_s
        )
        self._tailer_task: asyncio.Task[None] | None = None
        self._append_script = commands.register_script(
            files("serve.storage.redis").joinpath("append.lua").read_text()
        )

    @classmethod
    async def open(cls, url: str, *, patience_s: float = 30.0) -> Self:
        """Prepare to use the server at ``url``; connects when first needed.

        Writers retry and followers wait for ``patience_s`` while the server is away, then raise
        ``StoreUnavailable``. Call ``aclose`` when done, or use the log as a context manager.
        """
        group = asyncio.TaskGroup()
        await group.__aenter__()
        return cls(connect(url), connect(url, answer_timeout_s=30.0), group, patience_s)

    async def aclose(self) -> None:
        """Stop reading and drop the connections. Followers see no more entries."""
        if self._tailer_task is not None:
            await self._tailer.stop(self._tailer_task)
        await self._group.__aexit__(None, None, None)
        await self._blocking.aclose()
        await self._commands.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def append(self, entries: Iterable[tuple[str, LogEntry]]) -> None:
        """See ``StreamLog``. ``Conflict.context["response_ids"]`` names them, comma-separated.

        The entries of other responses in the same call are written all the same.
        """
        response_ids: list[str] = []
        fields: list[bytes] = []
        for response_id, entry in entries:
            response_ids.append(response_id)
            fields += (b"%d-0" % (entry.seq + 1), encode_log_entry(entry))
        if not response_ids:
            return
        refused = await self._append_patiently([_LOG_PREFIX + id_ for id_ in response_ids], fields)
        if refused:
            ids = dict.fromkeys(response_ids[index - 1] for index in refused)
            raise Conflict(
                "another writer has already written this place of the response's log",
                response_ids=",".join(ids),
            )

    async def _append_patiently(self, keys: list[str], fields: list[bytes]) -> list[int]:
        give_up_at = time.monotonic() + self._patience_s
        backoff_s = _FIRST_BACKOFF_S
        maybe_written = b"0"
        while True:
            args: list[bytes | int] = [_MAX_ENTRIES, _SAFETY_TTL_S, maybe_written, *fields]
            try:
                # redis_errors translates what the retry below does not take.
                with redis_errors():
                    refused: list[int] = await self._append_script(keys=keys, args=args)
            except StoreUnavailable as error:
                lost = isinstance(
                    error.__cause__, (RedisConnectionError, RedisTimeoutError, OSError)
                )
                if not lost or time.monotonic() > give_up_at:
                    raise
                maybe_written = b"1"
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, 1.0)
            else:
                return refused

    async def follow(
        self, response_id: str, *, from_seq: int = 0
    ) -> AsyncGenerator[LogEntry, None]:
        """See ``StreamLog``. Raises ``StoreUnavailable`` when entries in between were lost.

        A response nobody ever writes is followed for ever: ask the database first.
        """
        self._start_tailer()
        batches = self._tailer.follow(_LOG_PREFIX + response_id, decode_log_entry)
        expected = from_seq
        try:
            async for batch in batches:
                for entry in batch:
                    if entry.seq < expected:
                        continue
                    if entry.seq > expected:
                        raise StoreUnavailable(
                            "part of this response's event log was lost; read the response instead",
                            expected_seq=expected,
                            found_seq=entry.seq,
                        )
                    yield entry
                    expected += 1
                    if isinstance(entry.event, TERMINAL_EVENTS):
                        return
        finally:
            await batches.aclose()

    async def read(self, response_id: str) -> tuple[LogEntry, ...]:
        """See ``StreamLog``; empty when there is no such log."""
        with redis_errors():
            rows: Rows = await self._commands.execute_command(  # type: ignore[no-untyped-call]
                "XRANGE", _LOG_PREFIX + response_id, "-", "+"
            )
        return tuple(decode_log_entry(fields[1]) for _, fields in rows)

    async def expire(self, response_id: str, after_s: int) -> None:
        """See ``StreamLog``."""
        with redis_errors():
            await self._commands.expire(_LOG_PREFIX + response_id, after_s)

    async def request_cancel(self, response_id: str) -> None:
        """See ``StreamLog``; asking twice is harmless."""
        with redis_errors():
            async with self._commands.pipeline(transaction=False) as pipe:
                pipe.xadd(_CANCELS_KEY, {"r": response_id}, maxlen=10_000, approximate=True)
                pipe.expire(_CANCELS_KEY, _SAFETY_TTL_S)
                await pipe.execute()

    async def cancellations(self) -> AsyncGenerator[str, None]:
        """See ``StreamLog``. Also tells the requests of the last minute, for those who come late.

        A stream carries them, not pub/sub: nothing is missed while a connection is down.
        """
        self._start_tailer()
        with redis_errors():
            now_s, _ = await self._commands.time()
        batches = self._tailer.follow(
            _CANCELS_KEY,
            bytes.decode,
            start_id=b"%d-0" % (1000 * (now_s - _CANCEL_MEMORY_S)),
            keep=1_000,
        )
        try:
            async for batch in batches:
                for response_id in batch:
                    yield response_id
        finally:
            await batches.aclose()

    async def ping(self) -> None:
        """See ``StreamLog``."""
        with redis_errors():
            await self._commands.ping()

    def _start_tailer(self) -> None:
        # Late, so that a process that only writes holds no blocking connection.
        if self._tailer_task is None:
            self._tailer_task = self._group.create_task(self._tailer.run())
