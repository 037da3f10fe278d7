"""A generator replica tells that it lives, what it works on and how loaded it is."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from serve.direct_calls.server import CallServer
from serve.domain.errors import PolymodalError
from serve.domain.journal import BEAT_PERIOD_S, Beat, Superseded
from serve.domain.ports import Notices
from serve.observability.processes import this_process

_log = logging.getLogger(__name__)

_KIND: Final = "generator"
_SMOOTHING_S: Final = 5.0


class Rate:
    """Tokens per second while there was work, smoothed over some seconds; 0 before any."""

    def __init__(self) -> None:
        self._at_s = time.monotonic()
        self._n_tokens = 0
        self._per_s = 0.0

    def of(self, n_tokens: int, *, is_busy: bool) -> float:
        """``n_tokens``: all since the start. Idle time says nothing about the engine."""
        now = time.monotonic()
        elapsed_s, n_new = now - self._at_s, n_tokens - self._n_tokens
        if elapsed_s >= BEAT_PERIOD_S / 2:
            self._at_s, self._n_tokens = now, n_tokens
            if is_busy and n_new:
                share = 1.0 if self._per_s == 0.0 else 1.0 - math.exp(-elapsed_s / _SMOOTHING_S)
                self._per_s += share * (n_new / elapsed_s - self._per_s)
        return self._per_s


class Pulse:
    """What a replica says and hears beside its calls, while it ``lives``."""

    def __init__(
        self,
        open_notices: Callable[[], Notices],
        *,
        model: str,
        working_on: Callable[[], Iterable[str]],
        load: Callable[[], dict[str, float]],
        stop: Callable[[str, int], Awaitable[None]],
        calls: CallServer,
    ) -> None:
        """``working_on``: ids of the responses in work. ``calls`` are taken while it lives.

        ``stop`` gets a response id and the first epoch that counts. Whoever called for a response
        may be dead, and who adopted it has no call to cancel: so the replica listens itself for
        the work that nobody wants any more.
        """
        self._notices = open_notices()
        self._stop = stop
        self._me = this_process(_KIND, model=model)
        self._working_on = working_on
        self._load = load
        self._calls = calls

    async def live(self) -> None:
        """Beat every ``BEAT_PERIOD_S``, listen and take calls, until cancelled."""
        async with self._calls.listening(), asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._listen())

    async def _beat(self) -> None:
        while True:
            try:
                await self._notices.send(self._now())
            except PolymodalError as error:
                # Not repeated: the next one is due soon.
                _log.warning("beat not sent", extra={"code": error.code})
            await asyncio.sleep(BEAT_PERIOD_S)

    async def _listen(self) -> None:
        while True:
            try:
                async with aclosing(self._notices.listen()) as batches:
                    async for batch in batches:
                        for notice in batch:
                            if isinstance(notice, Superseded):
                                await self._stop(notice.response_id, notice.epoch)
            except PolymodalError as error:
                _log.warning("notices unheard", extra={"code": error.code})
                await asyncio.sleep(BEAT_PERIOD_S)
            except Exception:  # noqa: BLE001 - one bad notice must not end the beats beside
                _log.exception("notices unheard")
                await asyncio.sleep(BEAT_PERIOD_S)

    def _now(self) -> Beat:
        return replace(
            self._me,
            response_ids=tuple(self._working_on()),
            load=self._load(),
            address=self._calls.address,
            password=self._calls.password,
        )
