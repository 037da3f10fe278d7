"""How many generators a load asks for. Pure.

Up is decided on what runs and waits now, down one at a time and only when the rest would have
plenty of room: between ``HIGH_USE`` and ``LOW_USE`` nothing happens, so a steady load settles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

HIGH_USE: Final = 0.8
LOW_USE: Final = 0.5
# Waiting prompts that the running replicas take in within this time are no reason to load a model.
CLEARED_WITHIN_S: Final = 5.0
# A mean over some seconds: below this, hardly anybody waited.
_NOBODY_WAITS: Final = 0.5
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorLoad:
    """Means of one replica's figures, as in ``Beat.load``; 0 where it said nothing."""

    running: float = 0.0
    waiting: float = 0.0
    waiting_tokens: float = 0.0
    kv_use: float = 0.0
    max_running: float = 0.0
    tokens_per_s: float = 0.0

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Self:
        """Take what we need of ``figures``."""
        return cls(**{name: figures.get(name, 0.0) for name in cls.__slots__})

    @property
    def use(self) -> float:
        """Share of the replica in use, of its KV cache or of its places, whichever is scarcer."""
        return max(self.kv_use, self.running / self.max_running if self.max_running else 0.0)


def wanted_replicas(
    loads: Sequence[GeneratorLoad], *, target: int, minimum: int, maximum: int
) -> int:
    """Replicas to have, from ``minimum`` to ``maximum``.

    Args:
        loads: Of the replicas that run and have reported.
        target: Replicas decided on so far; those that do not run yet are starting.
        minimum: Never fewer.
        maximum: Never more, and never more than twice those that run at one step.
    """
    return min(max(_wanted(loads, target), minimum), maximum)


def _wanted(loads: Sequence[GeneratorLoad], target: int) -> int:
    needed = math.ceil(min(_needed(loads), 2 * len(loads)) - _ROUNDING)
    if needed > target:
        return needed
    has_room = target > 1 and sum(load.use for load in loads) < LOW_USE * (target - 1)
    all_report = len(loads) >= target
    return target - 1 if has_room and all_report and not _somebody_waits(loads) else target


def _needed(loads: Sequence[GeneratorLoad]) -> float:
    """In replicas and parts of one."""
    for_use = sum(load.use for load in loads) / HIGH_USE
    rate = sum(load.tokens_per_s for load in loads)
    if not rate or not _somebody_waits(loads):
        return for_use
    cleared_in_s = sum(load.waiting_tokens for load in loads) / rate
    return max(for_use, len(loads) * cleared_in_s / CLEARED_WITHIN_S)


def _somebody_waits(loads: Sequence[GeneratorLoad]) -> bool:
    return sum(load.waiting for load in loads) >= _NOBODY_WAITS
