"""Rounds as figures: for a file, and for a person."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from benchmarks.faults.processes import Fault, Role
from benchmarks.faults.rounds import Outcome

Cell = tuple[Role, Fault]


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All rounds of one cell together. Seconds, counts."""
    gaps_s = [gap for each in outcomes for gap in each.gaps_s]
    gaps_before_s = [gap for each in outcomes for gap in each.gaps_before_s]
    n_streams = len(gaps_s)
    replaced = [each.replaced_s for each in outcomes if each.replaced_s is not None]
    return {
        "n_rounds": len(outcomes),
        "n_streams": n_streams,
        "n_exactly_once": sum(each.n_exact for each in outcomes),
        "problems": _total(each.problems for each in outcomes),
        "gap_s": _percentiles(gaps_s),
        "gap_before_s": _percentiles(gaps_before_s),
        "n_resumed": sum(each.n_resumed for each in outcomes),
        "n_asked_again": sum(each.n_asked_again for each in outcomes),
        "lost": sum(each.account.lost for each in outcomes),
        "doubled": sum(each.account.doubled for each in outcomes),
        "unfinished": sum(each.account.unfinished for each in outcomes),
        "abandoned_sequences": sum(each.abandoned for each in outcomes),
        "outage_s": _spread([each.outage_s for each in outcomes]),
        "outage_before_s": _spread([each.outage_before_s for each in outcomes]),
        "answer_outage_s": _spread([each.answer_outage_s for each in outcomes]),
        "own_delay_s": _spread([each.own_delay_s for each in outcomes]),
        "not_found": sum(each.n_not_found for each in outcomes),
        "failures": _total(each.failures for each in outcomes),
        "replaced_s": _spread(replaced) if replaced else None,
        "n_not_replaced": len(outcomes) - len(replaced),
        "n_left_stopped": sum(each.was_left_stopped for each in outcomes),
    }


def raw(outcome: Outcome) -> dict[str, Any]:
    """One round, for the file: of the streams' pauses only how they spread."""
    told = asdict(outcome)
    del told["gaps_s"], told["gaps_before_s"]
    told["gap_s"] = _percentiles(outcome.gaps_s)
    told["gap_before_s"] = _percentiles(outcome.gaps_before_s)
    return told


def table(cells: dict[Cell, dict[str, Any] | None]) -> Table:
    """One line per target and signal; None stands for a target that does not exist."""
    drawn = Table(title="What clients noticed")
    for heading in (
        "target",
        "signal",
        "rounds",
        "exactly once",
        "lost",
        "doubled",
        "gap p50/max",
        "outage max",
        "own delay max",
        "404s",
        "replaced p50/max",
        "abandoned",
    ):
        drawn.add_column(heading, justify="left" if heading in ("target", "signal") else "right")
    for (role, fault), told in cells.items():
        if told is None:
            drawn.add_row(role, fault, "none runs")
            continue
        replaced = told["replaced_s"]
        drawn.add_row(
            role,
            fault,
            str(told["n_rounds"]),
            f"{told['n_exactly_once']}/{told['n_streams']}",
            str(told["lost"] + told["unfinished"]),
            str(told["doubled"]),
            f"{told['gap_s']['p50']:.2f}/{told['gap_s']['max']:.2f} s",
            f"{told['outage_s']['max']:.2f} s",
            f"{told['own_delay_s']['max']:.2f} s",
            str(told["not_found"]),
            f"{replaced['p50']:.1f}/{replaced['max']:.1f} s" if replaced else "never",
            str(told["abandoned_sequences"]),
        )
    return drawn


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"p50": statistics.median(values), "max": max(values)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": _at(ordered, 0.5), "p99": _at(ordered, 0.99), "max": ordered[-1]}


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
