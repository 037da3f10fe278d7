"""Admission as a run meets it: tickets, beats of other processes, and leaving while waiting."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from graphs.online.admission import AdmissionDesk
from serve.domain.admission import Demand, QueueBounds, QueuePosition
from serve.domain.asks import Ask, Ticket
from serve.domain.errors import Overloaded, RateLimited
from serve.domain.journal import Beat
from serve.domain.records import Caller, Item, Scope

ADA = Caller(user_id="ada", scopes=frozenset(Scope))
EVE = Caller(user_id="eve", scopes=frozenset(Scope))
MODEL = "smol"
BOUNDS = QueueBounds(waiting=4, waiting_per_owner=3, wait_s=60)


@dataclass
class Neighbours:
    """The beats that a process hears."""

    beats: dict[str, Beat] = field(default_factory=dict)

    def beat(self, process_id: str, kind: str, *, model: str = "", **load: float) -> None:
        self.beats[process_id] = Beat(
            process_id=process_id,
            kind=kind,
            model=model,
            host="here",
            pid=1,
            started_ticks=1,
            load=dict(load),
        )

    def alive(self, kind: str) -> tuple[Beat, ...]:
        return tuple(beat for beat in self.beats.values() if beat.kind == kind)


@pytest.fixture
def neighbours() -> Neighbours:
    """One generator of one place, as overcommitment rounds it."""
    heard = Neighbours()
    heard.beat("gen", "generator", model=MODEL, capacity_tokens=1000, max_running=1)
    return heard


def desk(neighbours: Neighbours, bounds: QueueBounds = BOUNDS) -> AdmissionDesk:
    return AdmissionDesk(bounds, my_id="me", alive=neighbours.alive)


def ask(**changes: object) -> Ask:
    body = {"id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    item = Item(id="msg_1", body=body)
    return replace(Ask(model=MODEL, input_items=(item,)), **changes)  # type: ignore[arg-type]  # the test's own words


async def turn_of(ticket: Ticket) -> list[QueuePosition]:
    async with aclosing(ticket.waiting()) as positions:
        return [position async for position in positions]


async def test_a_ticket_is_granted_when_the_one_before_is_released(
    neighbours: Neighbours,
) -> None:
    admission = desk(neighbours)
    first, second = admission.admit(ADA, ask()), admission.admit(ADA, ask())
    assert (first.is_granted, second.is_granted) == (True, False)
    assert await turn_of(first) == []
    async with asyncio.TaskGroup() as group:
        turn = group.create_task(turn_of(second))
        await asyncio.sleep(0)
        assert not turn.done()
        first.release(output_tokens=3)
        first.release()
    (told,) = turn.result()
    assert told.place == 1
    assert told.eta_s > 0
    assert second.is_granted


async def test_who_leaves_the_queue_lets_the_next_one_move_up(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    running = admission.admit(ADA, ask())
    leaver, next_one = admission.admit(ADA, ask()), admission.admit(ADA, ask())
    async with aclosing(next_one.waiting()) as positions:
        assert (await anext(positions)).place == 2
        leaver.release()
        assert (await anext(positions)).place == 1
        running.release()
        with pytest.raises(StopAsyncIteration):
            await anext(positions)
    assert next_one.is_granted
    assert not leaver.is_granted


async def test_cancelling_who_waits_frees_the_place(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    running, waiting = admission.admit(ADA, ask()), admission.admit(ADA, ask())
    task = asyncio.ensure_future(turn_of(waiting))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiting.release()
    running.release()
    assert admission.load()["waiting smol"] == 0
    assert admission.load()["granted smol"] == 0
    assert admission.admit(ADA, ask()).is_granted


async def test_releasing_a_waiting_ticket_ends_its_wait(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    admission.admit(ADA, ask())
    waiting = admission.admit(ADA, ask())
    async with asyncio.TaskGroup() as group:
        turn = group.create_task(turn_of(waiting))
        await asyncio.sleep(0)
        waiting.release()
    assert len(turn.result()) == 1
    assert not waiting.is_granted


async def test_owners_take_turns(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    running = admission.admit(ADA, ask())
    hers = [admission.admit(ADA, ask()) for _ in range(3)]
    modest = admission.admit(EVE, ask())
    running.release()
    assert modest.is_granted
    assert not any(ticket.is_granted for ticket in hers)


async def test_full_queues_refuse_and_say_when_to_come_back(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    for _ in range(4):
        admission.admit(ADA, ask())
    with pytest.raises(RateLimited) as refused:
        admission.admit(ADA, ask())
    assert refused.value.context["limit"] == 3
    admission.admit(EVE, ask())
    with pytest.raises(Overloaded) as refused_too:
        admission.admit(EVE, ask())
    assert int(refused_too.value.context["retry_after_s"]) >= 1
    assert admission.load()["waiting smol"] == 4


async def test_a_wait_that_would_be_too_long_is_refused_at_once(neighbours: Neighbours) -> None:
    admission = desk(neighbours, replace(BOUNDS, wait_s=0))
    admission.admit(ADA, ask())
    with pytest.raises(Overloaded, match="the wait would be about"):
        admission.admit(ADA, ask())


async def test_who_has_waited_too_long_is_sent_away(neighbours: Neighbours) -> None:
    admission = desk(neighbours, replace(BOUNDS, wait_s=0.02))
    for _ in range(100):
        # Quick ones, until admission expects no others.
        admission.admit(ADA, ask()).release()
    admission.admit(ADA, ask())
    waiting = admission.admit(ADA, ask())
    with pytest.raises(Overloaded, match="no generator was free"):
        await turn_of(waiting)
    assert admission.load()["waiting smol"] == 0


async def test_new_generators_let_those_who_wait_go_on(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    admission.admit(ADA, ask())
    waiting = admission.admit(ADA, ask())
    async with asyncio.TaskGroup() as group:
        turn = group.create_task(turn_of(waiting))
        await asyncio.sleep(0)
        neighbours.beat("gen-2", "generator", model=MODEL, capacity_tokens=1000, max_running=1)
    assert turn.result()[0].place == 1
    assert waiting.is_granted


async def test_without_any_generator_new_requests_wait(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    admission.admit(ADA, ask()).release()
    del neighbours.beats["gen"]
    assert not admission.admit(ADA, ask()).is_granted


async def test_before_the_first_beat_everybody_is_let_in() -> None:
    admission = desk(Neighbours())
    assert all(admission.admit(ADA, ask()).is_granted for _ in range(100))
    assert admission.room(MODEL) is None


async def test_models_have_queues_of_their_own(neighbours: Neighbours) -> None:
    neighbours.beat("other", "generator", model="other", capacity_tokens=1000, max_running=1)
    admission = desk(neighbours)
    admission.admit(ADA, ask())
    assert not admission.admit(ADA, ask()).is_granted
    assert admission.admit(ADA, ask(model="other")).is_granted


async def test_ingresses_share_the_generators() -> None:
    heard = Neighbours()
    heard.beat("gen", "generator", model=MODEL, capacity_tokens=100_000, max_running=8)
    heard.beat("me", "ingress")
    heard.beat("other", "ingress")
    admission = desk(heard)
    # Ten places in all, as overcommitment has it. While the other one is idle, more than half.
    assert sum(admission.admit(ADA, ask()).is_granted for _ in range(7)) > 5
    admission = desk(heard)
    heard.beats["other"] = replace(heard.beats["other"], load={"waiting smol": 1.0})
    assert sum(admission.admit(ADA, ask()).is_granted for _ in range(7)) == 5


async def test_an_adopted_response_is_let_in_whatever_runs(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    admission.admit(ADA, ask())
    adopted = admission.readmit(ADA, ask(conversation_id="conv_1"))
    assert adopted.is_granted
    assert admission.load()["granted smol"] == 2


async def test_an_ask_that_has_a_ticket_needs_no_other(neighbours: Neighbours) -> None:
    admission = desk(neighbours)
    ticket = admission.admit(ADA, ask(demand=Demand(prompt_tokens=400, max_output_tokens=100)))
    assert admission.admit(ADA, ask(ticket=ticket)) is ticket
    assert admission.load()["granted_tokens smol"] == 500
    room = admission.room(MODEL)
    assert room is not None
    assert (room.limit, room.remaining) == (1000, 500)
    assert room.reset_s > 0
