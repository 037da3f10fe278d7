"""Stores as replicas need them: opened on first use, in the replica's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO

from serve.config.settings import Settings
from serve.domain.journal import JournalRecord, Notice
from serve.domain.media import MediaLimits
from serve.domain.ports import ObjectStore
from serve.storage.objects import open_object_store
from serve.storage.redis.journal import RedisJournal
from serve.storage.redis.notices import RedisNotices
from serve.storage.redis.streams import RedisStreams, connect_notices


def object_store(settings: Settings) -> AbstractAsyncContextManager[ObjectStore]:
    """The object store that the settings name."""
    return open_object_store(
        settings.object_store_url,
        s3_endpoint_url=settings.s3_endpoint_url or None,
        s3_access_key_id=settings.s3_access_key_id or None,
        s3_secret_access_key=settings.s3_secret_access_key or None,
        s3_region=settings.s3_region or None,
    )


def media_limits(settings: Settings) -> MediaLimits:
    """What uploads may be, as the settings say."""
    return MediaLimits(
        max_upload_bytes=settings.max_upload_bytes,
        max_video_bytes=settings.max_video_bytes,
        max_image_px=settings.max_image_px,
        max_audio_s=settings.max_audio_s,
        max_pages=settings.max_pages,
        max_video_s=settings.max_video_s,
        max_video_px=settings.max_video_px,
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

    async def put_file(self, key: str, file: BinaryIO, *, mime_type: str) -> None:
        """See ``ObjectStore``."""
        await (await self._opened()).put_file(key, file, mime_type=mime_type)

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


class ReplicaJournal:
    """``JournalWriter`` of a replica. Stays open for the life of the process."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._opening = asyncio.Lock()
        self._journal: RedisJournal | None = None

    async def append(self, records: Sequence[JournalRecord]) -> None:
        """See ``JournalWriter``."""
        await (await self._opened()).append(records)

    async def ping(self) -> None:
        """See ``JournalWriter``."""
        await (await self._opened()).ping()

    async def _opened(self) -> RedisJournal:
        async with self._opening:
            if self._journal is None:
                self._journal = (await RedisStreams.connect(self._redis_url)).journal
        return self._journal


class ReplicaNotices:
    """``Notices`` of a replica. Stays open for the life of the process."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._opening = asyncio.Lock()
        self._context: AbstractAsyncContextManager[RedisNotices] | None = None
        self._notices: RedisNotices | None = None

    async def send(self, notice: Notice) -> None:
        """See ``Notices``."""
        await (await self._opened()).send(notice)

    async def listen(self) -> AsyncGenerator[Sequence[Notice], None]:
        """See ``Notices``."""
        async for batch in (await self._opened()).listen():
            yield batch

    async def _opened(self) -> RedisNotices:
        async with self._opening:
            if self._notices is None:
                self._context = connect_notices(self._redis_url)
                self._notices = await self._context.__aenter__()
        return self._notices
