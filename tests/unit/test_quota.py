"""Requests counted in advance: never too many, and the caller is told the truth."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from serve.ingress import quota
from serve.ingress.quota import LeasedDecision, LeasedRateLimits


@dataclass
class _Count:
    """A shared count without a clock: what is taken stays taken."""

    left: int
    n_trips: int = 0

    async def take(
        self, _subject: str, *, limit: int, window_s: int, n_requests: int = 1
    ) -> LeasedDecision:
        self.n_trips += 1
        await asyncio.sleep(0)
        allowed = n_requests <= self.left
        self.left -= n_requests if allowed else 0
        used_s = (limit - self.left) * window_s / limit
        return LeasedDecision(
            allowed=allowed, limit=limit, remaining=self.left, reset_after_s=used_s
        )


async def test_a_caller_in_a_hurry_costs_few_trips_and_never_gets_more_than_its_limit() -> None:
    shared = _Count(6000)
    processes = [LeasedRateLimits(shared), LeasedRateLimits(shared)]
    n_allowed = 0
    for at in range(6000):
        decision = await processes[at % 2].take("a", limit=6000, window_s=60)
        n_allowed += decision.allowed
    assert shared.n_trips < 500
    while (await processes[0].take("a", limit=6000, window_s=60)).allowed:
        n_allowed += 1
    # The other process may be left with a lease that nobody used.
    assert 5900 <= n_allowed <= 6000


async def test_each_request_is_told_what_is_left() -> None:
    limits = LeasedRateLimits(_Count(600))
    told = [(await limits.take("a", limit=600, window_s=60)).remaining for _ in range(600)]
    assert told == list(reversed(range(600)))


async def test_requests_at_once_use_up_every_lease_they_brought() -> None:
    shared = _Count(6000)
    limits = LeasedRateLimits(shared)
    for _ in range(3):
        await asyncio.gather(*(limits.take("a", limit=6000, window_s=60) for _ in range(50)))
    made = 150
    leased = 0
    while limits.take_leased("a", limit=6000, window_s=60) is not None:
        leased += 1
    assert shared.left == 6000 - made - leased


async def test_a_crowd_is_counted_together_and_hoards_nothing() -> None:
    shared = _Count(10_000)
    processes = [LeasedRateLimits(shared), LeasedRateLimits(shared)]
    for _ in range(4):
        decisions = await asyncio.gather(
            *(processes[at % 2].take("a", limit=10_000, window_s=60) for at in range(1_000))
        )
        assert all(decision.allowed for decision in decisions)
    assert shared.n_trips < 60
    # At most one lease of each process is unused.
    assert shared.left >= 10_000 - 4_000 - 2 * 10_000 // 60


async def test_a_crowd_is_refused_together() -> None:
    shared = _Count(700)
    limits = LeasedRateLimits(shared)
    decisions = await asyncio.gather(
        *(limits.take("a", limit=6_000, window_s=60) for _ in range(1_000))
    )
    assert sum(decision.allowed for decision in decisions) == 700
    asked = shared.n_trips
    again = await asyncio.gather(*(limits.take("a", limit=6_000, window_s=60) for _ in range(500)))
    assert not any(decision.allowed for decision in again)
    assert shared.n_trips <= asked + 2


async def test_nobody_is_asked_again_before_a_request_would_be_allowed() -> None:
    shared = _Count(600)
    limits = LeasedRateLimits(shared)
    while (refused := await limits.take("a", limit=600, window_s=60)).allowed:
        pass
    asked = shared.n_trips
    again = await limits.take("a", limit=600, window_s=60)
    assert not again.allowed
    assert 0 < again.reset_after_s <= refused.reset_after_s
    assert shared.n_trips == asked
    assert not (await limits.take("b", limit=600, window_s=60)).allowed
    assert shared.n_trips > asked


async def test_a_refusal_ends_when_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.monotonic()
    shared = _Count(0)
    limits = LeasedRateLimits(shared)
    refused = await limits.take("a", limit=600, window_s=60)
    shared.left = 600
    monkeypatch.setattr(time, "monotonic", lambda: now_s + refused.reset_after_s + 60)
    assert (await limits.take("a", limit=600, window_s=60)).allowed


async def test_who_asked_first_may_leave_without_harm_to_the_others() -> None:
    limits = LeasedRateLimits(_Count(6_000))
    first = asyncio.get_running_loop().create_task(limits.take("a", limit=6_000, window_s=60))
    other = asyncio.get_running_loop().create_task(limits.take("a", limit=6_000, window_s=60))
    await asyncio.sleep(0)
    first.cancel()
    assert (await other).allowed


async def test_small_limits_are_counted_one_by_one() -> None:
    shared = _Count(10)
    limits = LeasedRateLimits(shared)
    decisions = [await limits.take("a", limit=10, window_s=60) for _ in range(12)]
    assert [decision.allowed for decision in decisions] == [True] * 10 + [False] * 2
    assert shared.n_trips == 12


async def test_who_comes_now_and_then_leases_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_IN_A_HURRY_S", 0.0)
    shared = _Count(6000)
    limits = LeasedRateLimits(shared)
    for _ in range(20):
        await limits.take("a", limit=6000, window_s=60)
    assert shared.left == 5980


async def test_an_old_lease_is_worth_nothing() -> None:
    limits = LeasedRateLimits(_Count(6000))
    for _ in range(4):
        await limits.take("a", limit=6000, window_s=60)
    # The same lease, in a window that is over already.
    assert limits.take_leased("a", limit=6000, window_s=60) is not None
    assert limits.take_leased("b", limit=6000, window_s=60) is None


async def test_the_oldest_subjects_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_MAX_LEASES", 2)
    limits = LeasedRateLimits(_Count(60_000))
    for subject in ("a", "b", "c"):
        for _ in range(2):
            await limits.take(subject, limit=6000, window_s=60)
    assert limits.take_leased("a", limit=6000, window_s=60) is None
    assert limits.take_leased("c", limit=6000, window_s=60) is not None
