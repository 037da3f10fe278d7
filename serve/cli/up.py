"""``polymodal up``: everything, on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from serve.cli.accounts import ensure_admin, opened_accounts, setup_link
from serve.cli.console import Console
from serve.config.settings import Settings
from serve.embedded.stores import reachable_postgres
from serve.embedded.supervisor import Supervisor
from serve.registry.catalog import catalog
from serve.registry.specs import Role
from serve.storage.postgres.migrate import migrate

_SERVE_CONFIG: Final = Path(__file__).resolve().parents[2] / "serve_config.yaml"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``up`` and ``migrate``."""
    command = commands.add_parser("up", help="start everything and keep it running until Ctrl-C")
    command.add_argument(
        "--config", type=Path, default=_SERVE_CONFIG, help="the file that `serve run` takes"
    )
    command.set_defaults(run=run_up)
    command = commands.add_parser("migrate", help="bring the database up to date")
    command.set_defaults(run=run_migrate)


def run_up(options: argparse.Namespace, settings: Settings) -> int:
    """Start, say where and how to sign in, keep running."""
    console = Console()
    Supervisor(settings, options.config.absolute(), console.step).run(
        prepare=prepare_command(settings),
        migrate=lambda complete: _migrate(complete.postgres_dsn),
        on_ready=lambda complete: asyncio.run(_greet(console, complete)),
    )
    console.step("Stopped")
    return 0


def run_migrate(_options: argparse.Namespace, settings: Settings) -> int:
    """Migrate the configured database, or the embedded one, started for the moment."""
    with reachable_postgres(settings) as dsn:
        _migrate(dsn)
    print("The database is up to date.")
    return 0


def prepare_command(settings: Settings) -> tuple[str, ...]:
    """What brings the models of these settings here.

    Raises:
        UnknownModel: A generator is not in the catalog.
    """
    models = catalog(settings.profile)
    chosen = (Role.GENERATOR, Role.SPEECH_GENERATOR)
    others = (spec.name for spec in models.defaults() if spec.role not in chosen)
    voices = models.chosen_or_all(Role.SPEECH_GENERATOR, settings.speech_generators)
    generators = (spec.name for spec in models.chosen(Role.GENERATOR, settings.generators))
    return (
        sys.executable,
        "-m",
        "deployments.prepare",
        f"--models-dir={settings.models_dir}",
        f"--profile={settings.profile}",
        *others,
        *(spec.name for spec in voices),
        *generators,
    )


def _migrate(dsn: str) -> None:
    asyncio.run(migrate(dsn))


async def _greet(console: Console, settings: Settings) -> None:
    console.important(f"Polymodal is at {settings.public_url}")
    async with opened_accounts(settings.postgres_dsn) as accounts:
        admin = await ensure_admin(accounts)
        if not await accounts.has_password(admin.id):
            link = await setup_link(accounts, admin, settings)
            console.important(f"Choose the admin's password, once: {link}")
