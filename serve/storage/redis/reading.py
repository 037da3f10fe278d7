"""How a process reads the journal: live from the tail, and back to where a response began."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
from redis.asyncio import Redis

from serve.domain.errors import StoreUnavailable
from serve.storage.codec import JsonArray
from serve.storage.redis.appends import JOURNAL_KEY
from serve.storage.redis.checkpoints import Checkpoint, checkpoint_key, read_checkpoint
from serve.storage.redis.connection import Rows, end_task, leave_unparsed, patiently
from serve.storage.redis.followed import Followed, Sightings
from serve.storage.redis.tail import BEGINNING, Position, StreamTail, id_of, position_of

_log = logging.getLogger(__name__)

_ROWS_PER_READ = 100


class JournalReader:
    """Keeps the folds of the responses that somebody in this process has open."""

    def __init__(
        self,
        commands: Redis,
        tail: StreamTail,
        group: asyncio.TaskGroup,
        *,
        patience_s: float,
        retention_s: float,
    ) -> None:
        """Takes part in what ``tail`` reads; reads the past in tasks of ``group``."""
        leave_unparsed(commands, "XRANGE")
        self._commands = commands
        self._tail = tail
        self._group = group
        self._patience_s = patience_s
        self._retention_s = retention_s
        self._responses: dict[str, Followed] = {}
        self._unread: list[Followed] = []
        self._reading_back: asyncio.Task[None] | None = None
        self._position = BEGINNING
        self._sightings = Sightings(self._position, retention_s=retention_s)
        tail.add(JOURNAL_KEY, self)

    @property
    def position(self) -> Position:
        """All rows up to this one are in the folds."""
        return self._position

    def find(self, response_id: str) -> Followed | None:
        """The response, if it is open here, with all records up to ``position`` folded."""
        response = self._responses.get(response_id)
        return response if response is not None and response.is_level else None

    def has_checkpoint(self, response_id: str) -> bool:
        """Whether there may be one, as far as who has the response open knows."""
        response = self._responses.get(response_id)
        return response is None or response.n_kept > 0

    @asynccontextmanager
    async def following(self, response_id: str, *, is_new: bool) -> AsyncIterator[Followed]:
        """Keep its fold up to date while inside. Raises ``StoreUnavailable``."""
        await self._tail.start()
        response = self._responses.get(response_id)
        if response is None:
            response = self._responses[response_id] = Followed(response_id, is_new=is_new)
            if not is_new:
                self._read_back_soon(response)
        response.n_users += 1
        try:
            await response.is_whole.wait()
            if response.live.error is not None:
                raise response.live.error
            yield response
        finally:
            response.n_users -= 1
            if not response.n_users:
                self._drop(response)

    # --- the tail's sink ----------------------------------------------------------------------

    def begin(self, position: Position) -> None:
        """See ``Sink``."""
        self._position = position
        self._sightings = Sightings(position, retention_s=self._retention_s)

    def deliver(self, rows: Rows) -> None:
        """See ``Sink``. What nobody here follows costs little more than its parsing."""
        see_first = self._sightings.firsts(self._position).setdefault
        find = self._responses.get
        changed: dict[str, Followed] = {}
        for row_id, fields in rows:
            for record in _parsed(fields[1]):
                response_id = record[1]
                see_first(response_id, row_id)
                response = find(response_id)
                if response is not None:
                    response.take(row_id, record)
                    changed[response_id] = response
        self._position = position_of(rows[-1][0])
        for response in changed.values():
            response.wake(self._position)

    def fail(self, error: StoreUnavailable) -> None:
        """See ``Sink``."""
        for response in list(self._responses.values()):
            self._drop(response)
            response.fail(error)

    # --- the past -----------------------------------------------------------------------------

    def _read_back_soon(self, response: Followed) -> None:
        self._unread.append(response)
        if self._reading_back is None or self._reading_back.done():
            # A task of ours: it serves many, and must outlive the one who asked first.
            self._reading_back = self._group.create_task(self._read_back())

    async def _read_back(self) -> None:
        while self._unread:
            batch, self._unread = self._unread, []
            try:
                await self._read_back_all(batch)
            except StoreUnavailable as error:
                for response in batch:
                    self._drop(response)
                    response.fail(error)

    async def _read_back_all(self, batch: Sequence[Followed]) -> None:
        """One pass over the journal for all of them, up to what the tail has seen by now."""
        end, sightings = self._position, self._sightings
        after: dict[str, Position] = {}
        starts = []
        for response, checkpoint in zip(batch, await self._checkpoints(batch), strict=True):
            response.begin_with(checkpoint)
            response_id, known = response.response_id, checkpoint.position
            after[response_id] = known
            if (unread := sightings.unread_from(response_id, known)) is not None:
                starts.append(unread)
        wanted = {response.response_id: response for response in batch}
        firsts: dict[str, bytes] = {}
        async for row_id, record in self._records(min(starts, default=None), end):
            response_id = record[1]
            firsts.setdefault(response_id, row_id)
            if response_id in wanted and position_of(row_id) > after[response_id]:
                wanted[response_id].apply(record)
        if BEGINNING in starts:
            # Once is enough: nobody need read as far back again.
            sightings.add_past(firsts)
        for response in batch:
            response.join(max(end, after[response.response_id]), self._position)

    async def _checkpoints(self, batch: Sequence[Followed]) -> list[Checkpoint]:
        async def attempt() -> list[dict[bytes, bytes]]:
            async with self._commands.pipeline(transaction=False) as pipe:
                for response in batch:
                    pipe.hgetall(checkpoint_key(response.response_id))
                hashes: list[dict[bytes, bytes]] = await pipe.execute()
                return hashes

        hashes = await patiently(attempt, self._patience_s)
        return [
            read_checkpoint(response.response_id, fields)
            for response, fields in zip(batch, hashes, strict=True)
        ]

    async def _records(
        self, start: Position | None, end: Position
    ) -> AsyncGenerator[tuple[bytes, JsonArray], None]:
        """Records of the rows from ``start`` to ``end``, both included; None: of none."""
        if start is None:
            return
        since = id_of(start)

        async def attempt() -> Rows:
            rows: Rows = await self._commands.execute_command(  # type: ignore[no-untyped-call]
                "XRANGE", JOURNAL_KEY, since, id_of(end), "COUNT", _ROWS_PER_READ
            )
            return rows

        n_read = _ROWS_PER_READ
        while n_read == _ROWS_PER_READ:
            rows = await patiently(attempt, self._patience_s)
            n_read = len(rows)
            for row_id, fields in rows:
                since = b"(" + row_id
                for record in _parsed(fields[1]):
                    yield row_id, record

    def _drop(self, response: Followed) -> None:
        if self._responses.get(response.response_id) is response:
            del self._responses[response.response_id]

    async def stop(self) -> None:
        """Read no more of the past."""
        if self._reading_back is not None:
            await end_task(self._reading_back)


def _parsed(payload: bytes) -> list[JsonArray]:
    """The records of one row; those that are none of ours are left out, by all readers alike."""
    try:
        return [record for record in orjson.loads(payload) if type(record[1]) is str]
    except (LookupError, TypeError, ValueError):
        _log.exception("damaged journal row")
        return []
