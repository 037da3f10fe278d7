"""Connections to Redis or Valkey, and where their exceptions end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import hiredis
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from serve.domain.errors import StoreUnavailable

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
    client: Redis = Redis.from_url(
        url,
        # A rediss:// URL overrides this with its own TLS connection.
        connection_class=_FastConnection,
        protocol=2,
        socket_connect_timeout=5.0,
        socket_timeout=answer_timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
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
