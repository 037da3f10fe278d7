"""Runs the supervisor on the small graph: ``python -m tests.integration.supervised CONFIG``."""

from __future__ import annotations

import sys
from pathlib import Path

from serve.config.settings import settings_from_environment
from serve.embedded.home import HomeInUse
from serve.embedded.supervisor import Supervisor


def report(text: str) -> None:
    print(text, flush=True)


def main(serve_config: str) -> None:
    try:
        Supervisor(settings_from_environment(), Path(serve_config), report).run(
            prepare=("/bin/echo", "models prepared"),
            migrate=lambda settings: report(f"migrating {bool(settings.postgres_dsn)}"),
            on_ready=lambda settings: report(f"READY {settings.port}"),
        )
    except HomeInUse as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main(*sys.argv[1:])
