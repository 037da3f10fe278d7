"""What a step of the engine writes, and who hears of it when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from deployments.generation.publisher import ResponseWriter, StepPublisher
from serve.domain.errors import Conflict, StoreUnavailable
from serve.domain.messages import LogEntry, TextDelta
from tests.fixtures.recorded_log import RecordedLog


class SlowLog(RecordedLog):
    """Appends when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_append = asyncio.Event()

    async def append(self, entries: Iterable[tuple[str, LogEntry]]) -> None:
        await self.may_append.wait()
        await super().append(entries)


async def test_writers_of_one_turn_share_an_append() -> None:
    log = RecordedLog()
    publisher = StepPublisher(log)
    writers = [ResponseWriter(publisher, f"r{n}", n) for n in range(5)]
    for text in ("a", "b"):
        await asyncio.gather(*(writer.write([TextDelta(text)]) for writer in writers))
    assert [len(batch) for batch in log.appends] == [5, 5]
    assert [entry.seq for entry in await log.read("r3")] == [3, 4]


async def test_one_append_at_a_time_and_order_is_kept() -> None:
    log = SlowLog()
    publisher = StepPublisher(log)
    first, second = (ResponseWriter(publisher, id_, 0) for id_ in ("r1", "r2"))
    async with asyncio.TaskGroup() as group:
        group.create_task(first.write([TextDelta("a")]))
        await asyncio.sleep(0.01)
        group.create_task(second.write([TextDelta("b")]))
        await asyncio.sleep(0.01)
        assert log.appends == []
        log.may_append.set()
    assert [batch[0][0] for batch in log.appends] == ["r1", "r2"]


async def test_a_cancelled_writer_does_not_lose_what_others_wrote() -> None:
    log = SlowLog()
    publisher = StepPublisher(log)
    loop = asyncio.get_running_loop()
    first, second = (
        loop.create_task(ResponseWriter(publisher, id_, 0).write([TextDelta("a")]))
        for id_ in ("r1", "r2")
    )
    await asyncio.sleep(0.01)
    first.cancel()
    log.may_append.set()
    await second
    assert len(await log.read("r2")) == 1


async def test_a_conflict_concerns_only_the_response_it_names() -> None:
    publisher = StepPublisher(RecordedLog())
    mine, theirs = (ResponseWriter(publisher, id_, 0) for id_ in ("mine", "theirs"))
    await asyncio.gather(mine.write([TextDelta("a")]), theirs.write([TextDelta("a")]))
    theirs.next_seq = 7
    ended = await asyncio.gather(
        mine.write([TextDelta("b")]), theirs.write([TextDelta("b")]), return_exceptions=True
    )
    assert ended[0] is None
    assert isinstance(ended[1], Conflict)


async def test_every_writer_hears_that_the_log_is_gone() -> None:
    log = RecordedLog()
    log.is_broken = True
    publisher = StepPublisher(log)
    for id_ in ("r1", "r2"):
        with pytest.raises(StoreUnavailable):
            await ResponseWriter(publisher, id_, 0).write([TextDelta("a")])


async def test_nothing_to_say_writes_nothing() -> None:
    log = RecordedLog()
    await ResponseWriter(StepPublisher(log), "r", 0).write([])
    assert log.appends == []
