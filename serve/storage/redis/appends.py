"""Appends that several ask for at once, made together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from redis.asyncio import Redis

from serve.domain.errors import StoreUnavailable
from serve.storage.redis.connection import end_task, patiently

JOURNAL_KEY = "pm:journal"
_FIELD = b"r"
# Keeps one answer of the server, and the pause it costs a reader, small.
MAX_ROW_BYTES = 256 * 1024


class GroupedAppends:
    """Appends to the journal, one round trip after the other.

    What is asked for meanwhile goes with the next one: two hundred answers that end in one step
    cost one row and one connection, not two hundred of each.
    """

    def __init__(self, commands: Redis, *, patience_s: float) -> None:
        self._commands = commands
        self._patience_s = patience_s
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[bytes]]] = []
        self._appending: asyncio.Task[None] | None = None

    async def append(self, rows: Sequence[bytes]) -> bytes:
        """Append JSON arrays of records; returns the id of a row that came last.

        Who is cancelled while waiting may have appended all the same. Raises ``StoreUnavailable``.
        """
        loop = asyncio.get_running_loop()
        appended: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append((rows, appended))
        if self._appending is None or self._appending.done():
            # A task of its own: it serves many, and must outlive the one who asked first.
            self._appending = loop.create_task(self._append_all())
        return await appended

    async def stop(self) -> None:
        """Append no more."""
        if self._appending is not None:
            await end_task(self._appending)

    async def _append_all(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            waiting = [appended for _, appended in asked]
            try:
                last_id = await self._append(joined(row for rows, _ in asked for row in rows))
            except asyncio.CancelledError:
                closing = StoreUnavailable("this process is closing; try again elsewhere")
                _fail([*waiting, *(appended for _, appended in self._waiting)], closing)
                raise
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                _fail(waiting, error)
            else:
                for appended in waiting:
                    if not appended.done():
                        appended.set_result(last_id)

    async def _append(self, rows: Sequence[bytes]) -> bytes:
        if len(rows) == 1:

            async def attempt() -> bytes:
                row_id: bytes = await self._commands.execute_command(  # type: ignore[no-untyped-call]
                    "XADD", JOURNAL_KEY, "*", _FIELD, rows[0]
                )
                return row_id
        else:

            async def attempt() -> bytes:
                async with self._commands.pipeline(transaction=False) as pipe:
                    for row in rows:
                        pipe.execute_command("XADD", JOURNAL_KEY, "*", _FIELD, row)
                    row_ids: list[bytes] = await pipe.execute()
                    return row_ids[-1]

        return await patiently(attempt, self._patience_s)


def _fail(waiting: Iterable[asyncio.Future[bytes]], error: Exception) -> None:
    for appended in waiting:
        if not appended.done():
            appended.set_exception(error)


def joined(rows: Iterable[bytes]) -> list[bytes]:
    """JSON arrays as fewer ones, in order, none of them too large."""
    few: list[bytes] = []
    group: list[bytes] = []
    n_bytes = 0
    for row in rows:
        if group and n_bytes + len(row) > MAX_ROW_BYTES:
            few.append(_as_one(group))
            group, n_bytes = [], 0
        group.append(row)
        n_bytes += len(row)
    if group:
        few.append(_as_one(group))
    return few


def _as_one(arrays: Sequence[bytes]) -> bytes:
    if len(arrays) == 1:
        return arrays[0]
    return b"[" + b",".join(array[1:-1] for array in arrays) + b"]"
