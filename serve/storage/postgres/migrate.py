"""Moves the schema forward and back: every ``NNNN_name.up.sql`` has a ``.down.sql`` beside it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import postgres_errors

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_log = logging.getLogger(__name__)


class MigrationRefused(Exception):
    """The database and the migration files contradict each other; nothing was changed."""


@dataclass(frozen=True, slots=True)
class _Migration:
    version: int
    name: str
    up: str
    down: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.up.encode()).hexdigest()


async def migrate(dsn: str, target: int | None = None, *, folder: Path = MIGRATIONS) -> int:
    """Bring the schema to version ``target`` (None: the newest, 0: empty) and return it.

    One transaction: the schema moves all the way or not at all. May run in several processes at
    once, and again when nothing is left to do.

    Raises:
        MigrationRefused: an applied migration was edited or is missing, or ``target`` is unknown.
        StoreUnavailable: the database does not answer.
    """
    known = _read(folder)
    goal = max(known, default=0) if target is None else target
    if goal not in (0, *known):
        raise MigrationRefused(f"there is no schema version {goal}")
    with postgres_errors():
        connection = await asyncpg.connect(dsn, timeout=10.0)
        try:
            async with connection.transaction():
                await _move(connection, known, goal)
        finally:
            await connection.close()
    return goal


def _read(folder: Path) -> dict[int, _Migration]:
    found = {}
    for path in sorted(folder.glob("*.up.sql")):
        name = path.name.removesuffix(".up.sql")
        version = int(name.partition("_")[0])
        if version in found:
            raise MigrationRefused(f"two migrations have the number {version}")
        found[version] = _Migration(
            version,
            name,
            path.read_text(encoding="utf-8"),
            path.with_name(f"{name}.down.sql").read_text(encoding="utf-8"),
        )
    return found


async def _move(
    connection: asyncpg.Connection[asyncpg.Record], known: dict[int, _Migration], goal: int
) -> None:
    queries = load_queries("migrations")
    await connection.execute(queries["take_turn"])
    await connection.execute(queries["create_history"])
    applied = set()
    for version, name, checksum in await connection.fetch(queries["history"]):
        if version not in known:
            raise MigrationRefused(
                f"the database has migration {name}, which this version of Polymodal has not"
            )
        if known[version].checksum != checksum:
            raise MigrationRefused(f"migration {name} was changed after it was applied")
        applied.add(version)
    for version in sorted(applied, reverse=True):
        if version > goal:
            await connection.execute(known[version].down)
            await connection.execute(queries["forget"], version)
            _log.info("migration undone", extra={"migration": known[version].name})
    for version in sorted(known.keys() - applied):
        if version <= goal:
            step = known[version]
            await connection.execute(step.up)
            await connection.execute(queries["record"], version, step.name, step.checksum)
            _log.info("migration applied", extra={"migration": step.name})
