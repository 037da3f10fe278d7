"""Rate limits that a process asks for in advance, so that most requests count without a trip."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

from serve.domain.ports import RateDecision

# Below this a lease would be a large part of what there is; every request asks.
_MIN_LEASED_LIMIT: Final = 600
# One process holds at most this part of a limit in advance.
_LARGEST_LEASE: Final = 1 / 60
_IN_A_HURRY_S: Final = 1.0
_MAX_LEASES: Final = 10_000

T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class _Refusal:
    """No request is allowed before ``until_s``."""

    until_s: float
    limit: int

    def decision(self) -> LeasedDecision | None:
        """The same again, while it holds."""
        wait_s = self.until_s - time.monotonic()
        if wait_s <= 0:
            return None
        return LeasedDecision(allowed=False, limit=self.limit, remaining=0, reset_after_s=wait_s)


class LeasedRateLimits:
    """``domain.ports.RateLimits``.

    A caller in a hurry gets several requests counted at once, twice as many each time; others are
    counted one by one. What is left of a lease counts as made: no limit is ever exceeded. Requests
    that come together are counted together, and all of them refused together; until the next one
    would be allowed, nobody is asked about more of them.
    """

    def __init__(self, shared: SharedRateLimits) -> None:
        self._shared = shared
        self._leases: dict[_Key, _Lease] = {}
        self._refusals: dict[_Key, _Refusal] = {}
        self._asking: dict[_Key, asyncio.Task[RateDecision]] = {}
        self._waiting: Counter[_Key] = Counter()

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
        key = (subject, limit, window_s)
        self._waiting[key] += 1
        try:
            while True:
                leased = self.take_leased(subject, limit=limit, window_s=window_s)
                if leased is not None:
                    return leased
                if (refusal := self._refusals.get(key)) and (again := refusal.decision()):
                    return again
                decision = await asyncio.shield(self._asked(key))
                if not decision.allowed:
                    return decision
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def _asked(self, key: _Key) -> asyncio.Task[RateDecision]:
        """The one question about this count that is on its way."""
        asking = self._asking.get(key)
        if asking is None:
            # A bare task: whoever asked first may leave, and others still wait for it.
            asking = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key))
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return asking

    async def _ask(self, key: _Key) -> RateDecision:
        subject, limit, window_s = key
        asked_at_s = time.monotonic()
        try:
            size = self._next_size(key)
            decision = await self._shared.take(
                subject, limit=limit, window_s=window_s, n_requests=size
            )
            if not decision.allowed and size > 1:
                # The last few of the allowance.
                size = 1
                decision = await self._shared.take(subject, limit=limit, window_s=window_s)
            self._leases.pop(key, None)
            self._refusals.pop(key, None)
            if decision.allowed:
                _keep(self._leases, key, _Lease(size, size, time.monotonic(), decision))
            else:
                until_s = asked_at_s + decision.reset_after_s
                _keep(self._refusals, key, _Refusal(until_s, limit))
            return decision
        finally:
            del self._asking[key]

    def _next_size(self, key: _Key) -> int:
        """As many as wait, or twice as many as last time, but no more than a lease may have."""
        _, limit, _ = key
        lease = self._leases.get(key)
        is_in_a_hurry = lease is not None and time.monotonic() - lease.at_s <= _IN_A_HURRY_S
        wanted = max(self._waiting[key], 2 * lease.size if lease and is_in_a_hurry else 1)
        return min(wanted, int(limit * _LARGEST_LEASE))


def _keep(kept: dict[_Key, T], key: _Key, what: T) -> None:
    """As the newest; the oldest goes when there are too many."""
    if len(kept) >= _MAX_LEASES:
        del kept[next(iter(kept))]
    kept[key] = what
