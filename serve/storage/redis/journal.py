"""The journal of all responses in flight: one Redis stream that everybody appends to.

A row of the stream holds the records of one ``append``: those of one engine step, say. Nobody asks
before writing, and the server decides nothing but the order; see ``serve.domain.journal``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import chain

from redis.asyncio import Redis

from serve.domain.journal import JournalRecord, Wrote
from serve.domain.messages import LogEntry
from serve.domain.ports import LiveResponse
from serve.storage.codec import encode_records
from serve.storage.redis.appends import JOURNAL_KEY, MAX_ROW_BYTES, GroupedAppends
from serve.storage.redis.checkpoints import checkpoint_fields, checkpoint_key
from serve.storage.redis.connection import redis_errors
from serve.storage.redis.reading import JournalReader

# A checkpoint nobody drops is forgotten this long after it was last written.
_CHECKPOINT_TTL_S = 3600
# Trimming costs a round trip; rows a little too old cost nothing.
_TRIMS_PER_RETENTION = 10
# Writers trim too, but leave what a supervisor would need that comes only after a long outage.
_UNSUPERVISED_RETENTIONS = 10


class RedisJournal:
    """``Journal`` on Redis or Valkey.

    A response that has neither records nor a checkpoint is waited for: ask the database first.
    """

    def __init__(
        self, commands: Redis, reader: JournalReader, *, patience_s: float, retention_s: float
    ) -> None:
        """Rows are kept for ``retention_s`` by the server's clock."""
        self._commands = commands
        self._reader = reader
        self._appends = GroupedAppends(commands, patience_s=patience_s)
        self._retention_s = retention_s
        self._process_id = uuid.uuid4().hex
        self._trimmed_at = time.monotonic()

    async def append(self, records: Sequence[JournalRecord]) -> None:
        """See ``Journal``. Two appends are in order only when the first one has returned."""
        if not records:
            return
        last_id = await self._appends.append(encoded_rows(records))
        if self._is_time_to_trim():
            milliseconds, _, _ = last_id.partition(b"-")
            await self._trim(int(milliseconds), _UNSUPERVISED_RETENTIONS * self._retention_s)

    @asynccontextmanager
    async def open(self, response_id: str, *, is_new: bool = False) -> AsyncIterator[LiveResponse]:
        """See ``Journal``. Raises ``StoreUnavailable``."""
        async with self._reader.following(response_id, is_new=is_new) as response:
            yield response.live

    async def follow(
        self, response_id: str, *, from_seq: int = 0
    ) -> AsyncGenerator[Sequence[LogEntry], None]:
        """See ``Journal``. Raises ``StoreUnavailable``, also when the beginning was lost."""
        async with self._reader.following(response_id, is_new=False) as response:
            live, version, seq = response.live, 0, from_seq
            while True:
                version = await live.changed(version)
                batch = live.entries_from(seq)
                # Asked before the reader is given its turn, in which the end may come.
                is_all = live.fold.has_ended
                if batch:
                    seq += len(batch)
                    yield batch
                if is_all:
                    return

    async def checkpoint(self, response_ids: Iterable[str]) -> None:
        """See ``Journal``. Those not open in this process are left out."""
        position = self._reader.position
        written = []
        async with self._commands.pipeline(transaction=False) as pipe:
            for response_id in response_ids:
                response = self._reader.find(response_id)
                if response is None:
                    continue
                fold, key = response.live.fold, checkpoint_key(response_id)
                fields = checkpoint_fields(
                    fold, position, process_id=self._process_id, n_kept=response.n_kept
                )
                pipe.execute_command("HSET", key, *chain(*fields.items()))
                pipe.expire(key, _CHECKPOINT_TTL_S)
                written.append((response, fold.next_seq, len(fields)))
            with redis_errors():
                n_added: list[int] = (await pipe.execute())[::2]
        for (response, n_kept, n_fields), n_new in zip(written, n_added, strict=True):
            response.kept(n_kept, is_all_new=n_new == n_fields)
        if self._is_time_to_trim():
            await self._trim(position[0], self._retention_s)

    async def forget(self, response_id: str, after_s: int) -> None:
        """See ``Journal``. Short answers are over before they have a checkpoint."""
        if self._reader.has_checkpoint(response_id):
            with redis_errors():
                await self._commands.expire(checkpoint_key(response_id), after_s)

    async def ping(self) -> None:
        """See ``Journal``."""
        with redis_errors():
            await self._commands.ping()

    async def stop(self) -> None:
        """Append no more; what is under way may be carried out or not."""
        await self._appends.stop()

    def _is_time_to_trim(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._trimmed_at < self._retention_s / _TRIMS_PER_RETENTION:
            return False
        self._trimmed_at = now_s
        return True

    async def _trim(self, now_ms: int, keep_s: float) -> None:
        with redis_errors():
            await self._commands.xtrim(
                JOURNAL_KEY, minid=max(0, now_ms - int(1000 * keep_s)), approximate=True
            )


def encoded_rows(records: Sequence[JournalRecord]) -> list[bytes]:
    """The records as JSON, in as many pieces as keep each of them small."""
    encoded = encode_records(records)
    if len(encoded) <= MAX_ROW_BYTES:
        return [encoded]
    match records:
        case [Wrote(events=events) as only] if len(events) > 1:
            half = len(events) // 2
            first = only._replace(events=events[:half])
            rest = only._replace(events=events[half:], seq=only.seq + half)
            return encoded_rows([first]) + encoded_rows([rest])
        case [_]:
            return [encoded]
        case _:
            half = len(records) // 2
            return encoded_rows(records[:half]) + encoded_rows(records[half:])
