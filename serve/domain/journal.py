"""What writers append about responses, and what all readers agree it means. Pure.

All responses share one totally ordered journal. Writers append without asking; readers fold the
records of a response in the journal's order, and the fold decides which of them count. So every
reader, in any process, at any time, sees the same entries with the same numbers, however writers
crash, retry, wake from the dead or write against each other:

- ``Wrote`` counts when it is of the current epoch and continues the numbering. A batch sent twice
  and the words of a generator that was given up count for nothing. An epoch has one writer at a
  time: whoever adopts a response and has to write begins the next epoch first.
- ``Restarted`` begins the next epoch: from here on, the generator of the last one is not heard.
- ``Adopted`` hands the response to another supervisor. The generator's epoch goes on.
- ``Ended`` is the last word, of the current supervisor only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from serve.domain.messages import (
    Failed,
    Finished,
    Generated,
    LogEntry,
    LogEvent,
    RoundStarted,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
)

FIRST_TERM = 1
FIRST_EPOCH = 1


class Wrote(NamedTuple):
    """Events of one response, numbered from ``seq`` on without a gap."""

    response_id: str
    epoch: int
    seq: int
    events: tuple[LogEvent, ...]


@dataclass(frozen=True, slots=True)
class Restarted:
    """The supervisor of ``term`` gave the generator up and begins ``epoch``."""

    response_id: str
    term: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """``supervisor``, a process id, takes the response over for ``term``."""

    response_id: str
    term: int
    supervisor: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The supervisor of ``term`` says how it ended; the event gets the next free number."""

    response_id: str
    term: int
    event: Finished | Failed


JournalRecord = Wrote | Restarted | Adopted | Ended


@dataclass(slots=True)
class ResponseFold:
    """One response as the journal has it so far.

    ``supervisor`` is empty until somebody adopted the response: the first one is in its row.
    ``has_gap``: the store lost records, or two wrote in one epoch, so that nothing of this epoch
    can count any more; whoever supervises the response restarts it.
    """

    response_id: str
    term: int = FIRST_TERM
    epoch: int = FIRST_EPOCH
    supervisor: str = ""
    entries: list[LogEntry] = field(default_factory=list)
    has_gap: bool = False
    has_ended: bool = False

    @property
    def next_seq(self) -> int:
        """Number of the next entry."""
        return len(self.entries)

    def apply(self, record: JournalRecord) -> bool:
        """Take the next record of this response. True if it counts."""
        if self.has_ended:
            return False
        match record:
            case Wrote(epoch=epoch, seq=seq, events=events):
                return self.wrote(epoch, seq, events)
            case Restarted(term=term, epoch=epoch):
                if term != self.term or epoch != self.epoch + 1:
                    return False
                self.epoch = epoch
                self.has_gap = False
            case Adopted(term=term, supervisor=supervisor):
                if term != self.term + 1:
                    return False
                self.term = term
                self.supervisor = supervisor
            case Ended(term=term, event=event):
                if term != self.term:
                    return False
                self._take((event,))
                self.has_ended = True
        return True

    def wrote(self, epoch: int, seq: int, events: Sequence[LogEvent]) -> bool:
        """Take a ``Wrote`` by its fields, as readers do for every token. True if it counts."""
        if self.has_ended or self.has_gap or epoch != self.epoch:
            return False
        if seq != len(self.entries):
            # Sent twice, or else something of its writer's is missing here and always will be.
            there = [entry.event for entry in self.entries[seq : seq + len(events)]]
            self.has_gap = there != list(events)
            return False
        self._take(events)
        return True

    def _take(self, events: Sequence[LogEvent]) -> None:
        for seq, event in enumerate(events, len(self.entries)):
            self.entries.append(LogEntry(seq, event))

    @property
    def generated(self) -> Generated | None:
        """The generator's last word in this epoch, if it is out."""
        last = self.entries[-1].event if self.entries else None
        return last if isinstance(last, Generated) else None

    def emitted_ids(self) -> tuple[int, ...]:
        """Tokens of this round up to its last safe boundary, which is its end."""
        return tuple(
            token
            for event in self._round()
            if isinstance(event, TextDelta | ToolArgumentsDelta)
            for token in event.token_ids
        )

    def emitted_calls(self) -> int:
        """Tool calls of this round so far."""
        return sum(isinstance(event, ToolCallStarted) for event in self._round())

    def _round(self) -> list[LogEvent]:
        """What was told since the model last began to write."""
        events: list[LogEvent] = []
        for entry in reversed(self.entries):
            if isinstance(entry.event, RoundStarted):
                break
            events.append(entry.event)
        return events[::-1]

    @property
    def has_output(self) -> bool:
        """Whether the client has been told anything of the answer itself."""
        return any(isinstance(entry.event, TextDelta | ToolCallStarted) for entry in self.entries)


# --- notices: what processes tell each other beside the journal --------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A process lives. Generators and ingresses send one every ``BEAT_PERIOD_S``.

    ``process_id`` names one life of a process; ``kind`` is "ingress" or "generator", ``model`` what
    a generator serves. ``host`` and ``pid`` let a peer on the same machine end it once it is
    silent. ``response_ids``: what a generator is working on. ``load``: its figures, for admission,
    scaling and routing; see ``serve.domain.admission``. ``address`` and ``password``: where a
    generator takes calls, and what lets one in; see ``serve.direct_calls``.
    """

    process_id: str
    kind: str
    host: str
    pid: int
    started_ticks: int
    model: str = ""
    response_ids: tuple[str, ...] = ()
    load: dict[str, float] = field(default_factory=dict)
    address: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Whoever supervises this response is to stop it."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """Nothing that a generator writes of this response before ``epoch`` counts: stop."""

    response_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class CredentialRevoked:
    """A key, a session, or all sessions of a user, not to be believed from memory any more."""

    id: str


Notice = Beat | CancelAsked | Superseded | CredentialRevoked

BEAT_PERIOD_S = 0.5
# A process that missed this many seconds of beats is given up; its work goes on elsewhere.
SILENT_AFTER_S = 2.5
