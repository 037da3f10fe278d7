"""A whole run: targets in turn, round by round, level by level."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from benchmarks.load.outcomes import Measured
from benchmarks.load.processes import pss_mb, snapshot, spent_s
from benchmarks.load.progress import Progress
from benchmarks.load.results import Cell
from benchmarks.load.rounds import Round
from benchmarks.load.schedule import Level, Watch
from benchmarks.load.summary import Goal, RoundSummary, summarise
from benchmarks.load.targets import NotAvailable, Target
from benchmarks.load.workload import Session, Workload

# Round numbers from here on are warm-ups: other prompts, thrown away.
_WARM_UP = 1_000_000
_WARM_UP_SESSIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do.

    ``idle_s``: how long the targets' processes are watched doing nothing, before all else.
    ``n_rounds`` of every level with every target; the order of the targets changes from round to
    round, so that nobody always follows the same one.
    """

    levels: Sequence[Level]
    workload: Workload
    n_rounds: int
    warms_up: bool = True
    idle_s: float = 0.0
    goal: Goal | None = None
    trace: tuple[Session, ...] = ()

    @property
    def has_media(self) -> bool:
        """Some question may carry a picture or a recording."""
        traced = any(turn.media for session in self.trace for turn in session.turns)
        return traced or any(self.workload.media.values())

    @property
    def n_all_rounds(self) -> int:
        """Per target."""
        return len(self.levels) * self.n_rounds


@dataclass(frozen=True, slots=True)
class Done:
    """Cells of all who took part, and why others did not."""

    cells: tuple[Cell, ...]
    unavailable: Mapping[str, str]


async def carry_out(plan: Plan, targets: Sequence[Target], progress: Progress) -> Done:
    """Start, measure in turn, stop; also when this process is told to end.

    Raises:
        asyncio.CancelledError: it was.
        NotAvailable: a target was lost on the way.
    """
    unavailable: dict[str, str] = {}
    if (task := asyncio.current_task()) is not None:
        # Or the servers that were started would outlive it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        ready: list[Target] = []
        for target in targets:
            progress.round(f"starting {target.name}")
            stack.push_async_callback(target.stop)
            try:
                await target.start()
            except NotAvailable as error:
                unavailable[target.name] = str(error)
            else:
                ready.append(target)
        idle = await _idle(ready, plan.idle_s, progress)
        cells = await _measure(plan, ready, idle, progress)
    return Done(cells, unavailable)


async def _idle(
    targets: Sequence[Target], idle_s: float, progress: Progress
) -> dict[str, dict[str, float]]:
    """Processor seconds per second of every role of every target, while nobody asks anything."""
    watched = [target for target in targets if target.pids]
    if not idle_s or not watched:
        return {}
    progress.round("watching idle processes")
    before = {target.name: snapshot(target.pids) for target in watched}
    started_s = time.perf_counter()
    await asyncio.sleep(idle_s)
    passed_s = time.perf_counter() - started_s
    return {
        target.name: {
            role: cpu_s / passed_s
            for role, cpu_s in spent_s(before[target.name], snapshot(target.pids)).items()
        }
        for target in watched
    }


async def _measure(
    plan: Plan,
    targets: Sequence[Target],
    idle: Mapping[str, Mapping[str, float]],
    progress: Progress,
) -> tuple[Cell, ...]:
    cells = []
    for level in plan.levels:
        rounds: dict[str, list[RoundSummary]] = defaultdict(list)
        if plan.warms_up:
            for target in targets:
                progress.round(f"{target.name}, warming up")
                await target.measure(_warm_up(plan, level), progress)
        for number in range(plan.n_rounds):
            for target in _in_turn(targets, plan.workload.seed, number):
                progress.round(f"{target.name}, {level.label}, round {number + 1}")
                task = Round(level, plan.workload, number, plan.trace)
                summary = await _one(target, task, plan.goal, progress)
                shares = idle.get(target.name, {})
                idle_s = {role: share * summary.wall_s for role, share in shares.items()}
                rounds[target.name].append(replace(summary, idle_cpu_s=idle_s))
                progress.round_done()
        cells += [Cell(t.name, level.label, tuple(rounds[t.name])) for t in targets]
    return tuple(cells)


def _in_turn(targets: Sequence[Target], seed: int, number: int) -> list[Target]:
    dice = random.Random(f"{seed}/order/{number}")  # noqa: S311 - no secret
    return dice.sample(targets, len(targets))


def _warm_up(plan: Plan, level: Level) -> Round:
    at_once = level.concurrency or _WARM_UP_SESSIONS
    gentle = Level(concurrency=at_once, n_sessions=at_once)
    return Round(gentle, replace(plan.workload, n_turns=1), _WARM_UP)


async def _one(target: Target, task: Round, goal: Goal | None, watch: Watch) -> RoundSummary:
    before, before_s = snapshot(target.pids), time.process_time()
    measured: Measured = await target.measure(task, watch)
    client_s = time.process_time() - before_s
    spent = spent_s(before, snapshot(target.pids))
    return replace(
        summarise(measured, goal),
        cpu_s=spent,
        pss_mb=pss_mb(target.pids),
        client_cpu_s=client_s,
    )
