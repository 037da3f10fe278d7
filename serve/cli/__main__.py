"""``polymodal``: start the service, look at it, set it up."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from serve.cli import accounts, bench, doctor, listings, train, up
from serve.config.settings import BadSetting, settings_from_environment
from serve.domain.errors import PolymodalError
from serve.embedded.home import HomeInUse
from serve.embedded.process import StartFailed
from serve.storage.postgres.migrate import MigrationRefused


def parser() -> argparse.ArgumentParser:
    """Every command with its options. A command's function is in ``run``."""
    root = argparse.ArgumentParser(
        prog="polymodal", description="Self-hosted multimodal model serving."
    )
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    up.add_commands(commands)
    accounts.add_commands(commands)
    listings.add_commands(commands)
    doctor.add_commands(commands)
    bench.add_commands(commands)
    train.add_commands(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. What went wrong is one line, not a trace."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        code: int = options.run(options, settings_from_environment())
    except (BadSetting, HomeInUse, StartFailed, MigrationRefused, PolymodalError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader, `head` say, has seen enough. Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
