"""How much a caller may ask, counted in Redis so that every replica sees the same."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis

from serve.storage.redis.connection import redis_errors

_PREFIX = "pm:rate:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateDecision:
    """Outcome of one ``take``.

    ``reset_after_s``: when allowed, until the whole allowance is back; when refused, until the
    next request would be allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after_s: float


class RedisRateLimits:
    """``RateLimits``: bursts up to ``limit``, refilled evenly over the window (GCRA)."""

    def __init__(self, client: Redis) -> None:
        self._take = client.register_script(
            files("serve.storage.redis").joinpath("take.lua").read_text()
        )

    async def take(
        self, subject: str, *, limit: int, window_s: int, n_requests: int = 1
    ) -> RateDecision:
        """See ``RateLimits``. All of ``n_requests`` are counted or, when refused, none."""
        if limit <= 0:
            return RateDecision(allowed=False, limit=0, remaining=0, reset_after_s=float(window_s))
        with redis_errors():
            allowed, remaining, reset_us = await self._take(
                keys=[f"{_PREFIX}{subject}:{limit}:{window_s}"], args=[limit, window_s, n_requests]
            )
        return RateDecision(
            allowed=bool(allowed),
            limit=limit,
            remaining=remaining,
            reset_after_s=reset_us / 1_000_000,
        )
