"""A round's outcomes as the few numbers that are kept, and rounds as estimates."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load.outcomes import Measured, Outcome
from benchmarks.load.statistics import Estimate, estimate, quantiles
from benchmarks.load.workload import BadWorkload

# What makes tokens, as opposed to what delivers them. A title of a process.
ENGINE_ROLE = re.compile(r"engine|generator", re.IGNORECASE)
_TOLD_SIZES = 3
_UNITS_S = {"ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a request must keep to be a good one. Seconds.

    ``itl_s`` holds for 99 of 100 gaps of the request, ``tpot_s`` for their mean.
    """

    ttft_s: float | None = None
    itl_s: float | None = None
    tpot_s: float | None = None
    total_s: float | None = None

    @classmethod
    def parse(cls, text: str) -> Goal:
        """``ttft=500ms,itl=50ms``. Raises BadWorkload."""
        limits: dict[str, float] = {}
        for entry in filter(None, text.split(",")):
            found = re.fullmatch(r"\s*(ttft|itl|tpot|total)\s*=\s*([\d.]+)\s*(ms|s)\s*", entry)
            if not found:
                raise BadWorkload(f"{entry!r}: write ttft=500ms, itl=50ms, tpot=50ms or total=10s")
            limits[f"{found[1]}_s"] = float(found[2]) * _UNITS_S[found[3]]
        return cls(**limits)

    def is_met(self, outcome: Outcome) -> bool:
        """Failed requests never are."""
        if not outcome.is_ok:
            return False
        gaps = quantiles(outcome.gaps_s) if self.itl_s is not None else None
        measured = (
            (self.ttft_s, outcome.ttft_s),
            (self.itl_s, gaps[99] if gaps else None),
            (self.tpot_s, outcome.tpot_s),
            (self.total_s, outcome.total_s),
        )
        return all(limit is None or value is None or value <= limit for limit, value in measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSummary:
    """One round of one target at one level. Quantile lists have 101 entries, or are None.

    Attributes:
        good_share: of all requests, those that met the goal; None without a goal.
        lag_ms: how late this client was at worst, in the open loop.
        cpu_s: processor seconds by role of process.
        idle_cpu_s: what the same processes would have used in that time with nothing to do.
        pss_mb: memory by role, one entry a process.
        client_cpu_s: what this load tester itself used.
    """

    n_requests: int
    n_ok: int
    errors: dict[str, int]
    details: dict[str, str]
    wall_s: float
    input_tokens: int
    output_tokens: int
    n_refusals: int
    n_resumes: int
    n_sequence_faults: int
    good_share: float | None
    ttft_ms: list[float] | None
    itl_ms: list[float] | None
    tpot_ms: list[float] | None
    total_ms: list[float] | None
    queued_ms: list[float] | None
    longest_gap_ms: float
    lag_ms: float
    cpu_s: dict[str, float] = field(default_factory=dict)
    idle_cpu_s: dict[str, float] = field(default_factory=dict)
    pss_mb: dict[str, list[float]] = field(default_factory=dict)
    client_cpu_s: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        """Output tokens over the time the round took."""
        return self.output_tokens / self.wall_s if self.wall_s else 0.0

    @property
    def requests_per_s(self) -> float:
        """Answered requests over the time the round took."""
        return self.n_ok / self.wall_s if self.wall_s else 0.0

    @property
    def error_share(self) -> float:
        """Of all requests."""
        return 1 - self.n_ok / self.n_requests if self.n_requests else 0.0

    @property
    def good_per_s(self) -> float | None:
        """Goodput: requests a second that met the goal."""
        if self.good_share is None or not self.wall_s:
            return None
        return self.good_share * self.n_requests / self.wall_s

    @property
    def cpu_us_per_token(self) -> float | None:
        """Processor time of all of the server's processes per output token."""
        return self._per_token(sum(self.cpu_s.values()))

    @property
    def serving_cpu_us_per_token(self) -> float | None:
        """The same without the processes that make the tokens."""
        return self._per_token(_delivering(self.cpu_s))

    @property
    def serving_above_idle_us_per_token(self) -> float | None:
        """Also without what the server uses when nobody asks anything."""
        if not self.idle_cpu_s:
            return None
        return self._per_token(_delivering(self.cpu_s) - _delivering(self.idle_cpu_s))

    def _per_token(self, cpu_s: float) -> float | None:
        return 1e6 * cpu_s / self.output_tokens if self.cpu_s and self.output_tokens else None

    def cpu_us_per_request(self) -> float | None:
        """Server processor time per answered request."""
        return 1e6 * sum(self.cpu_s.values()) / self.n_ok if self.cpu_s and self.n_ok else None


def _delivering(cpu_s: Mapping[str, float]) -> float:
    return sum(spent_s for role, spent_s in cpu_s.items() if not is_engine(role))


def is_engine(role: str) -> bool:
    """Whether a process of this role makes tokens."""
    return ENGINE_ROLE.search(role) is not None


def summarise(measured: Measured, goal: Goal | None) -> RoundSummary:
    """Latencies of answered requests only; what failed is counted by kind."""
    outcomes = measured.outcomes
    answered = [outcome for outcome in outcomes if outcome.is_ok]
    failed = [outcome for outcome in outcomes if not outcome.is_ok]
    gaps = [gap for outcome in answered for gap in outcome.gaps_s]
    n_good = sum(goal.is_met(outcome) for outcome in outcomes) if goal else 0
    return RoundSummary(
        n_requests=len(outcomes),
        n_ok=len(answered),
        errors=dict(Counter(outcome.kind for outcome in failed)),
        details={outcome.kind: outcome.detail for outcome in failed if outcome.detail},
        wall_s=measured.wall_s,
        input_tokens=sum(outcome.input_tokens for outcome in answered),
        output_tokens=sum(outcome.output_tokens for outcome in answered),
        n_refusals=sum(outcome.n_refusals for outcome in outcomes),
        n_resumes=sum(outcome.n_resumes for outcome in outcomes),
        n_sequence_faults=sum(outcome.n_sequence_faults for outcome in outcomes),
        good_share=n_good / len(outcomes) if goal and outcomes else None,
        ttft_ms=_ms(outcome.ttft_s for outcome in answered),
        itl_ms=_ms(gaps),
        tpot_ms=_ms(t for outcome in answered if (t := outcome.tpot_s) is not None),
        total_ms=_ms(outcome.total_s for outcome in answered),
        queued_ms=_ms(q for outcome in answered if (q := outcome.queued_s) is not None),
        longest_gap_ms=1000 * max(gaps, default=0.0),
        lag_ms=1000 * measured.lag_s,
    )


def _ms(values_s: Iterable[float]) -> list[float] | None:
    found = quantiles([1000 * value for value in values_s])
    return [round(value, 4) for value in found] if found else None


PERCENTILES = (50, 90, 99)
SPANS = ("ttft_ms", "itl_ms", "tpot_ms", "total_ms", "queued_ms")


def metrics_of(summary: RoundSummary) -> dict[str, float | None]:
    """Every number of a round under its name: ``ttft_ms_p50``, ``tokens_per_s`` and so on."""
    metrics: dict[str, float | None] = {}
    for span in SPANS:
        found: list[float] | None = getattr(summary, span)
        for percentile in PERCENTILES:
            metrics[f"{span}_p{percentile}"] = found[percentile] if found else None
    return metrics | {
        "longest_gap_ms": summary.longest_gap_ms,
        "tokens_per_s": summary.tokens_per_s,
        "requests_per_s": summary.requests_per_s,
        "good_share": summary.good_share,
        "good_per_s": summary.good_per_s,
        "error_share": summary.error_share,
        "cpu_us_per_token": summary.cpu_us_per_token,
        "serving_cpu_us_per_token": summary.serving_cpu_us_per_token,
        "serving_above_idle_us_per_token": summary.serving_above_idle_us_per_token,
        "cpu_us_per_request": summary.cpu_us_per_request(),
    }


def estimates(rounds: Sequence[RoundSummary]) -> dict[str, Estimate]:
    """The median over rounds of every number that the rounds have."""
    by_round = [metrics_of(summary) for summary in rounds]
    found: dict[str, Estimate] = {}
    for name in by_round[0] if by_round else ():
        made = estimate([value for each in by_round if (value := each[name]) is not None])
        if made is not None:
            found[name] = made
    return found


def told_mb(sizes: Sequence[float]) -> str:
    """The largest first; of many processes the sum as well."""
    told = " + ".join(f"{mb:.0f}" for mb in sorted(sizes, reverse=True)[:_TOLD_SIZES])
    if len(sizes) > _TOLD_SIZES:
        return f"{told} + … = {sum(sizes):.0f} in {len(sizes)}"
    return told


def median_by_role(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Medians over rounds of numbers by role; a role that a round lacks counts as nothing."""
    roles = sorted({role for table in tables for role in table})
    return {role: statistics.median(table.get(role, 0.0) for table in tables) for role in roles}
