"""What supervisors keep of a response, so that late readers need not go far back.

A checkpoint is a hash. A field ``seq+count`` holds that many entries; what stands at a place of a
response never changes, so processes that write against each other only repeat each other. A field
``=process`` holds what one process had folded of the journal, and up to which row.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import orjson

from serve.domain.journal import ResponseFold
from serve.domain.messages import LogEntry, LogEvent
from serve.storage.codec import events_from_json, events_to_json
from serve.storage.redis.tail import BEGINNING, Position

_log = logging.getLogger(__name__)

_PREFIX = "pm:log:"
_STATE = b"="


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A fold with all rows of the journal up to and including ``position``."""

    fold: ResponseFold
    position: Position


def checkpoint_key(response_id: str) -> str:
    """Where the hash lies."""
    return _PREFIX + response_id


def checkpoint_fields(
    fold: ResponseFold, position: Position, *, process_id: str, n_kept: int
) -> dict[bytes, bytes]:
    """What to add to the hash; ``n_kept`` entries are there already."""
    fields = {}
    if fold.next_seq > n_kept:
        events = [entry.event for entry in fold.entries[n_kept:]]
        fields[b"%d+%d" % (n_kept, len(events))] = orjson.dumps(events_to_json(events))
    fields[_STATE + process_id.encode()] = orjson.dumps(
        (
            position,
            fold.next_seq,
            fold.term,
            fold.epoch,
            fold.supervisor,
            fold.has_gap,
            fold.has_ended,
        )
    )
    return fields


def read_checkpoint(response_id: str, fields: dict[bytes, bytes]) -> Checkpoint:
    """The furthest state whose entries are all there; the empty fold when there is none.

    A damaged checkpoint is none: the journal itself may still reach back far enough.
    """
    best = Checkpoint(ResponseFold(response_id), BEGINNING)
    try:
        events = _events(fields)
        for name, encoded in fields.items():
            if name.startswith(_STATE):
                known = _state(response_id, encoded, events)
                if known is not None and known.position > best.position:
                    best = known
    except (TypeError, ValueError):
        _log.exception("damaged checkpoint", extra={"response_id": response_id})
    return best


def _state(response_id: str, encoded: bytes, events: list[LogEvent]) -> Checkpoint | None:
    position, n_entries, term, epoch, supervisor, has_gap, has_ended = orjson.loads(encoded)
    if n_entries > len(events):
        return None
    fold = ResponseFold(
        response_id,
        term=term,
        epoch=epoch,
        supervisor=supervisor,
        entries=[LogEntry(seq, event) for seq, event in enumerate(events[:n_entries])],
        has_gap=has_gap,
        has_ended=has_ended,
    )
    milliseconds, number = position
    return Checkpoint(fold, (int(milliseconds), int(number)))


def _events(fields: dict[bytes, bytes]) -> list[LogEvent]:
    """The events from the beginning on as far as there is no gap."""
    pieces = []
    for name, encoded in fields.items():
        if not name.startswith(_STATE):
            place, _, _ = name.partition(b"+")
            pieces.append((int(place), encoded))
    events: list[LogEvent] = []
    for first, encoded in sorted(pieces):
        if first > len(events):
            break
        events += events_from_json(orjson.loads(encoded))[len(events) - first :]
    return events
