from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serve.domain.batching import Batcher


class Doubler:
    """Doubles numbers, slowly enough that calls gather; remembers what ran together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_run = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.started.set()
        await self.may_run.wait()
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


async def test_calls_that_arrive_while_one_runs_go_together() -> None:
    doubler = Doubler()
    batcher = Batcher(doubler.run, max_items=8)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(batcher.submit(1))
        await doubler.started.wait()
        others = [group.create_task(batcher.submit(item)) for item in (2, 3, 4)]
        await asyncio.sleep(0)
        doubler.may_run.set()
    assert [first.result(), *(task.result() for task in others)] == [2, 4, 6, 8]
    assert doubler.batches == [[1], [2, 3, 4]]


async def test_a_batch_holds_no_more_than_its_limit() -> None:
    doubler = Doubler()
    batcher = Batcher(doubler.run, max_items=2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batcher.submit(item)) for item in range(5)]
        await doubler.started.wait()
        doubler.may_run.set()
    assert [task.result() for task in tasks] == [0, 2, 4, 6, 8]
    assert doubler.batches == [[0], [1, 2], [3, 4]]


async def test_a_failure_reaches_every_caller_of_its_batch_and_nobody_else() -> None:
    doubler = Doubler()
    batcher = Batcher(doubler.run, max_items=8)
    first = asyncio.ensure_future(batcher.submit(1))
    await doubler.started.wait()
    unlucky = [asyncio.ensure_future(batcher.submit(item)) for item in (12, 13)]
    await asyncio.sleep(0)
    doubler.may_run.set()
    assert await first == 2
    for call in unlucky:
        with pytest.raises(ValueError, match="thirteen"):
            await call
    assert await batcher.submit(5) == 10


async def test_others_are_answered_when_the_caller_that_runs_the_batch_leaves() -> None:
    doubler = Doubler()
    batcher = Batcher(doubler.run, max_items=8)
    first = asyncio.ensure_future(batcher.submit(1))
    await doubler.started.wait()
    second = asyncio.ensure_future(batcher.submit(2))
    third = asyncio.ensure_future(batcher.submit(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    second.cancel()
    doubler.may_run.set()
    assert await third == 6
    with pytest.raises(asyncio.CancelledError):
        await second
