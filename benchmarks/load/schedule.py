"""When things are asked: so many at a time, at a rate, or as a trace tells."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmarks.load.outcomes import Measured, Outcome
from benchmarks.load.workload import Question, Session, Turn

Arrivals = Literal["poisson", "constant"]


class Asker(Protocol):
    """Whoever answers questions: a server's client, or an engine in this process."""

    async def ask(self, question: Question, *, intended_at_s: float) -> Outcome:
        """Ask and wait. Never raises for what the other side does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load.

    Attributes:
        concurrency: so many conversations at once, the next when one ends (closed loop); 0 in the
            open loop, where conversations begin at ``rate_per_s`` whatever becomes of the others.
        n_sessions: conversations of a round; 0 with ``duration_s``.
        duration_s: no conversation begins later; 0 with ``n_sessions``.
    """

    concurrency: int = 0
    rate_per_s: float = 0.0
    arrivals: Arrivals = "poisson"
    n_sessions: int = 0
    duration_s: float = 0.0

    @property
    def label(self) -> str:
        """For tables and plots."""
        if self.concurrency:
            return f"{self.concurrency} at once"
        return f"{self.rate_per_s:g}/s {self.arrivals}" if self.rate_per_s else "trace"


class Watch(Protocol):
    """Sees what goes on, for a person who waits."""

    def began(self) -> None:
        """A request was sent."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """A request is over."""
        ...


async def closed_loop(
    asker: Asker, sessions: Iterator[Session], level: Level, watch: Watch
) -> Measured:
    """Keep ``level.concurrency`` conversations going until there are enough."""
    outcomes: list[Outcome] = []
    started_at_s = time.perf_counter()
    last_start_s = started_at_s + level.duration_s if level.duration_s else float("inf")

    async def worker() -> None:
        for session in sessions:
            await _converse(asker, session, time.perf_counter(), outcomes, watch)
            if time.perf_counter() >= last_start_s:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(level.concurrency):
            group.create_task(worker())
    return Measured(outcomes, time.perf_counter() - started_at_s)


async def open_loop(asker: Asker, sessions: Iterable[Session], watch: Watch) -> Measured:
    """Begin every session at its time, however the others fare."""
    outcomes: list[Outcome] = []
    started_at_s = time.perf_counter()
    lag_s = 0.0
    async with asyncio.TaskGroup() as group:
        for session in sessions:
            due_s = started_at_s + session.at_s
            # Timers may fire early by their resolution.
            while (left_s := due_s - time.perf_counter()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left_s)
            lag_s = max(lag_s, time.perf_counter() - due_s)
            group.create_task(_converse(asker, session, due_s, outcomes, watch))
    return Measured(outcomes, time.perf_counter() - started_at_s, lag_s)


def arriving(make: Callable[[int], Session], level: Level, seed: str) -> Iterator[Session]:
    """Sessions with their beginnings drawn, until the level's count or duration is full."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    at_s = 0.0
    for index in itertools.count():
        gap_s = 1.0 / level.rate_per_s
        at_s += dice.expovariate(level.rate_per_s) if level.arrivals == "poisson" else gap_s
        if level.duration_s and at_s > level.duration_s:
            return
        if level.n_sessions and index >= level.n_sessions:
            return
        yield Session(make(index).turns, at_s)


async def _converse(
    asker: Asker, session: Session, due_s: float, outcomes: list[Outcome], watch: Watch
) -> None:
    said: list[tuple[Turn, str]] = []
    previous = ""
    for number, turn in enumerate(session.turns):
        is_last = number + 1 == len(session.turns)
        question = Question(turn, tuple(said), previous, wants_text=not is_last)
        watch.began()
        outcome = await asker.ask(question, intended_at_s=due_s)
        outcome.turn = number
        outcome.media = tuple(part.medium for part in turn.media)
        outcomes.append(outcome)
        watch.ended(outcome)
        if not outcome.is_ok:
            return
        said.append((turn, outcome.text))
        previous = outcome.response_id
        due_s = time.perf_counter()
