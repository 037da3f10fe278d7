"""Perceptions by key: a copy in Redis for speed, the object store for keeps."""

from __future__ import annotations

import logging

from redis.asyncio import Redis
from redis.exceptions import RedisError

from serve.domain.errors import NotFound, PolymodalError, StoreUnavailable
from serve.domain.messages import Perception
from serve.domain.ports import ObjectStore
from serve.storage.codec import decode_perception, encode_perception

_log = logging.getLogger(__name__)

_PREFIX = "pm:perception:"
_INDEX_TTL_S = 7 * 24 * 3600
# Larger ones (long transcripts) are read from the object store each time.
_MAX_INDEXED_BYTES = 256 * 1024


class StoredPerceptionCache:
    """``PerceptionCache`` that forgets nothing when Redis does.

    An index that does not answer is a miss of the index only; the object store decides.
    """

    def __init__(self, redis: Redis, objects: ObjectStore) -> None:
        self._redis = redis
        self._objects = objects

    async def get(self, key: str) -> Perception | None:
        """See ``PerceptionCache``. Stores that do not answer are a miss too: we can recompute."""
        content = await self._indexed(key)
        if content is not None and (perception := _decoded(content, key)) is not None:
            return perception
        try:
            content = await self._objects.get(_object_key(key))
        except NotFound:
            return None
        except StoreUnavailable as error:
            _log.warning("perception unreadable", extra={"reason": error.message})
            return None
        perception = _decoded(content, key)
        if perception is not None:
            await self._index(key, content)
        return perception

    async def put(self, key: str, perception: Perception) -> None:
        """See ``PerceptionCache``. Raises ``StoreUnavailable`` when it could not be kept."""
        content = encode_perception(perception)
        await self._objects.put(_object_key(key), content, mime_type="application/json")
        await self._index(key, content)

    async def _indexed(self, key: str) -> bytes | None:
        try:
            content = await self._redis.get(_PREFIX + key)
        except (RedisError, OSError) as exc:
            _log.warning("perception index away", extra={"reason": type(exc).__name__})
            return None
        return content if isinstance(content, bytes) else None

    async def _index(self, key: str, content: bytes) -> None:
        if len(content) > _MAX_INDEXED_BYTES:
            return
        try:
            await self._redis.set(_PREFIX + key, content, ex=_INDEX_TTL_S)
        except (RedisError, OSError) as exc:
            _log.warning("perception index away", extra={"reason": type(exc).__name__})


def _object_key(key: str) -> str:
    return f"perceptions/{key[:2]}/{key}.json"


def _decoded(content: bytes, key: str) -> Perception | None:
    try:
        return decode_perception(content)
    except (ValueError, LookupError, TypeError, PolymodalError) as exc:
        _log.warning("damaged perception", extra={"key": key, "reason": type(exc).__name__})
        return None
