"""The responses that this process follows, and where in the journal their past lies."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from serve.domain.errors import StoreUnavailable
from serve.storage.codec import JsonArray, UnknownForm, apply_record_json
from serve.storage.redis.checkpoints import Checkpoint
from serve.storage.redis.live import LiveFold
from serve.storage.redis.tail import BEGINNING, Position, position_of

_log = logging.getLogger(__name__)


class Followed:
    """One response: its fold, and what came in while its past was still being read back."""

    __slots__ = (
        "_backlog",
        "_has_kept",
        "_is_changed",
        "_known",
        "is_whole",
        "live",
        "n_kept",
        "n_users",
    )

    def __init__(self, response_id: str, *, is_new: bool) -> None:
        """Unless the response ``is_new``, records wait until ``join`` is called.

        ``n_kept``: entries that a checkpoint holds already.
        """
        self.live = LiveFold(response_id)
        self.n_users = 0
        self.n_kept = 0
        self.is_whole = asyncio.Event()
        self._backlog: list[tuple[bytes, JsonArray]] | None = None if is_new else []
        self._known = BEGINNING
        self._has_kept = False
        self._is_changed = False
        if is_new:
            self.is_whole.set()

    @property
    def response_id(self) -> str:
        """The response's."""
        return self.live.fold.response_id

    def take(self, row_id: bytes, record: JsonArray) -> None:
        """The next record that was written about this response."""
        if self._backlog is not None:
            self._backlog.append((row_id, record))
        else:
            self.apply(record)

    def apply(self, record: JsonArray) -> None:
        """Fold it. One that cannot be read is left out, by all readers alike."""
        fold = self.live.fold
        had_gap = fold.has_gap
        try:
            if apply_record_json(fold, record) or fold.has_gap is not had_gap:
                self._is_changed = True
        except UnknownForm:
            _log.exception("damaged journal record", extra={"response_id": fold.response_id})

    def kept(self, n_entries: int, *, is_all_new: bool) -> None:
        """A checkpoint with that many entries is made.

        ``is_all_new``: the server knew no field of it. Then it has lost what this process wrote
        before, and the next checkpoint begins anew.
        """
        self.n_kept = 0 if self._has_kept and is_all_new else n_entries
        self._has_kept = not (self._has_kept and is_all_new)

    def begin_with(self, checkpoint: Checkpoint) -> None:
        """Fold what comes from there on."""
        self.live.fold = checkpoint.fold
        self.n_kept = checkpoint.fold.next_seq
        self._is_changed = checkpoint.position > BEGINNING

    def join(self, known: Position, reached: Position) -> None:
        """The past up to ``known`` is folded, and records up to ``reached`` were taken.

        Who made the checkpoint may have read further than this process has by now.
        """
        self._known = known
        self.is_whole.set()
        self.wake(reached)

    def wake(self, reached: Position) -> None:
        """All records up to ``reached`` were taken: tell those who wait, if anything changed."""
        if self._backlog is not None:
            if not self.is_whole.is_set():
                return
            for row_id, record in self._backlog:
                if position_of(row_id) > self._known:
                    self.apply(record)
            self._backlog = [] if reached < self._known else None
        if self._is_changed:
            self._is_changed = False
            self.live.wake()

    @property
    def is_level(self) -> bool:
        """Whether the fold is just what the records up to now amount to."""
        return self._backlog is None

    def fail(self, error: StoreUnavailable) -> None:
        """No more records will come."""
        self.is_whole.set()
        self.live.fail(error)


@dataclass(slots=True)
class _Watch:
    """``firsts``: the first row about each response after ``start``."""

    start: Position
    began_at: float
    firsts: dict[str, bytes] = field(default_factory=dict)


class Sightings:
    """Where the journal first speaks of a response, as far as this process watched.

    Kept for one to two times what the journal itself is kept for.
    """

    def __init__(self, start: Position, *, retention_s: float) -> None:
        """All rows after ``start`` will be seen."""
        self._retention_s = retention_s
        self._older: _Watch | None = None
        self._newer = _Watch(start, time.monotonic())

    def firsts(self, position: Position) -> dict[str, bytes]:
        """Where to note rows that come after ``position``: id of the first by response."""
        now_s = time.monotonic()
        if now_s - self._newer.began_at > self._retention_s:
            self._older, self._newer = self._newer, _Watch(position, now_s)
        return self._newer.firsts

    def add_past(self, firsts: dict[str, bytes]) -> None:
        """Everything that the journal still held from before ``start`` was seen, too."""
        watch = self._older or self._newer
        watch.start = BEGINNING
        watch.firsts = {**watch.firsts, **firsts}

    def unread_from(self, response_id: str, known: Position) -> Position | None:
        """From which row on to read a response that is known up to ``known``; None: nothing."""
        watch = self._older or self._newer
        covers_all = time.monotonic() - watch.began_at > self._retention_s
        if known < watch.start and not covers_all:
            return known
        row_id = watch.firsts.get(response_id) or self._newer.firsts.get(response_id)
        return None if row_id is None else max(known, position_of(row_id))
