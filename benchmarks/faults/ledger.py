"""What the service itself has kept: rows of responses, and what its generators work on."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from serve.config.settings import Settings
from serve.domain.journal import BEAT_PERIOD_S, Beat
from serve.embedded.stores import running_addresses
from serve.storage.redis.notices import RedisNotices
from serve.storage.redis.streams import RedisStreams

# Every generator has told of itself by then, twice.
_LISTEN_S = 3 * BEAT_PERIOD_S
_LOOKS = 10

# A response's metadata is kept as it was asked with.
_ROWS = """
SELECT request -> 'metadata' ->> 'stream' AS stream, status
FROM responses WHERE request -> 'metadata' ->> 'round' = $1
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Rows against questions.

    Attributes:
        lost: questions that were answered to the client's end, but have no row that says so.
        doubled: rows beyond the first of a question.
        unfinished: rows that nobody works on any more and nobody settled.
    """

    lost: int
    doubled: int
    unfinished: int


class Ledger:
    """Looks behind a service's API, on its own machine."""

    def __init__(self, settings: Settings) -> None:
        """``settings`` name the home of a running service, or its stores."""
        addresses = running_addresses(settings) or {}
        self._dsn = settings.postgres_dsn or addresses["postgres_dsn"]
        self._redis_url = settings.redis_url or addresses["redis_url"]

    async def account(self, round_id: str, asked: set[str]) -> Account:
        """Compare the rows of a round with the names of its streams."""
        connection = await asyncpg.connect(self._dsn)
        try:
            rows = await connection.fetch(_ROWS, round_id)
        finally:
            await connection.close()
        counts = Counter(row["stream"] for row in rows)
        open_ones = [row for row in rows if row["status"] in ("queued", "in_progress")]
        return Account(
            lost=len(asked - counts.keys()),
            doubled=sum(counts.values()) - len(counts),
            unfinished=len(open_ones),
        )

    async def abandoned(self) -> int:
        """Sequences that generators still work on after a while in which nobody asked."""
        async with await RedisStreams.connect(self._redis_url) as streams:
            running = await _running(streams.notices)
            for _ in range(_LOOKS):
                if running == 0:
                    break
                running = await _running(streams.notices)
            return running


async def _running(notices: RedisNotices) -> int:
    """Sequences in work by the last beat of every generator."""
    last: dict[str, Beat] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(_LISTEN_S):
            async for batch in notices.listen():
                for notice in batch:
                    if isinstance(notice, Beat) and notice.kind == "generator":
                        last[notice.process_id] = notice
    return sum(len(beat.response_ids) for beat in last.values())
