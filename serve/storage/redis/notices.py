"""What processes tell each other beside the journal: a short stream that all of them tail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

from redis.asyncio import Redis

from serve.domain.errors import StoreUnavailable
from serve.domain.journal import Beat, Notice
from serve.storage.codec import UnknownForm, decode_notice, encode_notice
from serve.storage.redis.connection import Rows, leave_unparsed, patiently
from serve.storage.redis.tail import Position, StreamTail, id_of

_log = logging.getLogger(__name__)

_KEY = "pm:notices"
_FIELD = b"n"
_MAX_NOTICES = 10_000
# Who starts listening this late still hears of a cancel.
_MEMORY_MS = 60_000

Queue = asyncio.Queue[list[Notice] | StoreUnavailable]


class RedisNotices:
    """``Notices`` on Redis or Valkey.

    A stream carries them, not pub/sub: nothing is missed while a connection is down.
    """

    def __init__(self, commands: Redis, tail: StreamTail, *, patience_s: float) -> None:
        """Takes part in what ``tail`` reads; ``commands`` may be shared."""
        leave_unparsed(commands, "XRANGE")
        self._commands = commands
        self._tail = tail
        self._patience_s = patience_s
        self._listeners: set[Queue] = set()
        tail.add(_KEY, self)

    async def send(self, notice: Notice) -> None:
        """See ``Notices``. Sits out a restart of the store, except for beats: they age."""

        async def attempt() -> None:
            await self._commands.execute_command(  # type: ignore[no-untyped-call]
                "XADD", _KEY, "MAXLEN", "~", _MAX_NOTICES, "*", _FIELD, encode_notice(notice)
            )

        await patiently(attempt, 0.0 if isinstance(notice, Beat) else self._patience_s)

    async def listen(self) -> AsyncGenerator[Sequence[Notice], None]:
        """See ``Notices``. A notice may come twice when the store restarts."""
        await self._tail.start()
        queue: Queue = asyncio.Queue()
        self._listeners.add(queue)
        position = self._tail.position(_KEY)
        try:
            if late := await self._lately(position):
                yield late
            while True:
                notices = await queue.get()
                if isinstance(notices, StoreUnavailable):
                    raise notices
                yield notices
        finally:
            self._listeners.discard(queue)

    def begin(self, position: Position) -> None:
        """See ``Sink``: every listener remembers by itself where it began."""

    def deliver(self, rows: Rows) -> None:
        """See ``Sink``."""
        if self._listeners and (notices := _decoded(rows)):
            for queue in self._listeners:
                queue.put_nowait(notices)

    def fail(self, error: StoreUnavailable) -> None:
        """See ``Sink``."""
        for queue in self._listeners:
            queue.put_nowait(error)

    async def _lately(self, position: Position) -> list[Notice]:
        async def attempt() -> Rows:
            now_s, _ = await self._commands.time()
            since = b"%d" % (1000 * now_s - _MEMORY_MS)
            rows: Rows = await self._commands.execute_command(  # type: ignore[no-untyped-call]
                "XRANGE", _KEY, since, id_of(position)
            )
            return rows

        rows = await patiently(attempt, self._patience_s)
        return [notice for notice in _decoded(rows) if not isinstance(notice, Beat)]


def _decoded(rows: Rows) -> list[Notice]:
    notices = []
    for _, fields in rows:
        try:
            notices.append(decode_notice(fields[1]))
        except UnknownForm:
            _log.exception("damaged notice")
    return notices
