"""Rate limits against a real Valkey."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from serve.domain.errors import StoreUnavailable
from serve.storage.redis.connection import connect
from serve.storage.redis.rate_limits import RateDecision, RedisRateLimits


@pytest.fixture
async def limits(redis_url: str) -> AsyncIterator[RedisRateLimits]:
    async with connect(redis_url) as client:
        yield RedisRateLimits(client)


def subject() -> str:
    return f"key_{secrets.token_hex(6)}"


async def test_as_many_as_the_limit_pass_at_once_and_the_next_is_told_when_to_return(
    limits: RedisRateLimits,
) -> None:
    caller = subject()
    passed = [await limits.take(caller, limit=5, window_s=100) for _ in range(5)]
    assert [(decision.allowed, decision.remaining) for decision in passed] == [
        (True, 4), (True, 3), (True, 2), (True, 1), (True, 0),
    ]  # fmt: skip
    assert 95 < passed[-1].reset_after_s <= 100
    refused = await limits.take(caller, limit=5, window_s=100)
    assert not refused.allowed
    assert (refused.limit, refused.remaining) == (5, 0)
    assert 0 < refused.reset_after_s <= 20


async def test_waiting_as_told_is_enough(limits: RedisRateLimits) -> None:
    caller = subject()
    for _ in range(10):
        await limits.take(caller, limit=10, window_s=1)
    refused = await limits.take(caller, limit=10, window_s=1)
    assert not refused.allowed
    await asyncio.sleep(refused.reset_after_s + 0.005)
    assert (await limits.take(caller, limit=10, window_s=1)).allowed


async def test_a_refused_request_does_not_count(limits: RedisRateLimits) -> None:
    caller = subject()
    await limits.take(caller, limit=1, window_s=100)
    first, *_, last = [await limits.take(caller, limit=1, window_s=100) for _ in range(20)]
    assert last.reset_after_s <= first.reset_after_s


async def test_concurrent_callers_share_one_allowance(
    limits: RedisRateLimits, redis_url: str
) -> None:
    caller = subject()
    async with connect(redis_url) as other_client, asyncio.TaskGroup() as group:
        other = RedisRateLimits(other_client)
        takes = [
            group.create_task(replica.take(caller, limit=7, window_s=600))
            for replica in (limits, other) * 20
        ]
    assert sum(take.result().allowed for take in takes) == 7


async def test_subjects_do_not_disturb_each_other(limits: RedisRateLimits) -> None:
    first, second = subject(), subject()
    await limits.take(first, limit=1, window_s=60)
    assert (await limits.take(second, limit=1, window_s=60)).allowed


async def test_a_limit_of_zero_allows_nothing(limits: RedisRateLimits) -> None:
    assert await limits.take(subject(), limit=0, window_s=60) == RateDecision(
        allowed=False, limit=0, remaining=0, reset_after_s=60.0
    )


async def test_without_the_server_it_is_unavailable() -> None:
    async with connect("redis://127.0.0.1:1") as client:
        with pytest.raises(StoreUnavailable):
            await RedisRateLimits(client).take("anybody", limit=1, window_s=1)


async def test_a_crowd_waits_for_its_turn_instead_of_opening_a_connection_each(
    limits: RedisRateLimits,
) -> None:
    decisions = await asyncio.gather(
        *(limits.take(subject(), limit=5, window_s=100) for _ in range(1_000))
    )
    assert all(decision.allowed for decision in decisions)
