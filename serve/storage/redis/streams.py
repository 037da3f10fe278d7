"""The two streams that all processes share, over the connections of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from redis.asyncio import Redis

from serve.storage.redis.connection import connect
from serve.storage.redis.journal import RedisJournal
from serve.storage.redis.notices import RedisNotices
from serve.storage.redis.reading import JournalReader
from serve.storage.redis.tail import StreamTail

# Longer than supervisors need to take over, and to make their checkpoints again.
_RETENTION_S = 90.0


@asynccontextmanager
async def connect_notices(url: str, *, patience_s: float = 30.0) -> AsyncIterator[RedisNotices]:
    """Notices alone, for a process that has nothing to read in the journal."""
    commands, blocking = connect(url), connect(url, answer_timeout_s=30.0)
    async with asyncio.TaskGroup() as group:
        tail = StreamTail(blocking, group, patience_s=patience_s, retention_s=_RETENTION_S)
        try:
            yield RedisNotices(commands, tail, patience_s=patience_s)
        finally:
            await tail.stop()
    await blocking.aclose()
    await commands.aclose()


class RedisStreams:
    """A process's ``journal`` and ``notices``, which share one blocking read."""

    def __init__(
        self,
        commands: Redis,
        blocking: Redis,
        group: asyncio.TaskGroup,
        *,
        patience_s: float,
        retention_s: float,
    ) -> None:
        """Use ``connect`` instead, unless you own the task group."""
        self._commands = commands
        self._blocking = blocking
        self._group = group
        times = {"patience_s": patience_s, "retention_s": retention_s}
        self._tail = StreamTail(blocking, group, **times)
        self._reader = JournalReader(commands, self._tail, group, **times)
        self.journal = RedisJournal(commands, self._reader, **times)
        self.notices = RedisNotices(commands, self._tail, patience_s=patience_s)

    @classmethod
    async def connect(
        cls, url: str, *, patience_s: float = 30.0, retention_s: float = _RETENTION_S
    ) -> Self:
        """Prepare to use the server at ``url``; connects when first needed.

        Writers retry and followers wait for ``patience_s`` while the server is away, then get
        ``StoreUnavailable``. A process that only writes holds no blocking connection. Call
        ``aclose`` when done, or use the streams as a context manager.
        """
        group = asyncio.TaskGroup()
        await group.__aenter__()
        return cls(
            connect(url),
            connect(url, answer_timeout_s=30.0),
            group,
            patience_s=patience_s,
            retention_s=retention_s,
        )

    async def aclose(self) -> None:
        """Stop reading and drop the connections. Followers get ``StoreUnavailable``."""
        await self._tail.stop()
        await self._reader.stop()
        await self.journal.stop()
        await self._group.__aexit__(None, None, None)
        await self._blocking.aclose()
        await self._commands.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
