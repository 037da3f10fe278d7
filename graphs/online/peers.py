"""Who else lives: the beats this process sends, and what it makes of those it hears."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

from serve.domain.errors import PolymodalError
from serve.domain.journal import (
    BEAT_PERIOD_S,
    SILENT_AFTER_S,
    Beat,
    CancelAsked,
    CredentialRevoked,
    Superseded,
)
from serve.domain.ports import Notices
from serve.observability.processes import process_stat

_log = logging.getLogger(__name__)

_RETRY_S = 0.2
# Far beyond what a busy machine may do to a process that lives.
_HUNG_AFTER_S = 8.0
# Forgotten after this: as long as anybody could still ask about it.
_MEMORY_S = 60.0

Load = Callable[[], Mapping[str, float]]


def is_gone(beat: Beat) -> bool:
    """Whether the process of this host that sent it is no more."""
    stat = process_stat(beat.pid)
    return stat is None or stat.is_gone or stat.started_ticks != beat.started_ticks


@dataclass(frozen=True, slots=True)
class Heard:
    """A beat and when it came, on our monotonic clock in seconds."""

    beat: Beat
    at_s: float


class Peers:
    """Beats on our behalf, and listens to all others.

    Silence means something only while our own beats come back: else it is us, or the store, that
    nobody hears. So nothing is given up before ``hears`` is true.
    """

    def __init__(
        self,
        notices: Notices,
        me: Beat,
        *,
        beat_period_s: float = BEAT_PERIOD_S,
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        """``me`` is repeated in every beat, with the figures of who reports some."""
        self.silent_after_s = silent_after_s
        self._beat_period_s = beat_period_s
        self._notices = notices
        self._me = me
        self._loads: list[Load] = []
        self._on_cancel: list[Callable[[str], None]] = []
        self._on_revoked: list[Callable[[str], None]] = []
        self._on_hung: list[Callable[[Beat], object]] = []
        self._heard: dict[str, Heard] = {}
        self._gone: set[str] = set()
        self._worked_on: dict[str, float] = {}
        self._hearing_since_s: float | None = None
        self._is_met = False

    @property
    def my_id(self) -> str:
        """The process id under which we beat."""
        return self._me.process_id

    @asynccontextmanager
    async def met(self) -> AsyncIterator[Self]:
        """Beat and listen inside the block."""
        async with asyncio.TaskGroup() as group:
            self._is_met = True
            tasks = [group.create_task(self._beat()), group.create_task(self._listen())]
            try:
                yield self
            finally:
                # A cancel alone may be lost in a driver that was giving up a connection anyway.
                self._is_met = False
                for task in tasks:
                    task.cancel()

    def report(self, load: Load) -> None:
        """Put these figures into every beat."""
        self._loads.append(load)

    def on_cancel(self, do: Callable[[str], None]) -> None:
        """Call ``do`` with the id of every response whose cancel is asked for, anywhere."""
        self._on_cancel.append(do)

    def on_revoked(self, do: Callable[[str], None]) -> None:
        """Call ``do`` with the id of every key, session or user whose credentials are revoked."""
        self._on_revoked.append(do)

    def on_hung(self, do: Callable[[Beat], object]) -> None:
        """Call ``do`` with the last beat of every process that is silent beyond all excuse."""
        self._on_hung.append(do)

    # --- what is known ------------------------------------------------------------------------

    @property
    def hears(self) -> bool:
        """Whether we have heard ourselves for long enough to believe in another's silence."""
        mine = self._heard.get(self.my_id)
        now = time.monotonic()
        return (
            mine is not None
            and now - mine.at_s < 2 * self._beat_period_s
            and self._hearing_since_s is not None
            and now - self._hearing_since_s > self.silent_after_s
        )

    def alive(self, kind: str) -> tuple[Beat, ...]:
        """The last beat of every process of this kind that is not silent."""
        now = time.monotonic()
        return tuple(
            heard.beat
            for heard in self._heard.values()
            if heard.beat.kind == kind
            and now - heard.at_s <= self.silent_after_s
            and heard.beat.process_id not in self._gone
        )

    def was_heard(self, process_id: str) -> bool:
        """Whether it ever beat, within our memory."""
        return process_id in self._heard

    def is_worked_on(self, response_id: str) -> bool:
        """Whether some generator said so lately."""
        at_s = self._worked_on.get(response_id)
        return at_s is not None and time.monotonic() - at_s <= self.silent_after_s

    def was_given_up(self, response_id: str, *, since_s: float) -> bool:
        """Whether a generator said so after ``since_s`` (monotonic), and none lately."""
        at_s = self._worked_on.get(response_id, since_s)
        return self.hears and at_s > since_s and not self.is_worked_on(response_id)

    # --- how it comes to be known ---------------------------------------------------------------

    async def _beat(self) -> None:
        while self._is_met:
            try:
                await self._notices.send(self._now())
            except PolymodalError as error:
                _log.warning("beat not sent", extra={"code": error.code})
            self._look()
            await asyncio.sleep(self._beat_period_s)

    async def _listen(self) -> None:
        while self._is_met:
            try:
                async with aclosing(self._notices.listen()) as batches:
                    async for batch in batches:
                        for notice in batch:
                            match notice:
                                case Beat():
                                    self._take(notice)
                                case CancelAsked(response_id):
                                    _tell(self._on_cancel, response_id)
                                case CredentialRevoked(revoked_id):
                                    _tell(self._on_revoked, revoked_id)
                                case Superseded():
                                    pass  # for generators
            except PolymodalError as error:
                _log.warning("notices unheard", extra={"code": error.code})
                await asyncio.sleep(_RETRY_S)

    def _take(self, beat: Beat) -> None:
        now = time.monotonic()
        if beat.process_id == self.my_id:
            mine = self._heard.get(self.my_id)
            if mine is None or now - mine.at_s > self.silent_after_s:
                self._hearing_since_s = now
        self._heard[beat.process_id] = Heard(beat, now)
        for response_id in beat.response_ids:
            self._worked_on[response_id] = now

    def _now(self) -> Beat:
        load = {name: figure for report in self._loads for name, figure in report().items()}
        return replace(self._me, load=load)

    def _look(self) -> None:
        """Find the dead on this machine at once, and who has been silent for too long."""
        now = time.monotonic()
        for process_id, heard in self._heard.items():
            if process_id in self._gone:
                continue
            if heard.beat.host == self._me.host and is_gone(heard.beat):
                self._gone.add(process_id)
            elif self.hears and now - heard.at_s > _HUNG_AFTER_S:
                self._gone.add(process_id)
                for do in self._on_hung:
                    do(heard.beat)
        self._forget_the_old()

    def _forget_the_old(self) -> None:
        oldest_s = time.monotonic() - _MEMORY_S
        for response_id in [r for r, at_s in self._worked_on.items() if at_s < oldest_s]:
            del self._worked_on[response_id]
        for process_id in [p for p, heard in self._heard.items() if heard.at_s < oldest_s]:
            del self._heard[process_id]
            self._gone.discard(process_id)


def _tell(listeners: list[Callable[[str], None]], what: str) -> None:
    for listener in listeners:
        listener(what)
