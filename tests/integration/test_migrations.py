from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from serve.domain.errors import StoreUnavailable
from serve.storage.postgres.migrate import MIGRATIONS, MigrationRefused, migrate
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Database, open_database

Connection = asyncpg.Connection
NEWEST = max(int(path.name[:4]) for path in MIGRATIONS.glob("*.up.sql"))


@pytest.fixture
async def connection(empty_postgres_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(empty_postgres_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


async def schema(connection: Connection) -> list[tuple[object, ...]]:
    """Every column, constraint and index but those of the history."""
    rows = await connection.fetch(
        """
        SELECT table_name::text AS owner, column_name::text AS name,
               concat(data_type, is_nullable, column_default) AS what
          FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL
        SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT tablename::text, indexname::text, indexdef
          FROM pg_indexes WHERE schemaname = 'public'
        ORDER BY 1, 2, 3
        """
    )
    return [tuple(row) for row in rows if row["owner"] != "schema_migrations"]


async def test_the_schema_goes_up_down_and_up_again(
    empty_postgres_dsn: str, connection: Connection
) -> None:
    assert await migrate(empty_postgres_dsn) == NEWEST
    first = await schema(connection)
    assert {"users", "responses", "items"} <= {owner for owner, *_ in first}
    assert await migrate(empty_postgres_dsn, 0) == 0
    assert await schema(connection) == []
    assert await migrate(empty_postgres_dsn) == NEWEST
    assert await schema(connection) == first


async def test_migrating_again_changes_nothing(
    empty_postgres_dsn: str, connection: Connection
) -> None:
    await migrate(empty_postgres_dsn)
    history = await connection.fetch("SELECT * FROM schema_migrations")
    await migrate(empty_postgres_dsn)
    assert await connection.fetch("SELECT * FROM schema_migrations") == history


async def test_processes_that_start_together_migrate_once(
    empty_postgres_dsn: str, connection: Connection
) -> None:
    assert set(await asyncio.gather(*(migrate(empty_postgres_dsn) for _ in range(4)))) == {NEWEST}
    assert await connection.fetchval("SELECT count(*) FROM schema_migrations") == NEWEST


async def test_an_edited_migration_is_refused(empty_postgres_dsn: str, folder: Path) -> None:
    await migrate(empty_postgres_dsn, folder=folder)
    edited = folder / "0001_first_tables.up.sql"
    edited.write_text(edited.read_text() + "-- changed my mind\n")
    with pytest.raises(MigrationRefused, match="0001_first_tables was changed"):
        await migrate(empty_postgres_dsn, folder=folder)


async def test_a_database_from_a_newer_version_is_refused(
    empty_postgres_dsn: str, folder: Path
) -> None:
    (folder / "9999_future.up.sql").write_text("CREATE TABLE future ();")
    (folder / "9999_future.down.sql").write_text("DROP TABLE future;")
    assert await migrate(empty_postgres_dsn, folder=folder) == 9999
    with pytest.raises(MigrationRefused, match="9999_future"):
        await migrate(empty_postgres_dsn)
    assert await migrate(empty_postgres_dsn, NEWEST, folder=folder) == NEWEST
    assert await migrate(empty_postgres_dsn) == NEWEST


async def test_a_migration_that_fails_leaves_nothing(
    empty_postgres_dsn: str, connection: Connection, folder: Path
) -> None:
    (folder / "9999_broken.up.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")
    (folder / "9999_broken.down.sql").write_text("DROP TABLE half;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_postgres_dsn, folder=folder)
    assert await schema(connection) == []


async def test_unknown_targets_and_twice_used_numbers_are_refused(
    empty_postgres_dsn: str, folder: Path
) -> None:
    with pytest.raises(MigrationRefused, match="no schema version 77"):
        await migrate(empty_postgres_dsn, 77)
    (folder / "0001_second.up.sql").write_text("")
    (folder / "0001_second.down.sql").write_text("")
    with pytest.raises(MigrationRefused, match="two migrations have the number 1"):
        await migrate(empty_postgres_dsn, folder=folder)


# --- the pool ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic", ["accounts", "assets", "conversations", "idempotency", "responses", "pool"]
)
async def test_every_named_query_fits_the_schema(migrated_dsn: str, topic: str) -> None:
    connection = await asyncpg.connect(migrated_dsn)
    try:
        for name, sql in load_queries(topic).items():
            assert sql, name
            await connection.prepare(sql)
    finally:
        await connection.close()


async def test_a_live_database_answers_a_ping(database: Database) -> None:
    await database.ping()


async def test_nobody_listening_means_unavailable() -> None:
    nowhere = "postgresql://nobody:nothing@127.0.0.1:1/none"
    async with open_database(nowhere) as database:
        with pytest.raises(StoreUnavailable):
            await database.ping()
    with pytest.raises(StoreUnavailable):
        await migrate(nowhere)


async def test_a_wrong_password_or_database_means_unavailable(postgres_dsn: str) -> None:
    server, _, _ = postgres_dsn.rpartition("/")
    _, _, address = server.rpartition("@")
    for dsn in (f"{server}/absent", f"postgresql://polymodal:wrong@{address}/polymodal"):
        async with open_database(dsn) as database:
            with pytest.raises(StoreUnavailable):
                await database.ping()


async def test_a_lost_connection_is_replaced(migrated_dsn: str) -> None:
    async with open_database(migrated_dsn, max_connections=1) as database:
        with pytest.raises(StoreUnavailable):
            await database.row("SELECT pg_terminate_backend(pg_backend_pid())")
        await database.ping()


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    insert = "INSERT INTO users (id, email, name, is_admin) VALUES ('u', 'e', 'n', false)"

    async def interrupted() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert)
            raise LookupError

    with pytest.raises(LookupError):
        await interrupted()
    assert await database.rows("SELECT id FROM users") == []


async def test_a_cancelled_transaction_frees_its_connection(migrated_dsn: str) -> None:
    async with open_database(migrated_dsn, max_connections=1) as database:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), database.transaction() as connection:
                await connection.execute("SELECT pg_sleep(10)")
        await database.ping()
