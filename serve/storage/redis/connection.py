"""Connections to Redis or Valkey, and where their exceptions end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from serve.domain.errors import StoreUnavailable

T = TypeVar("T")

# Whoever finds all of them in use waits: the plain pool would refuse, or open hundreds at once.
_MAX_CONNECTIONS = 16
_FIRST_BACKOFF_S = 0.02
_LAST_BACKOFF_S = 0.2

Rows = list[tuple[bytes, list[bytes]]]
"""Entries of a stream, unparsed: id, then field, value, field, value…"""


class _FastConnection(Connection):
    """Packs commands in C: redis-py's asyncio half does it argument by argument in Python."""

    def pack_command(
        self, *args: bytes | bytearray | memoryview[int] | str | int | float
    ) -> list[bytes]:
        name, *rest = args
        # Names such as SCRIPT LOAD are two words on the wire.
        words = name.encode().split() if isinstance(name, str) else [name]
        return [hiredis.pack_command((*words, *rest))]


def connect(url: str, *, answer_timeout_s: float = 5.0) -> Redis:
    """A client that connects on first use and answers in bytes.

    It never retries by itself: whether a lost command may be sent again depends on the command.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        # A rediss:// URL overrides this with its own TLS connection.
        connection_class=_FastConnection,
        max_connections=_MAX_CONNECTIONS,
        timeout=answer_timeout_s,
        protocol=2,
        socket_connect_timeout=5.0,
        socket_timeout=answer_timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
    client: Redis = Redis.from_pool(pool)
    return client


def leave_unparsed(client: Redis, command: str) -> None:
    """Have ``command`` answer as the server does; redis-py would make a dict of every entry."""

    def unparsed(response: object, **_options: object) -> object:
        return response

    client.set_response_callback(command, unparsed)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what redis-py raises into ``StoreUnavailable``."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as exc:
        raise StoreUnavailable(
            "the stream store does not answer; try again", reason=type(exc).__name__
        ) from exc


async def patiently(attempt: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """The outcome of ``attempt``, made again and again while the server is away.

    An attempt whose answer got lost may have been carried out: only for what may happen twice.
    Raises ``StoreUnavailable`` after ``patience_s``, and at once for what no waiting would mend.
    """
    give_up_at = time.monotonic() + patience_s
    pauses = backoff()
    while True:
        try:
            with redis_errors():
                return await attempt()
        except StoreUnavailable as error:
            if not is_away(error.__cause__) or time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(next(pauses))


def is_away(error: BaseException | None) -> bool:
    """Whether this means that the server could not be reached, or not in time."""
    return isinstance(error, (RedisConnectionError, RedisTimeoutError, OSError))


def backoff() -> Iterator[float]:
    """Seconds to wait before each new attempt. Short: a restarted server is noticed at once."""
    pause_s = _FIRST_BACKOFF_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, _LAST_BACKOFF_S)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel it and see it end."""
    while not task.done():
        # Again and again: after a reconnect, redis-py was seen to swallow a cancellation.
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
