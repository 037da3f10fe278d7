"""``polymodal bench faults``: break parts of a service under load, and see who notices."""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.faults.ledger import Ledger
from benchmarks.faults.processes import ROLES, SIGNALS, Household
from benchmarks.faults.rounds import FaultRounds, Load, Outcome, Target
from benchmarks.faults.summary import Cell, figures, raw, table
from benchmarks.installation import Installation, started
from benchmarks.load.wire import allow_many_sockets
from benchmarks.report import keep
from serve.config.settings import load_settings, process_environment, settings_from_environment

_SOMETHING_LOST = 3
_WIDTH_IN_FILES = 150


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``faults``."""
    command = commands.add_parser("faults", help="break parts of a service under load")
    command.add_argument(
        "--start-own",
        action="store_true",
        help="start a service for it, instead of using that of POLYMODAL_HOME",
    )
    command.add_argument("--model", default="echo", help="what the streams ask")
    command.add_argument("--generators", type=int, default=2, help="replicas of an own service")
    command.add_argument("--ingresses", type=int, default=2, help="replicas of an own service")
    command.add_argument("--targets", type=_words(ROLES), default=list(ROLES), metavar="A,B,…")
    command.add_argument("--signals", type=_words(tuple(SIGNALS)), default=list(SIGNALS))
    command.add_argument("--rounds", type=int, default=1, help="of every target and signal")
    command.add_argument("--streams", type=int, default=100, help="under way at the same time")
    command.add_argument("--tokens", type=int, default=160, help="of every stream, at most")
    command.add_argument("--limit", type=float, default=120.0, help="seconds for one stream")
    command.add_argument("--name", default="faults", help="of the file in benchmarks/results")
    command.set_defaults(run=run_faults)


def run_faults(options: argparse.Namespace) -> int:
    """Measure, keep and show; 3 when anything was lost, doubled or abandoned."""
    allow_many_sockets()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_IN_FILES
    with _installation(options) as installation:
        cells: dict[Cell, list[Outcome]] = {
            cell: [] for cell in product(options.targets, options.signals)
        }
        try:
            asyncio.run(_measure(options, installation, console, cells))
        except KeyboardInterrupt:
            console.print("Interrupted: not all rounds were run")
        finally:
            # While the service still runs: stopping it may be what is interrupted next.
            told = {cell: figures(rounds) if rounds else None for cell, rounds in cells.items()}
            console.print(table(told))
            console.print(f"Kept in {keep(options.name, _result(options, cells, told))}")
    return 0 if all(_is_clean(each) for each in told.values() if each) else _SOMETHING_LOST


@contextmanager
def _installation(options: argparse.Namespace) -> Iterator[Installation]:
    if not options.start_own:
        settings = settings_from_environment()
        supervisor = int((settings.home / "lock").read_text(encoding="ascii"))
        variables = {**process_environment(), **settings.as_environment()}
        yield Installation(settings.public_url, settings.home, variables, supervisor)
        return
    # Whoever ends us means the service as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="polymodal-faults-") as folder:
        variables = {
            "POLYMODAL_GENERATORS": options.model,
            "POLYMODAL_GENERATOR_REPLICAS": str(options.generators),
            "POLYMODAL_INGRESS_REPLICAS": str(options.ingresses),
            "POLYMODAL_MODELS_DIR": str(settings_from_environment().models_dir),
            "POLYMODAL_RATE_LIMIT_PER_MINUTE": "1000000",
        }
        with started(Path(folder) / "home", variables) as installation:
            yield installation


async def _measure(
    options: argparse.Namespace,
    installation: Installation,
    console: Console,
    cells: dict[Cell, list[Outcome]],
) -> None:
    """Round by round over all cells, so that a drift of the machine's speed meets all of them."""
    key = await asyncio.to_thread(installation.new_key)
    target = Target(
        url=installation.url,
        api_key=key,
        household=Household(installation.supervisor),
        ledger=Ledger(load_settings(installation.environment)),
    )
    await target.count()
    load = Load(
        model=options.model,
        repeats_itself=options.model == "echo",
        n_streams=options.streams,
        n_tokens=options.tokens,
        limit_s=options.limit,
    )
    rounds = FaultRounds(target, load)
    await rounds.prepare()
    began_s = time.perf_counter()
    for number, (role, fault) in product(range(options.rounds), cells):
        outcome = await rounds.run(role, fault, number)
        passed = f"{time.perf_counter() - began_s:7.1f} s  {role} {fault} {number + 1}"
        if outcome is None:
            console.print(f"{passed}: none runs")
            continue
        cells[role, fault].append(outcome)
        console.print(f"{passed}: {_line(outcome)}", soft_wrap=True)


def _line(outcome: Outcome) -> str:
    replaced = "never" if outcome.replaced_s is None else f"{outcome.replaced_s:.1f} s"
    words = [
        f"exactly once {outcome.n_exact}/{len(outcome.gaps_s)}",
        f"gap {max(outcome.gaps_s):.2f} s",
        f"outage {outcome.outage_s:.2f} s",
        f"replaced {replaced}",
    ]
    if outcome.problems:
        words.append(str(outcome.problems))
    return ", ".join(words)


def _result(
    options: argparse.Namespace,
    cells: dict[Cell, list[Outcome]],
    told: dict[Cell, dict[str, Any] | None],
) -> dict[str, object]:
    return {
        "load": {
            "model": options.model,
            "n_streams": options.streams,
            "n_tokens": options.tokens,
            "generators": options.generators,
            "ingresses": options.ingresses,
        },
        "cells": [
            {
                "target": role,
                "signal": fault,
                "figures": told[role, fault],
                "rounds": [raw(outcome) for outcome in outcomes],
            }
            for (role, fault), outcomes in cells.items()
        ],
    }


def _is_clean(told: dict[str, Any]) -> bool:
    wrong = ("lost", "doubled", "unfinished", "abandoned_sequences")
    return told["n_exactly_once"] == told["n_streams"] and not any(told[each] for each in wrong)


def _words(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Of an option: words of a list, with commas between them."""

    def parse(text: str) -> list[str]:
        words = text.split(",")
        if unknown := set(words).difference(allowed):
            told = f"{', '.join(sorted(unknown))} is none of {', '.join(allowed)}"
            raise argparse.ArgumentTypeError(told)
        return words

    return parse
