"""Percentiles, and how sure one can be of a median over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median over rounds with its 95 % bootstrap interval; no interval from a single round."""

    value: float
    low: float | None = None
    high: float | None = None


def quantiles(values: Sequence[float]) -> list[float] | None:
    """The 0th to the 100th percentile, linearly interpolated; None of nothing."""
    if not len(values):
        return None
    found: list[float] = np.percentile(np.asarray(values), np.arange(101)).tolist()
    return found


def estimate(by_round: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """The median of one number per round; None of nothing.

    The interval resamples rounds, not requests: requests of one round share its weather.
    """
    if not len(by_round):
        return None
    values = np.asarray(by_round, dtype=float)
    median = float(np.median(values))
    if len(values) < 2:
        return Estimate(median)
    dice = np.random.default_rng(seed)
    drawn = dice.choice(values, size=(_RESAMPLES, len(values)))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return Estimate(median, float(low), float(high))


def paired(
    ours: Sequence[float | None], baseline: Sequence[float | None]
) -> list[tuple[float, float]]:
    """Rounds in which both have a number, in order."""
    both = zip(ours, baseline, strict=True)
    return [(mine, theirs) for mine, theirs in both if mine is not None and theirs is not None]


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimate | None:
    """Median of mine / theirs, round by round, so that a drift of the machine cancels out."""
    return estimate([mine / theirs for mine, theirs in pairs if theirs])


def difference(pairs: Sequence[tuple[float, float]]) -> Estimate | None:
    """Median of mine - theirs, round by round."""
    return estimate([mine - theirs for mine, theirs in pairs])
