"""Live conversations between connections, and their short-lived secrets."""

from __future__ import annotations

from typing import Final

import orjson
from redis.asyncio import Redis

from serve.domain.records import JsonObject
from serve.storage.redis.connection import redis_errors

_SESSION_PREFIX: Final = "pm:rt:session:"
_GRANT_PREFIX: Final = "pm:rt:secret:"
# A session that was opened and never kept is nothing.
_OPENED_TTL_S: Final = 60

_SAVE: Final = """
if redis.call('HGET', KEYS[1], 'term') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_OPEN: Final = """
local term = redis.call('HINCRBY', KEYS[1], 'term', 1)
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return {term, redis.call('HGET', KEYS[1], 'state')}
"""


class RedisRealtimeSessions:
    """``RealtimeSessions``: a hash per session, whose term fences off earlier connections."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._open = client.register_script(_OPEN)
        self._save = client.register_script(_SAVE)

    async def peek(self, session_id: str) -> JsonObject | None:
        """See ``RealtimeSessions``."""
        with redis_errors():
            state = await self._client.hget(_SESSION_PREFIX + session_id, "state")
        return _parsed(state)

    async def open(self, session_id: str) -> tuple[int, JsonObject | None]:
        """See ``RealtimeSessions``."""
        with redis_errors():
            term, state = await self._open(
                keys=[_SESSION_PREFIX + session_id], args=[_OPENED_TTL_S]
            )
        return int(term), _parsed(state)

    async def save(self, session_id: str, term: int, state: JsonObject, *, ttl_s: int) -> bool:
        """See ``RealtimeSessions``."""
        with redis_errors():
            saved = await self._save(
                keys=[_SESSION_PREFIX + session_id], args=[term, orjson.dumps(state), ttl_s]
            )
        return bool(saved)

    async def grant(self, secret_digest: bytes, what: JsonObject, *, ttl_s: int) -> None:
        """See ``RealtimeSessions``."""
        with redis_errors():
            await self._client.set(
                _GRANT_PREFIX + secret_digest.hex(), orjson.dumps(what), ex=ttl_s
            )

    async def granted(self, secret_digest: bytes) -> JsonObject | None:
        """See ``RealtimeSessions``."""
        with redis_errors():
            found = await self._client.get(_GRANT_PREFIX + secret_digest.hex())
        return _parsed(found)


def _parsed(kept: bytes | str | None) -> JsonObject | None:
    return None if kept is None else orjson.loads(kept)
