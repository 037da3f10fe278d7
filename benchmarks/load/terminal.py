"""A result as tables in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.load.results import Result
from benchmarks.load.statistics import Estimate
from benchmarks.load.summary import is_engine, median_by_role, told_mb

_MAIN = (
    ("ttft_ms_p50", "TTFT p50\nms"),
    ("ttft_ms_p99", "p99\nms"),
    ("itl_ms_p50", "ITL p50\nms"),
    ("itl_ms_p99", "p99\nms"),
    ("total_ms_p50", "whole p50\nms"),
    ("tokens_per_s", "tokens\n/s"),
    ("requests_per_s", "requests\n/s"),
    ("good_share", "good\nshare"),
    ("error_share", "error\nshare"),
    ("serving_cpu_us_per_token", "serving CPU\nµs/token"),
    ("serving_above_idle_us_per_token", "above idle\nµs/token"),
)
# Name, title, and whether the difference is told instead of the ratio.
_COMPARED = (
    ("ttft_ms_p50", "added TTFT p50, ms", True),
    ("ttft_ms_p99", "added TTFT p99, ms", True),
    ("itl_ms_p50", "added ITL p50, ms", True),
    ("tokens_per_s", "tok/s ratio", False),
    ("total_ms_p50", "whole p50 ratio", False),
    ("serving_cpu_us_per_token", "serving CPU ratio", False),
)


# Processes that used less of a server's time share one line; the page has them all.
_NOTABLE_SHARE = 0.02
# Narrower, the numbers would be cut; a terminal folds the lines instead.
_NARROWEST = 150


def show(result: Result) -> None:
    """Print what was found."""
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, _NARROWEST))
    console.print(_latencies(result))
    if result.compared():
        console.print(_comparisons(result))
    if any(summary.cpu_s for cell in result.cells for summary in cell.rounds):
        console.print(_processes(result))
    _show_faults(result, console)


def _latencies(result: Result) -> Table:
    n_rounds = max((len(cell.rounds) for cell in result.cells), default=0)
    table = _table(f"Medians of {n_rounds} rounds")
    for title in ("target", "load", *(title for _, title in _MAIN)):
        table.add_column(title, no_wrap=True)
    for cell in result.cells:
        found = cell.estimates
        shown = [_shown(found.get(name)) for name, _ in _MAIN]
        table.add_row(cell.target, cell.level, *shown)
    return table


def _comparisons(result: Result) -> Table:
    table = _table(f"Against {result.baseline}, round by round (95 % interval)")
    for title in ("target", "load", *(title for _, title, _ in _COMPARED)):
        table.add_column(title)
    for each in result.compared():
        found = [
            _interval((each.differences if is_added else each.ratios).get(name))
            for name, _, is_added in _COMPARED
        ]
        table.add_row(each.target, each.level, *found)
    return table


def _processes(result: Result) -> Table:
    table = _table("Server processes, median round")
    for title in ("target", "load", "process", "CPU s", "µs/token", "PSS MB"):
        table.add_column(title, no_wrap=True)
    for cell in result.cells:
        spent = median_by_role([summary.cpu_s for summary in cell.rounds])
        n_tokens = median_by_role([{"": summary.output_tokens} for summary in cell.rounds])[""]
        memory = cell.rounds[-1].pss_mb
        least_s = _NOTABLE_SHARE * sum(spent.values())
        notable = {role: cpu_s for role, cpu_s in spent.items() if cpu_s >= least_s}
        for role, cpu_s in sorted(notable.items(), key=lambda each: -each[1]):
            name = f"{role} (engine)" if is_engine(role) else role
            mb = told_mb(memory.get(role, ()))
            numbers = (f"{cpu_s:.2f}", _per_token(cpu_s, n_tokens), mb)
            table.add_row(cell.target, cell.level, name, *numbers)
        if others := spent.keys() - notable.keys():
            rest_s = sum(spent[role] for role in others)
            rest_mb = sum(mb for role in others for mb in memory.get(role, ()))
            numbers = (f"{rest_s:.2f}", _per_token(rest_s, n_tokens), f"{rest_mb:.0f}")
            table.add_row(cell.target, cell.level, f"{len(others)} others", *numbers)
    return table


def _per_token(cpu_s: float, n_tokens: float) -> str:
    return f"{1e6 * cpu_s / n_tokens:.1f}" if n_tokens else "-"


def _show_faults(result: Result, console: Console) -> None:
    for cell in result.cells:
        errors: dict[str, int] = {}
        details: dict[str, str] = {}
        for summary in cell.rounds:
            details |= summary.details
            for kind, n in summary.errors.items():
                errors[kind] = errors.get(kind, 0) + n
        for kind, n in errors.items():
            told = f": {details[kind]}" if kind in details else ""
            line = f"{cell.target}, {cell.level}: {n} {kind}{told}"
            console.print(line, style="red", markup=False, soft_wrap=True)
        n_waits = sum(summary.n_refusals for summary in cell.rounds)
        n_resumes = sum(summary.n_resumes for summary in cell.rounds)
        if n_waits or n_resumes:
            console.print(
                f"{cell.target}, {cell.level}: {n_waits} refusals waited out, "
                f"{n_resumes} broken streams taken up again",
                soft_wrap=True,
            )
        lag_ms = max((summary.lag_ms for summary in cell.rounds), default=0.0)
        if lag_ms > 50:
            console.print(
                f"{cell.target}, {cell.level}: this client itself came up to {lag_ms:.0f} ms late",
                style="yellow",
                soft_wrap=True,
            )
    for name, why in result.unavailable.items():
        console.print(f"{name}: left out: {why}", style="yellow", markup=False, soft_wrap=True)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:,.0f}" if abs(estimate.value) >= 100 else f"{estimate.value:.3g}"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"
