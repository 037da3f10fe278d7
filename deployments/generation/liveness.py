"""Finds out that an engine hangs, and ends processes that are of no more use."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from serve.observability.processes import process_stat

_log = logging.getLogger(__name__)

_LOOK_PERIOD_S: Final = 0.25
# Longer between two looks: we did not look, so we cannot say that nothing happened.
_BLIND_AFTER_S: Final = 2.0
_STOPPED_S: Final = 0.75
_LONGEST_STEP_S: Final = 120.0
# Less than this since the last mark is what idle threads of a hung process burn.
_WORK_CPU_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An engine at one moment. ``cpu_s`` and ``n_steps`` count from its start."""

    at_s: float
    has_work: bool
    n_steps: int
    cpu_s: float
    is_stopped: bool


class HangJudge:
    """Takes looks at an engine in the order of time. Pure.

    A step may be long where it computes: a long prompt on a CPU. So an engine hangs when it has
    work, makes no step and burns no CPU time for ``hang_after_s``, when it is stopped, or when one
    step takes longer than any could.
    """

    def __init__(self, hang_after_s: float) -> None:
        self._hang_after_s = hang_after_s
        self._last: Look | None = None
        self._stopped_since_s: float | None = None
        self._step: Look | None = None
        self._sign: Look | None = None

    def verdict(self, look: Look) -> str | None:
        """Why it is to be ended, if it is."""
        if self._last is not None and look.at_s - self._last.at_s > _BLIND_AFTER_S:
            self._step = self._sign = self._stopped_since_s = None
        self._last = look
        step, sign = self._step, self._sign
        if step is None or sign is None or not look.has_work or look.n_steps != step.n_steps:
            self._step = self._sign = step = sign = look
        elif look.cpu_s - sign.cpu_s >= _WORK_CPU_S:
            self._sign = sign = look
        if not look.is_stopped:
            self._stopped_since_s = None
        elif self._stopped_since_s is None:
            self._stopped_since_s = look.at_s
        if self._stopped_since_s is not None and look.at_s - self._stopped_since_s >= _STOPPED_S:
            return "its process is stopped"
        if look.at_s - sign.at_s >= self._hang_after_s:
            return f"no step and no work for {self._hang_after_s:g} s"
        if look.at_s - step.at_s >= _LONGEST_STEP_S:
            return f"one step took {_LONGEST_STEP_S:g} s"
        return None


async def end_when_hung(
    pid: int, hang_after_s: float, *, has_work: Callable[[], bool], n_steps: Callable[[], int]
) -> None:
    """Watch an engine's process until it is gone; kill it when it hangs."""
    judge = HangJudge(hang_after_s)
    loop = asyncio.get_running_loop()
    while (stat := process_stat(pid)) is not None and not stat.is_gone:
        reason = judge.verdict(
            Look(
                at_s=loop.time(),
                has_work=has_work(),
                n_steps=n_steps(),
                cpu_s=stat.cpu_s,
                is_stopped=stat.is_stopped,
            )
        )
        if reason is not None:
            _log.error("engine ended", extra={"pid": pid, "reason": reason})
            os.kill(pid, signal.SIGKILL)
            return
        await asyncio.sleep(_LOOK_PERIOD_S)


def end_this_process() -> None:
    """At once and for good, so that routers and supervisors see what happened."""
    os.kill(os.getpid(), signal.SIGKILL)
