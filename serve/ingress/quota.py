"""Rate limits that a process asks for in advance, so that most requests count without a trip."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from serve.domain.ports import RateDecision

# Below this a lease would be a large part of what there is; every request asks.
_MIN_LEASED_LIMIT: Final = 600
# One process holds at most this part of a limit in advance.
_LARGEST_LEASE: Final = 1 / 60
_IN_A_HURRY_S: Final = 1.0
_MAX_LEASES: Final = 10_000

_Key = tuple[str, int, int]


class SharedRateLimits(Protocol):
    """The count that all processes share."""

    async def take(
        self, subject: str, *, limit: int, window_s: int, n_requests: int = 1
    ) -> RateDecision:
        """Count all of ``n_requests``, or none of them."""
        ...


class LeasedDecision(NamedTuple):
    """``domain.ports.RateDecision`` of a request that a lease allowed."""

    allowed: bool
    limit: int
    remaining: int
    reset_after_s: float


@dataclass(slots=True)
class _Lease:
    """Requests that are counted already; ``left`` of ``size`` are not made yet."""

    size: int
    left: int
    at_s: float
    shared: RateDecision


class LeasedRateLimits:
    """``domain.ports.RateLimits``.

    A caller in a hurry gets several requests counted at once, twice as many each time; others are
    counted one by one. What is left of a lease counts as made: no limit is ever exceeded.
    """

    def __init__(self, shared: SharedRateLimits) -> None:
        self._shared = shared
        self._leases: dict[_Key, _Lease] = {}

    def take_leased(self, subject: str, *, limit: int, window_s: int) -> LeasedDecision | None:
        """Count one request if a lease has one left."""
        lease = self._leases.get((subject, limit, window_s))
        if lease is None or lease.left == 0:
            return None
        age_s = time.monotonic() - lease.at_s
        if age_s > window_s:
            # What it held is free again in the shared count.
            return None
        lease.left -= 1
        unused_s = lease.left * window_s / limit
        return LeasedDecision(
            allowed=True,
            limit=limit,
            remaining=lease.shared.remaining + lease.left,
            reset_after_s=max(0.0, lease.shared.reset_after_s - age_s - unused_s),
        )

    async def take(self, subject: str, *, limit: int, window_s: int) -> RateDecision:
        """See ``RateLimits``."""
        if limit < _MIN_LEASED_LIMIT:
            return await self._shared.take(subject, limit=limit, window_s=window_s)
        leased = self.take_leased(subject, limit=limit, window_s=window_s)
        if leased is not None:
            return leased
        key = (subject, limit, window_s)
        size = self._next_size(key)
        decision = await self._shared.take(subject, limit=limit, window_s=window_s, n_requests=size)
        if not decision.allowed and size > 1:
            # The last few of the allowance.
            size = 1
            decision = await self._shared.take(subject, limit=limit, window_s=window_s)
        if not decision.allowed:
            self._leases.pop(key, None)
            return decision
        self._keep(key, _Lease(size, size, time.monotonic(), decision))
        return self.take_leased(subject, limit=limit, window_s=window_s) or decision

    def _next_size(self, key: _Key) -> int:
        lease = self._leases.get(key)
        if lease is None or time.monotonic() - lease.at_s > _IN_A_HURRY_S:
            return 1
        _, limit, _ = key
        return min(2 * lease.size, int(limit * _LARGEST_LEASE))

    def _keep(self, key: _Key, lease: _Lease) -> None:
        # Out and in again, so that the order stays that of age.
        other = self._leases.pop(key, None)
        if other is not None and lease.at_s - other.at_s < _IN_A_HURRY_S:
            # Of several requests that found none left, each brought a lease.
            lease.left += other.left
        if len(self._leases) >= _MAX_LEASES:
            del self._leases[next(iter(self._leases))]
        self._leases[key] = lease
