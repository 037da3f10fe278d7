"""Stores as replicas need them: opened on first use, in the replica's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager

from serve.config.settings import Settings
from serve.domain.messages import LogEntry
from serve.domain.ports import ObjectStore
from serve.storage.objects import open_object_store
from serve.storage.redis.stream_log import RedisStreamLog


def object_store(settings: Settings) -> AbstractAsyncContextManager[ObjectStore]:
    """The object store that the settings name."""
    return open_object_store(
        settings.object_store_url,
        s3_endpoint_url=settings.s3_endpoint_url or None,
        s3_access_key_id=settings.s3_access_key_id or None,
        s3_secret_access_key=settings.s3_secret_access_key or None,
        s3_region=settings.s3_region or None,
    )


class ReplicaObjects:
    """``ObjectStore`` of a replica. Stays open for the life of the process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = asyncio.Lock()
        self._context: AbstractAsyncContextManager[ObjectStore] | None = None
        self._store: ObjectStore | None = None

    async def _opened(self) -> ObjectStore:
        async with self._opening:
            if self._store is None:
                self._context = object_store(self._settings)
                self._store = await self._context.__aenter__()
            return self._store

    async def put(self, key: str, content: bytes, *, mime_type: str) -> None:
        """See ``ObjectStore``."""
        await (await self._opened()).put(key, content, mime_type=mime_type)

    async def get(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        return await (await self._opened()).get(key)

    async def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return await (await self._opened()).exists(key)

    async def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        await (await self._opened()).delete(key)

    async def ping(self) -> None:
        """See ``ObjectStore``."""
        await (await self._opened()).ping()


class ReplicaLog:
    """``StreamLog`` of a replica that writes. Stays open for the life of the process."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._opening = asyncio.Lock()
        self._log: RedisStreamLog | None = None

    async def _opened(self) -> RedisStreamLog:
        if self._log is None:
            async with self._opening:
                if self._log is None:
                    self._log = await RedisStreamLog.open(self._redis_url)
        return self._log

    async def append(self, entries: Iterable[tuple[str, LogEntry]]) -> None:
        """See ``StreamLog``."""
        await (await self._opened()).append(entries)

    async def follow(
        self, response_id: str, *, from_seq: int = 0
    ) -> AsyncGenerator[LogEntry, None]:
        """See ``StreamLog``."""
        async for entry in (await self._opened()).follow(response_id, from_seq=from_seq):
            yield entry

    async def read(self, response_id: str) -> tuple[LogEntry, ...]:
        """See ``StreamLog``."""
        return await (await self._opened()).read(response_id)

    async def expire(self, response_id: str, after_s: int) -> None:
        """See ``StreamLog``."""
        await (await self._opened()).expire(response_id, after_s)

    async def request_cancel(self, response_id: str) -> None:
        """See ``StreamLog``."""
        await (await self._opened()).request_cancel(response_id)

    async def cancellations(self) -> AsyncIterator[str]:
        """See ``StreamLog``."""
        async for response_id in (await self._opened()).cancellations():
            yield response_id

    async def ping(self) -> None:
        """See ``StreamLog``."""
        await (await self._opened()).ping()
