"""A result as one page that needs nothing beside itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from benchmarks.load.results import Cell, Result
from benchmarks.load.statistics import Estimate
from benchmarks.load.summary import is_engine, median_by_role, told_mb
from benchmarks.load.svg import Point, Series, distribution, trend

_TABLE = (
    ("ttft_ms_p50", "TTFT p50, ms"),
    ("ttft_ms_p90", "p90"),
    ("ttft_ms_p99", "p99"),
    ("itl_ms_p50", "ITL p50, ms"),
    ("itl_ms_p99", "p99"),
    ("total_ms_p50", "whole p50, ms"),
    ("total_ms_p99", "p99"),
    ("queued_ms_p50", "queued p50, ms"),
    ("tokens_per_s", "tokens/s"),
    ("requests_per_s", "requests/s"),
    ("good_share", "good share"),
    ("good_per_s", "good/s"),
    ("error_share", "error share"),
    ("cpu_us_per_token", "CPU µs/token"),
    ("serving_cpu_us_per_token", "without engine"),
    ("serving_above_idle_us_per_token", "above idle"),
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --soft: #5c6570; --paper: #fbfbfa;
  --card: #ffffff; --rule: #e2e4e8; --c0: #2f6fde; --c1: #d9731a; --c2: #15906b; --c3: #a13fb5;
  --c4: #c22f4b; --c5: #7a6a12; --c6: #0f8aa3; --c7: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ec; --soft: #9aa3ad; --paper: #15181c;
  --card: #1c2025; --rule: #343a42; --c0: #6ea2ff; --c1: #f2a25c; --c2: #4cc79d; --c3: #d287e2;
  --c4: #f27d93; --c5: #cdbb55; --c6: #5cc3da; --c7: #a3abb5; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1320px; margin: 0 auto; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
p, dl { color: var(--soft); margin: 0 0 8px; } code { font-size: 13px; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
  gap: 16px; }
figure { margin: 0; padding: 14px 16px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; }
figcaption { font-weight: 600; } svg { width: 100%; height: auto; display: block; }
svg text { font-size: 12px; fill: var(--soft); } .grid { stroke: var(--rule); stroke-width: 1; }
polyline { fill: none; stroke-width: 2; } svg line:not(.grid) { stroke-width: 2; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 14px; padding: 0;
  margin: 2px 0; color: var(--soft); font-size: 13px; min-height: 20px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; vertical-align: top;
  border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; } tr:last-child td { border-bottom: 0; }
td.name, th.name { text-align: left; } small { color: var(--soft); display: block; }
td.bar { min-width: 160px; text-align: left; } td.bar span { display: block; height: 12px;
  border-radius: 3px; background: var(--c0); } td.bar span.engine { background: var(--c7); }
.faults li { color: var(--c4); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; } dd { margin: 0; }
"""


def write_report(result: Result, path: Path) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(result))


def page(result: Result) -> str:
    """HTML with its style and plots inside."""
    colours = "".join(
        f"polyline.s{n}, svg line.s{n} {{ stroke: var(--c{n}); }} "
        f"circle.s{n} {{ fill: var(--c{n}); }} .key.s{n} {{ background: var(--c{n}); }}\n"
        for n in range(8)
    )
    title = " against ".join(escape(name) for name in result.targets)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test: {title}</title><style>{_STYLE}{colours}</style></head><body>"
        f"<h1>{title}</h1><p>{escape(result.measured_at)}, commit {escape(result.commit)}, "
        f"{escape(_machine(result))}</p><p><code>{escape(result.command)}</code></p>"
        f"{_faults(result)}"
        f'<h2>Plots</h2><div class="plots">{"".join(_plots(result))}</div>'
        f"<h2>Medians over rounds, 95 % intervals</h2>{_numbers(result)}"
        f"{_comparisons(result)}{_processes(result)}{_circumstances(result)}</body></html>\n"
    )


def _machine(result: Result) -> str:
    told = result.machine
    load = told.get("load_1_min")
    at_load = f", load {load:.1f}" if isinstance(load, float) else ""
    return f"{told.get('n_cores')} cores {told.get('processor')}{at_load}"


def _plots(result: Result) -> Iterable[str]:
    for span, title, of in (
        ("ttft_ms", "Time to first token", "requests"),
        ("itl_ms", "Inter-token latency", "gaps"),
        ("total_ms", "Whole answer", "requests"),
    ):
        for label, cells in _groups(result):
            series = [
                Series(name, _distributed(cell, span), colour)
                for colour, (name, cell) in enumerate(cells)
            ]
            drawn = [line for line in series if line.points]
            yield distribution(f"{title}{label}", drawn, of=of)
    levels = _levels(result)
    if len(levels) < 2:
        return
    for name, title, unit in (
        ("tokens_per_s", "Throughput", "tokens/s"),
        ("ttft_ms_p50", "Time to first token, p50", "ms"),
        ("serving_cpu_us_per_token", "Server CPU without engine", "µs per token"),
        ("good_per_s", "Goodput", "good requests/s"),
    ):
        yield trend(title, levels, _trends(result, name, levels), unit)


