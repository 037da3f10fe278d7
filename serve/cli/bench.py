"""``polymodal bench``: the load tester, which lives beside the product."""

from __future__ import annotations

import argparse
import sys

from serve.config.settings import Settings


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``bench``. It reads its own words, so that it is imported only when it is used."""
    # No option starts with "+": all words, --help too, belong to the load tester.
    command = commands.add_parser(
        "bench", help="measure this server or any other", add_help=False, prefix_chars="+"
    )
    command.add_argument("words", nargs=argparse.REMAINDER)
    command.set_defaults(run=run_bench)


def run_bench(options: argparse.Namespace, _settings: Settings) -> int:
    """Hand over to the load tester."""
    try:
        from benchmarks.cli import main
    except ModuleNotFoundError as error:
        if error.name != "benchmarks":
            raise
        print(
            "error: the load tester is part of the source tree, not of the package", file=sys.stderr
        )
        return 1
    return main(options.words)
