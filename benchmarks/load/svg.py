"""The two kinds of plots a report needs, as SVG text that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 620, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 16, 14, 40
N_COLOURS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """Where a line goes through; ``low`` and ``high`` bound its interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line. ``colour`` counts from 0."""

    name: str
    points: Sequence[Point]
    colour: int


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start_px: float
    end_px: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        if self.is_log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def ticks(self) -> list[float]:
        """Round values inside the range, four to nine of them."""
        if not self.is_log:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step)
            return [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        decades = math.log10(self.high / self.low)
        marks = (1, 1.5, 2, 3, 4, 5, 6, 8) if decades < 1 else (1, 2, 5) if decades < 3 else (1,)
        found = [mark * 10.0**power for power in powers for mark in marks]
        return [value for value in found if self.low <= value <= self.high]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)


def distribution(title: str, series: Sequence[Series], *, of: str) -> str:
    """Shares (0 to 100 %) ``of`` something under a time in ms, on a logarithmic axis."""
    values = [point.x for line in series for point in line.points if point.x > 0]
    if not values:
        return ""
    low, high = min(values), max(values)
    # At least a decade's third, so that a narrow distribution is not blown up to noise.
    middle = math.sqrt(low * high)
    low, high = min(low / 1.05, middle / 1.5), max(high * 1.05, middle * 1.5)
    x = _Scale(low, high, _LEFT, _WIDTH - _RIGHT, is_log=True)
    y = _Scale(0.0, 100.0, _HEIGHT - _BOTTOM, _TOP)
    body = _grid(x, y, "milliseconds", f"% of {of}", [(t, _number(t)) for t in x.ticks()])
    body += [_line(line, x, y, marks=False) for line in series]
    return _figure(title, body, series)


def trend(title: str, labels: Sequence[str], series: Sequence[Series], unit: str) -> str:
    """A number at each level; the points' ``x`` is the index of the label."""
    tops = [max(point.y, point.high or 0.0) for line in series for point in line.points]
    if not tops or max(tops) <= 0:
        return ""
    x = _Scale(-0.3, len(labels) - 0.7, _LEFT, _WIDTH - _RIGHT)
    y = _Scale(0.0, max(tops) * 1.08, _HEIGHT - _BOTTOM, _TOP)
    body = _grid(x, y, "", unit, [(float(n), label) for n, label in enumerate(labels)])
    body += [_line(line, x, y, marks=True) for line in series]
    return _figure(title, body, series)


def _grid(
    x: _Scale, y: _Scale, x_title: str, y_title: str, x_ticks: Sequence[tuple[float, str]]
) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for value in y.ticks():
        at = f"{y(value):.1f}"
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>'
        )
        parts.append(
            f'<text x="{_LEFT - 6}" y="{at}" dy="4" text-anchor="end">{_number(value)}</text>'
        )
    for value, label in x_ticks:
        at = f"{x(value):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(
            f'<text x="{at}" y="{bottom + 17}" text-anchor="middle">{escape(label)}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{x_title}</text>')
    parts.append(
        f'<text transform="translate(13 {bottom / 2 + 8}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_title)}</text>"
    )
    return parts


def _line(series: Series, x: _Scale, y: _Scale, *, marks: bool) -> str:
    colour = f"s{series.colour % N_COLOURS}"
    path = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in series.points)
    parts = [f'<polyline class="{colour}" points="{path}"><title>{escape(series.name)}</title>']
    parts.append("</polyline>")
    for point in series.points if marks else ():
        at = f"{x(point.x):.1f}"
        if point.low is not None and point.high is not None:
            parts.append(
                f'<line class="{colour}" x1="{at}" x2="{at}" y1="{y(point.low):.1f}" '
                f'y2="{y(point.high):.1f}"/>'
            )
        told = f"{escape(series.name)}: {_number(point.y)}"
        parts.append(
            f'<circle class="{colour}" cx="{at}" cy="{y(point.y):.1f}" r="4">'
            f"<title>{told}</title></circle>"
        )
    return "".join(parts)


def _figure(title: str, body: Sequence[str], series: Sequence[Series]) -> str:
    legend = "".join(
        f'<li><span class="key s{line.colour % N_COLOURS}"></span>{escape(line.name)}</li>'
        for line in series
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<ul class="legend">{legend if len(series) > 1 else ""}</ul>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg></figure>"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