def _groups(result: Result) -> list[tuple[str, list[tuple[str, Cell]]]]:
    """Lines that belong into one plot: targets of a level, or the levels of a lone target."""
    names = {cell.target for cell in result.cells}
    if len(names) == 1:
        return [("", [(cell.level, cell) for cell in result.cells])]
    return [
        (f", {level}", [(cell.target, cell) for cell in result.cells if cell.level == level])
        for level in _levels(result)
    ]


def _levels(result: Result) -> list[str]:
    return list(dict.fromkeys(cell.level for cell in result.cells))


def _distributed(cell: Cell, span: str) -> list[Point]:
    found = [quantiles for summary in cell.rounds if (quantiles := getattr(summary, span))]
    if not found:
        return []
    medians = np.median(np.asarray(found), axis=0).tolist()
    return [Point(value, float(share)) for share, value in enumerate(medians)]


def _trends(result: Result, name: str, levels: Sequence[str]) -> list[Series]:
    series = []
    for colour, target in enumerate(dict.fromkeys(cell.target for cell in result.cells)):
        points = [
            Point(float(levels.index(cell.level)), found.value, found.low, found.high)
            for cell in result.cells
            if cell.target == target and (found := cell.estimates.get(name)) is not None
        ]
        if points:
            series.append(Series(target, points, colour))
    return series


def _numbers(result: Result) -> str:
    shown = [
        (name, title)
        for name, title in _TABLE
        if any(name in cell.estimates for cell in result.cells)
    ]
    rows = [
        [cell.target, cell.level, *(_cell(cell.estimates.get(name)) for name, _ in shown)]
        for cell in result.cells
    ]
    return _table(["target", "load", *(title for _, title in shown)], rows, n_names=2)


def _comparisons(result: Result) -> str:
    compared = result.compared()
    if not compared:
        return ""
    shown = [(name, title) for name, title in _TABLE if any(name in c.ratios for c in compared)]
    titles = ["target", "load", *(title.partition(",")[0] for _, title in shown)]
    tables = []
    for word, by_level in (
        ("Ratios", [each.ratios for each in compared]),
        ("Differences", [each.differences for each in compared]),
    ):
        rows = [
            [each.target, each.level, *(_cell(found.get(name)) for name, _ in shown)]
            for each, found in zip(compared, by_level, strict=True)
        ]
        tables.append(
            f"<h2>{word} to {escape(result.baseline)}, round by round</h2>"
            f"{_table(titles, rows, n_names=2)}"
        )
    return "".join(tables)


def _processes(result: Result) -> str:
    rows = []
    for cell in result.cells:
        spent = median_by_role([summary.cpu_s for summary in cell.rounds])
        n_tokens = float(np.median([summary.output_tokens for summary in cell.rounds]))
        most_s = max(spent.values(), default=0.0)
        memory = cell.rounds[-1].pss_mb
        for role, cpu_s in sorted(spent.items(), key=lambda each: -each[1]):
            kind = ' class="engine"' if is_engine(role) else ""
            width = 100 * cpu_s / most_s if most_s else 0
            bar = f'<span{kind} style="width:{width:.1f}%" title="{cpu_s:.2f} s"></span>'
            per_token = f"{1e6 * cpu_s / n_tokens:.1f}" if n_tokens else "-"
            mb = told_mb(memory.get(role, ()))
            names = [escape(cell.target), escape(cell.level), escape(role)]
            rows.append([*names, f"{cpu_s:.2f}", per_token, bar, mb or "-"])
    if not rows:
        return ""
    titles = ["target", "load", "process", "CPU s", "µs/token", "", "PSS, MB each"]
    return (
        "<h2>Server processes, median round</h2><p>Grey: makes tokens, does not deliver them.</p>"
        f"{_table(titles, rows, n_names=3, bar=5, is_markup=True)}"
    )


def _faults(result: Result) -> str:
    lines = [
        f"{cell.target}, {cell.level}, round {number}: {n} {kind} {summary.details.get(kind, '')}"
        for cell in result.cells
        for number, summary in enumerate(cell.rounds, 1)
        for kind, n in summary.errors.items()
    ]
    lines += [f"{name} left out: {why}" for name, why in result.unavailable.items()]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h2>Errors</h2><ul class="faults">{items}</ul>' if lines else ""


def _circumstances(result: Result) -> str:
    told = {
        "workload": json.dumps(result.workload),
        "goal": json.dumps(result.goal),
        "targets": json.dumps(result.targets),
        "versions": json.dumps(result.versions),
        "machine": json.dumps(result.machine),
    }
    items = "".join(
        f"<dt>{name}</dt><dd><code>{escape(value)}</code></dd>" for name, value in told.items()
    )
    return f"<h2>Circumstances</h2><dl>{items}</dl>"


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return _short(estimate.value)
    return f"{_short(estimate.value)}|{_short(estimate.low)} to {_short(estimate.high)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    n_names: int,
    bar: int = -1,
    is_markup: bool = False,
) -> str:
    def attribute(column: int) -> str:
        if column < n_names:
            return ' class="name"'
        return ' class="bar"' if column == bar else ""

    def content(text: str) -> str:
        if is_markup:
            return text
        value, _, interval = text.partition("|")
        return escape(value) + (f"<small>{escape(interval)}</small>" if interval else "")

    head = "".join(f"<th{attribute(n)}>{escape(title)}</th>" for n, title in enumerate(titles))
    body = "".join(
        "<tr>"
        + "".join(f"<td{attribute(n)}>{content(c)}</td>" for n, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
