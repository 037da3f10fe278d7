"""A response's fold that many in one process look at."""

from __future__ import annotations

import asyncio

from serve.domain.errors import StoreUnavailable
from serve.domain.journal import ResponseFold
from serve.domain.messages import LogEntry


class LiveFold:
    """``LiveResponse`` of one process. Whoever feeds it calls ``wake`` after some records."""

    __slots__ = ("_waiters", "error", "fold", "version")

    def __init__(self, response_id: str) -> None:
        self.fold = ResponseFold(response_id)
        self.version = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.error: StoreUnavailable | None = None

    async def changed(self, version: int) -> int:
        """See ``LiveResponse``."""
        while self.version <= version:
            if self.error is not None:
                raise self.error
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(woken)
            await woken
        return self.version

    def entries_from(self, seq: int) -> list[LogEntry]:
        """What there is from ``seq`` on. A slow follower is not buffered for: it gets more.

        Raises ``StoreUnavailable`` when the beginning of the response is lost.
        """
        fold = self.fold
        if fold.has_gap and fold.next_seq == int(fold.has_ended):
            raise StoreUnavailable(
                "part of this response's event log was lost; read the response instead",
                response_id=fold.response_id,
            )
        return fold.entries[seq:]

    def wake(self) -> None:
        """Tell everybody who waits that the fold has changed."""
        self.version += 1
        if self._waiters:
            self._resume()

    def fail(self, error: StoreUnavailable) -> None:
        """No more records will come: whoever waits, now or later, gets ``error``."""
        self.error = error
        self._resume()

    def _resume(self) -> None:
        waiters, self._waiters = self._waiters, []
        for woken in waiters:
            if not woken.done():
                woken.set_result(None)
