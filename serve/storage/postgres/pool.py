"""Connections to PostgreSQL, the JSON they speak, and where asyncpg's exceptions end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from serve.domain.errors import StoreUnavailable
from serve.storage.postgres.named_queries import load_queries

Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_CONNECT_TIMEOUT_S: Final = 10.0
_STATEMENT_TIMEOUT_S: Final = 15.0
# A client that vanished inside a transaction would hold a conversation's lock for ever.
_IDLE_TRANSACTION_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 5.0

_UNAVAILABLE: Final = (
    OSError,  # includes TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # the connection or the pool was closed under us
    asyncpg.InternalClientError,
    asyncpg.exceptions.OperatorInterventionError,  # shutting down, starting, statement timeout
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,  # deadlock: the other one went on
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
)

# PostgreSQL's text holds no NUL. In JSON it is this escape, unless the backslash is one itself.
_NUL_ESCAPE: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_JSONB_VERSION: Final = b"\x01"


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Turn what says "not now" into ``StoreUnavailable``; what remains is a bug of ours."""
    try:
        yield
    except _UNAVAILABLE as exc:
        raise StoreUnavailable(
            "the database does not answer; try again", reason=type(exc).__name__
        ) from exc


class Database:
    """A pool of connections. Each method is one statement in a transaction of its own."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def rows(self, sql: str, *arguments: object) -> list[Row]:
        """Every row of the result."""
        async with self._connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def row(self, sql: str, *arguments: object) -> Row | None:
        """The first row of the result."""
        async with self._connection() as connection:
            return await connection.fetchrow(sql, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Several statements: all of them, or, when the block raises, none."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[AsyncGenerator[str, None]]:
        """Payloads notified on ``channel`` since the block began; ends with the connection.

        Holds a connection of the pool inside the block.
        """
        heard: asyncio.Queue[str | None] = asyncio.Queue()

        def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            heard.put_nowait(str(payload))

        def end(_connection: object) -> None:
            heard.put_nowait(None)

        async def payloads() -> AsyncGenerator[str, None]:
            while (payload := await heard.get()) is not None:
                yield payload

        async with self._connection() as connection:
            connection.add_termination_listener(end)
            await connection.add_listener(channel, hear)
            try:
                yield payloads()
            finally:
                if not connection.is_closed():
                    connection.remove_termination_listener(end)
                    await connection.remove_listener(channel, hear)

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` unless it answers."""
        await self.row(load_queries("pool")["ping"])

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with postgres_errors():
            async with self._pool.acquire(timeout=_CONNECT_TIMEOUT_S) as connection:
                yield connection


@asynccontextmanager
async def open_database(dsn: str, *, max_connections: int = 10) -> AsyncIterator[Database]:
    """A pool that connects on first use and is closed afterwards."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=max_connections,
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=_STATEMENT_TIMEOUT_S,
        init=_prepare_connection,
        reset=_keep_session,
        server_settings={
            "application_name": "polymodal",
            "timezone": "UTC",
            "statement_timeout": f"{_STATEMENT_TIMEOUT_S:.0f}s",
            "idle_in_transaction_session_timeout": f"{_IDLE_TRANSACTION_TIMEOUT_S:.0f}s",
        },
    )
    with postgres_errors():
        await pool
    try:
        yield Database(pool)
    finally:
        await _close(pool)


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _prepare_connection(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=_encode_jsonb,
        decoder=_decode_jsonb,
        format="binary",
    )
    await connection.set_type_codec(
        "text", schema="pg_catalog", encoder=_storable, decoder=_as_it_is, format="text"
    )


async def _keep_session(_connection: Any) -> None:
    """We never change a session's state, so nothing is worth a round trip to undo."""


def _encode_jsonb(value: object) -> bytes:
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        # Half of a surrogate pair, or an integer beyond 64 bits: json.loads lets both in.
        encoded = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    if b"\\u0000" in encoded:
        encoded = _NUL_ESCAPE.sub(rb"\1\\ufffd", encoded)
    return _JSONB_VERSION + encoded


def _decode_jsonb(stored: bytes) -> object:
    return orjson.loads(stored[len(_JSONB_VERSION) :])


def _storable(text: str) -> str:
    """``text`` with what UTF-8 or PostgreSQL cannot hold replaced, as _encode_jsonb does it."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _as_it_is(text: str) -> str:
    return text
