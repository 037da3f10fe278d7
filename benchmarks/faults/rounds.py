"""One round: streams under way, a part of the service hit, and what everybody noticed."""

from __future__ import annotations

import asyncio
import math
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
import psutil

from benchmarks.faults.asking import ask
from benchmarks.faults.ledger import Account, Ledger
from benchmarks.faults.newcomers import Newcomers
from benchmarks.faults.processes import Fault, Household, Member, Role
from benchmarks.faults.streams import Delivered, DurableStream
from benchmarks.load.wire import Address

_LOOK_S = 0.25
_MIDWAY_LIMIT_S = 60.0
_WHOLE_LIMIT_S = 180.0
_SUBJECTS = ("the sea", "mountains", "bread", "clocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is under way when the fault comes: ``n_streams`` answers of ``n_tokens``.

    ``repeats_itself``: the model says the same whatever else it works on. An engine does not:
    rounding depends on the batch. Then an answer is compared with what the service has kept.
    """

    model: str
    repeats_itself: bool
    n_streams: int
    n_tokens: int
    limit_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one round came to. Seconds throughout.

    Pauses before the fault, and our own delay, show what the machine itself did to the figures.

    Attributes:
        n_exact: streams that were delivered exactly once, in order, with the right text.
        gaps_s: every stream's longest pause between two pieces that ended after the fault.
        gaps_before_s: and the one that ended before it.
        outage_s: longest time after the fault in which no new request was served.
        answer_outage_s: and in which no new question to the model was answered.
        own_delay_s: how much too late after the fault this process itself was woken, at worst.
        replaced_s: until as many of the target's kind were at work as before, and the service
            said that it was ready; None when that took longer than a round may.
        was_left_stopped: the platform had to be helped: the stopped target was still there.
        abandoned: sequences that the generators still worked on after everybody had left.
    """

    role: Role
    fault: Fault
    n_exact: int
    problems: dict[str, int]
    gaps_s: list[float]
    gaps_before_s: list[float]
    n_resumed: int
    n_asked_again: int
    n_newcomers: int
    n_not_found: int
    failures: dict[str, int]
    outage_s: float
    outage_before_s: float
    answer_outage_s: float
    own_delay_s: float
    replaced_s: float | None
    was_left_stopped: bool
    account: Account
    abandoned: int


@dataclass(slots=True)
class Target:
    """The service under test, and the right to ask it."""

    url: str
    api_key: str
    household: Household
    ledger: Ledger
    counts: Counter[Role] = field(default_factory=Counter)

    @property
    def headers(self) -> Mapping[str, str]:
        """What every request carries."""
        return {"authorization": f"Bearer {self.api_key}"}

    async def count(self) -> None:
        """Note how many of every kind there are while all is well."""
        self.counts = await self._alive()

    async def is_served(self) -> bool:
        """Whether no fewer of any kind are at work than were counted, and it is ready."""
        alive = await self._alive()
        if any(alive[role] < n for role, n in self.counts.items()):
            return False
        return await ask(Address.of(self.url), "/readyz", {}) == "200"

    async def until_whole(self) -> None:
        """Wait until all are at work again and what was replaced has gone.

        Raises:
            TimeoutError: That takes too long.
        """
        async with asyncio.timeout(_WHOLE_LIMIT_S):
            # ASYNC110: what is waited for happens in other processes.
            while not await self.is_served() or await self._alive() != self.counts:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)

    async def _alive(self) -> Counter[Role]:
        members = await asyncio.to_thread(self.household.members)
        return Counter(member.role for member in members if not member.is_stopped)


