"""When an engine is taken for hung, and when it is merely slow."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterator
from signal import SIGKILL, SIGSTOP

import pytest

from deployments.generation.liveness import HangJudge, Look, end_when_hung
from serve.observability.processes import process_stat

_HANG_AFTER_S = 8.0


def judged(looks: Iterator[Look]) -> tuple[float, str] | None:
    """When the judge spoke, and what."""
    judge = HangJudge(_HANG_AFTER_S)
    for look in looks:
        if reason := judge.verdict(look):
            return look.at_s, reason
    return None


def looks(
    until_s: float,
    *,
    stops_at_s: float = 1e9,
    computes_until_s: float = 0.0,
    steps_until_s: float = 0.0,
    works_from_s: float = 0.0,
) -> Iterator[Look]:
    for tick in itertools.count():
        at_s = tick / 4
        if at_s > until_s:
            return
        yield Look(
            at_s=at_s,
            has_work=at_s >= works_from_s,
            n_steps=int(min(at_s, steps_until_s) * 10),
            cpu_s=min(at_s, computes_until_s),
            is_stopped=at_s >= stops_at_s,
        )


def test_an_engine_that_steps_is_well() -> None:
    assert judged(looks(300, steps_until_s=300)) is None


def test_an_idle_engine_is_well() -> None:
    assert judged(looks(300, works_from_s=301)) is None


def test_a_long_step_that_computes_is_well() -> None:
    assert judged(looks(100, computes_until_s=100)) is None


@pytest.mark.parametrize("end_s", [10.0, 30.0])
def test_silence_is_counted_from_the_last_sign_of_life(end_s: float) -> None:
    for found in (
        judged(looks(60, steps_until_s=end_s)),
        judged(looks(60, computes_until_s=end_s)),
        judged(looks(60, works_from_s=end_s)),
    ):
        assert found is not None
        at_s, reason = found
        assert end_s + _HANG_AFTER_S - 0.5 <= at_s <= end_s + _HANG_AFTER_S + 0.5
        assert "no step" in reason


def test_a_step_may_not_compute_forever() -> None:
    found = judged(looks(300, computes_until_s=300))
    assert found is not None
    assert found[0] == 120.0


@pytest.mark.parametrize("works_from_s", [0.0, 100.0])
def test_a_stopped_engine_is_found_at_once_with_work_or_without(works_from_s: float) -> None:
    found = judged(looks(60, steps_until_s=5, stops_at_s=5, works_from_s=works_from_s))
    assert found is not None
    assert found[0] < 6.5
    assert "stopped" in found[1]


def test_who_did_not_look_for_long_accuses_nobody() -> None:
    judge = HangJudge(_HANG_AFTER_S)
    asleep = [look for look in looks(100) if not 2 < look.at_s < 50]
    assert not any(judge.verdict(look) for look in asleep if look.at_s < 57)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that never does anything."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


async def watched(pid: int, *, has_work: bool) -> None:
    async with asyncio.timeout(30):
        await end_when_hung(pid, 0.5, has_work=lambda: has_work, n_steps=lambda: 0)


async def test_a_hung_process_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    await watched(sleeper.pid, has_work=True)
    assert sleeper.wait(10) == -SIGKILL


async def test_a_stopped_process_is_killed(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(SIGSTOP)
    await watched(sleeper.pid, has_work=False)
    assert sleeper.wait(10) == -SIGKILL


async def test_watching_ends_with_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    await watched(sleeper.pid, has_work=False)
    sleeper.wait(10)
    await watched(sleeper.pid, has_work=False)
    assert process_stat(sleeper.pid) is None
