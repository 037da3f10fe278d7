"""What a step of the engine writes, and who hears of it when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from deployments.generation.publisher import ResponseWriter, StepPublisher
from serve.domain.errors import StoreUnavailable
from serve.domain.journal import JournalRecord, Wrote
from serve.domain.messages import (
    GenerationRequest,
    LogEvent,
    Sampling,
    TextDelta,
    ToolCallStarted,
)
from tests.fixtures.recorded_journal import RecordedJournal


class SlowJournal(RecordedJournal):
    """Appends when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_append = asyncio.Event()
        self.begun = asyncio.Event()

    async def append(self, records: Sequence[JournalRecord]) -> None:
        self.begun.set()
        await self.may_append.wait()
        await super().append(records)


def writer_of(
    publisher: StepPublisher, response_id: str = "r", *, epoch: int = 1, first_seq: int = 0
) -> ResponseWriter:
    request = GenerationRequest(
        response_id=response_id,
        model="m",
        messages=(),
        sampling=Sampling(),
        epoch=epoch,
        first_seq=first_seq,
    )
    return ResponseWriter(publisher, request)


async def test_what_is_written_in_one_turn_is_one_append() -> None:
    journal = RecordedJournal()
    publisher = StepPublisher(journal)
    writers = [writer_of(publisher, f"r{n}", epoch=2, first_seq=n) for n in range(3)]
    for text in ("a", "b"):
        for writer in writers:
            writer.write([TextDelta(text, (1,))])
        await asyncio.gather(*(writer.flushed() for writer in writers))
    assert journal.appends == [
        tuple(Wrote(f"r{n}", 2, n + turn, (TextDelta(text, (1,)),)) for n in range(3))
        for turn, text in enumerate(("a", "b"))
    ]


async def test_what_one_response_says_meanwhile_is_merged() -> None:
    journal = SlowJournal()
    writer = writer_of(StepPublisher(journal))
    call = ToolCallStarted(0, "call_1", "look")
    writer.write([TextDelta("a", (1,))])
    await journal.begun.wait()
    later: list[Sequence[LogEvent]] = [
        [TextDelta("b", (2,))],
        [TextDelta("c"), TextDelta("d", (3, 4))],
        [call],
        [TextDelta("e", (5,))],
    ]
    for events in later:
        writer.write(events)
    journal.may_append.set()
    await writer.flushed()
    assert journal.records("r") == [
        Wrote("r", 1, 0, (TextDelta("a", (1,)),)),
        Wrote("r", 1, 1, (TextDelta("bcd", (2, 3, 4)), call, TextDelta("e", (5,)))),
    ]


async def test_writing_does_not_wait_for_the_store() -> None:
    journal = SlowJournal()
    publisher = StepPublisher(journal, max_waiting=3)
    writer = writer_of(publisher)
    writer.write([TextDelta("a")])
    await journal.begun.wait()
    was_full = []
    for text in "bbc":
        writer.write([TextDelta(text)])
        was_full.append(publisher.is_full)
    assert was_full == [False, False, True]
    journal.may_append.set()
    while publisher.is_full:
        await publisher.next_append()
    await writer.flushed()
    assert [record.events for record in journal.records("r") if isinstance(record, Wrote)] == [
        (TextDelta("a"),),
        (TextDelta("bbc"),),
    ]


async def test_a_writer_that_is_cancelled_while_it_waits_leaves_the_others_alone() -> None:
    journal = SlowJournal()
    publisher = StepPublisher(journal)
    loop = asyncio.get_running_loop()
    first, second = (writer_of(publisher, id_) for id_ in ("r1", "r2"))
    for writer in (first, second):
        writer.write([TextDelta("a")])
    gone, stays = (loop.create_task(writer.flushed()) for writer in (first, second))
    await journal.begun.wait()
    gone.cancel()
    journal.may_append.set()
    await stays
    assert gone.cancelled()
    assert journal.fold("r1").next_seq == journal.fold("r2").next_seq == 1


async def test_every_writer_of_a_lost_append_hears_of_it_and_says_no_more() -> None:
    journal = RecordedJournal()
    publisher = StepPublisher(journal)
    first, second, third = (writer_of(publisher, id_) for id_ in ("r1", "r2", "r3"))
    journal.is_broken = True
    for writer in (first, second):
        writer.write([TextDelta("a")])
        with pytest.raises(StoreUnavailable):
            await writer.flushed()
    journal.is_broken = False
    with pytest.raises(StoreUnavailable):
        first.write([TextDelta("b")])
    with pytest.raises(StoreUnavailable):
        await second.flushed()
    third.write([TextDelta("c")])
    await third.flushed()
    assert journal.appends == [(Wrote("r3", 1, 0, (TextDelta("c"),)),)]


async def test_what_waits_behind_a_lost_append_is_lost_too() -> None:
    class BreakingJournal(SlowJournal):
        async def append(self, records: Sequence[JournalRecord]) -> None:
            await super().append(records)
            self.is_broken = False

    journal = BreakingJournal()
    journal.is_broken = True
    writer = writer_of(StepPublisher(journal))
    writer.write([TextDelta("a")])
    await journal.begun.wait()
    writer.write([TextDelta("b")])
    journal.may_append.set()
    with pytest.raises(StoreUnavailable):
        await writer.flushed()
    assert journal.appends == []


async def test_an_unforeseen_error_reaches_who_wrote() -> None:
    class OddJournal(RecordedJournal):
        async def append(self, records: Sequence[JournalRecord]) -> None:
            raise RuntimeError("a bug")

    writer = writer_of(StepPublisher(OddJournal()))
    writer.write([TextDelta("a")])
    with pytest.raises(RuntimeError, match="a bug"):
        await writer.flushed()


async def test_nothing_to_say_writes_nothing() -> None:
    journal = RecordedJournal()
    writer = writer_of(StepPublisher(journal))
    writer.write([])
    await writer.flushed()
    assert journal.appends == []