class FaultRounds:
    """Rounds against one service."""

    def __init__(self, target: Target, load: Load) -> None:
        self._target = target
        self._load = load
        self._references: list[str] = []
        self._n_pieces = 0

    async def prepare(self) -> None:
        """Note what the answers are when nothing happens.

        Raises:
            RuntimeError: Not even that works.
        """
        streams = self._streams(secrets.token_hex(4), self._load.n_streams)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(stream.run(limit_s=self._load.limit_s)) for stream in streams
            ]
        for task in tasks:
            if task.result().problem:
                raise RuntimeError(f"an undisturbed answer failed: {task.result().problem}")
            self._references.append(task.result().text)
            self._n_pieces = max(self._n_pieces, len(task.result().moments_s))

    async def run(self, role: Role, fault: Fault, number: int) -> Outcome | None:
        """Hit the ``number``-th of a kind, in turn. None when there is none of that kind."""
        if not self._target.counts[role]:
            return None
        round_id = secrets.token_hex(6)
        streams = self._streams(round_id, self._load.n_streams)
        newcomers = Newcomers(self._target.url, self._target.headers, self._load.model)
        async with newcomers.coming() as noticed, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(stream.run(limit_s=self._load.limit_s)) for stream in streams
            ]
            await self._midway(streams)
            victim = await self._hit(role, fault, number)
            hit_at_s = time.perf_counter()
            watch = group.create_task(self._replaced(victim, hit_at_s))
        was_left_stopped = victim.is_stopped
        if was_left_stopped:
            victim.end()
        await self._target.until_whole()
        delivered = [task.result() for task in tasks]
        expected = await self._expected(delivered)
        problems = Counter(
            problem for each in delivered if (problem := _problem(each, expected[each.name]))
        )
        ledger = self._target.ledger
        return Outcome(
            role=role,
            fault=fault,
            n_exact=len(delivered) - problems.total(),
            problems=dict(problems),
            gaps_s=[longest_pause(each.moments_s, after_s=hit_at_s) for each in delivered],
            gaps_before_s=[longest_pause(each.moments_s, until_s=hit_at_s) for each in delivered],
            n_resumed=sum(each.n_resumes > 0 for each in delivered),
            n_asked_again=sum(each.n_posts > 1 for each in delivered),
            n_newcomers=noticed.n_asked,
            n_not_found=noticed.n_not_found + sum(each.statuses.get(404, 0) for each in delivered),
            failures=noticed.failures,
            outage_s=longest_pause(noticed.served_at_s, after_s=hit_at_s),
            outage_before_s=longest_pause(noticed.served_at_s, until_s=hit_at_s),
            answer_outage_s=longest_pause(noticed.answered_at_s, after_s=hit_at_s),
            own_delay_s=max(late_s for due_s, late_s in noticed.woken if due_s + late_s > hit_at_s),
            replaced_s=watch.result(),
            was_left_stopped=was_left_stopped,
            account=await ledger.account(round_id, {each.name for each in delivered}),
            abandoned=await ledger.abandoned(),
        )

    async def _hit(self, role: Role, fault: Fault, number: int) -> Member:
        """Chosen at the last moment: a part may have ended by itself meanwhile."""
        while True:
            members = await asyncio.to_thread(self._target.household.of, role)
            with suppress(psutil.NoSuchProcess):
                if members:
                    member = members[number % len(members)]
                    member.hit(fault)
                    return member
            await asyncio.sleep(_LOOK_S)

    def _streams(self, round_id: str, n: int) -> Sequence[DurableStream]:
        return [
            DurableStream(
                self._target.url,
                self._target.headers,
                {
                    "model": self._load.model,
                    "input": _prompt(index),
                    "max_output_tokens": self._load.n_tokens,
                    "temperature": 0,
                    "background": index % 2 == 1,
                    "metadata": {"round": round_id, "stream": f"{round_id}-{index}"},
                },
                f"{round_id}-{index}",
            )
            for index in range(n)
        ]

    async def _midway(self, streams: Sequence[DurableStream]) -> None:
        """Until all have begun and half have a third of their pieces."""
        deadline = time.perf_counter() + _MIDWAY_LIMIT_S
        while time.perf_counter() < deadline:
            pieces = [stream.n_pieces for stream in streams]
            if min(pieces) > 0 and statistics.median(pieces) >= self._n_pieces / 3:
                return
            await asyncio.sleep(_LOOK_S / 5)

    async def _replaced(self, victim: Member, hit_at_s: float) -> float | None:
        deadline = hit_at_s + self._load.limit_s
        while time.perf_counter() < deadline:
            if (victim.is_gone or not victim.is_stopped) and await self._target.is_served():
                return time.perf_counter() - hit_at_s
            await asyncio.sleep(_LOOK_S)
        return None

    async def _expected(self, delivered: Sequence[Delivered]) -> Mapping[str, str]:
        """Text by stream."""
        if self._load.repeats_itself:
            return {each.name: text for each, text in zip(delivered, self._references, strict=True)}
        url, headers = self._target.url, dict(self._target.headers)
        async with httpx.AsyncClient(base_url=url, headers=headers) as client:
            return {each.name: await _kept_text(client, each.response_id) for each in delivered}


def _prompt(index: int) -> str:
    """No two streams ask the same, so answers that were mixed up show."""
    return f"Tell me {index + 2} things about {_SUBJECTS[index % len(_SUBJECTS)]}."


async def _kept_text(client: httpx.AsyncClient, response_id: str) -> str:
    reply = await client.get(f"/v1/responses/{response_id}")
    output = reply.json().get("output", [])
    parts = (part for item in output for part in item.get("content", []))
    return "".join(part.get("text", "") for part in parts)


def _problem(delivered: Delivered, expected: str) -> str:
    if delivered.problem:
        return delivered.problem
    return "" if delivered.text == expected else "not the text that was expected"


def longest_pause(
    moments_s: Sequence[float], *, after_s: float = -math.inf, until_s: float = math.inf
) -> float:
    """Between two moments, of which the later one lies within the given time; 0 without any."""
    ordered = sorted(moments_s)
    return max(
        (later - earlier for earlier, later in pairwise(ordered) if after_s <= later < until_s),
        default=0.0,
    )
