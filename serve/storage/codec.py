"""JSON forms of what stores keep: log entries, journal records, notices, perceptions, traces.

Values are tagged with the name of their type, so a reader knows a form it does not understand.
Numbers must be finite: JSON has no word for NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, assert_never

import orjson

from serve.domain.journal import (
    Adopted,
    Beat,
    CancelAsked,
    CredentialRevoked,
    Ended,
    JournalRecord,
    Notice,
    ResponseFold,
    Restarted,
    Superseded,
    Wrote,
)
from serve.domain.messages import (
    TERMINAL_EVENTS,
    AudioPerception,
    Box,
    DetectedObject,
    DocumentPage,
    DocumentPerception,
    Failed,
    Finished,
    FinishReason,
    Generated,
    ImagePerception,
    Label,
    LogEntry,
    LogEvent,
    Perception,
    Queued,
    RoundStarted,
    Shot,
    SoundEvent,
    SpokenWord,
    Stage,
    StageFinished,
    StageProgress,
    StageStarted,
    TextDelta,
    TextLine,
    ToolAnswered,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolPreviewed,
    TraceSpan,
    TranscriptSegment,
    Usage,
    VideoPerception,
)

JsonArray = list[Any]
"""A parsed JSON array, not yet looked into."""


class UnknownForm(ValueError):
    """Stored JSON that no version of ours wrote, or a newer one did."""


# --- log entries: [seq, type name, fields in order] -------------------------------------------


def log_to_json(entries: Iterable[LogEntry]) -> list[tuple[object, ...]]:
    """A whole log, for embedding into JSON that orjson writes."""
    return [
        (entry.seq, type(entry.event).__name__, *_event_fields(entry.event)) for entry in entries
    ]


def log_entry_from_json(parsed: JsonArray) -> LogEntry:
    """An entry whose JSON was parsed already. Raises ``UnknownForm``."""
    try:
        seq, tag, *fields = parsed
        return LogEntry(int(seq), _EVENT_READERS[tag](fields))
    except (KeyError, TypeError, ValueError) as exc:
        raise UnknownForm("a log entry is not of a known form") from exc


def _event_fields(event: LogEvent) -> tuple[object, ...]:  # noqa: C901 - one case per event
    match event:
        case TextDelta():
            return (event.text, event.token_ids)
        case ToolArgumentsDelta():
            return (event.index, event.arguments, event.token_ids)
        case ToolCallStarted():
            return (event.index, event.call_id, event.name)
        case StageStarted():
            return (event.stage, event.subject, event.at_unix_s)
        case StageProgress():
            return (event.stage, event.subject, event.done, event.note, event.at_unix_s)
        case StageFinished():
            return (event.stage, event.subject, event.at_unix_s, event.cache)
        case ToolAnswered():
            outcome = (event.asset_id, event.has_failed)
            return (event.call_id, event.output, event.at_unix_s, *outcome)
        case ToolPreviewed():
            return (event.call_id, event.index, event.webp_base64)
        case RoundStarted():
            return (event.number, event.at_unix_s)
        case Queued():
            return (event.place, event.eta_s, event.at_unix_s)
        case Generated():
            times = (event.queue_s, event.prefill_s, event.decode_s)
            return (event.reason, _usage_fields(event.usage), *times)
        case Finished():
            return (event.reason, _usage_fields(event.usage), event.at_unix_s)
        case Failed():
            return (event.code, event.message, event.at_unix_s)
        case _:
            assert_never(event)


def _usage_fields(usage: Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.cached_tokens, usage.output_tokens


def _text_delta(fields: JsonArray) -> TextDelta:
    text, token_ids = fields
    return TextDelta(text, tuple(token_ids))


def _tool_arguments_delta(fields: JsonArray) -> ToolArgumentsDelta:
    index, arguments, token_ids = fields
    return ToolArgumentsDelta(index, arguments, tuple(token_ids))


def _tool_call_started(fields: JsonArray) -> ToolCallStarted:
    index, call_id, name = fields
    return ToolCallStarted(index, call_id, name)


def _tool_answered(fields: JsonArray) -> ToolAnswered:
    call_id, output, at_unix_s, asset_id, has_failed = fields
    return ToolAnswered(call_id, output, float(at_unix_s), asset_id, bool(has_failed))


def _tool_previewed(fields: JsonArray) -> ToolPreviewed:
    call_id, index, webp_base64 = fields
    return ToolPreviewed(call_id, int(index), webp_base64)


def _round_started(fields: JsonArray) -> RoundStarted:
    number, at_unix_s = fields
    return RoundStarted(int(number), float(at_unix_s))


def _stage_started(fields: JsonArray) -> StageStarted:
    stage, subject, at_unix_s = fields
    return StageStarted(Stage(stage), subject, float(at_unix_s))


def _stage_progress(fields: JsonArray) -> StageProgress:
    stage, subject, done, note, at_unix_s = fields
    return StageProgress(Stage(stage), subject, float(done), note, float(at_unix_s))


def _stage_finished(fields: JsonArray) -> StageFinished:
    stage, subject, at_unix_s, cache = fields
    return StageFinished(Stage(stage), subject, float(at_unix_s), cache)


def _queued(fields: JsonArray) -> Queued:
    place, eta_s, at_unix_s = fields
    return Queued(int(place), float(eta_s), float(at_unix_s))


def _generated(fields: JsonArray) -> Generated:
    reason, usage, queue_s, prefill_s, decode_s = fields
    times = (float(queue_s), float(prefill_s), float(decode_s))
    return Generated(FinishReason(reason), _usage(usage), *times)


def _finished(fields: JsonArray) -> Finished:
    reason, usage, at_unix_s = fields
    return Finished(FinishReason(reason), _usage(usage), float(at_unix_s))


def _usage(fields: JsonArray) -> Usage:
    input_tokens, cached_tokens, output_tokens = fields
    return Usage(
        input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
    )


def _failed(fields: JsonArray) -> Failed:
    code, message, at_unix_s = fields
    return Failed(code, message, float(at_unix_s))


_EVENT_READERS: Final[dict[str, Callable[[JsonArray], LogEvent]]] = {
    "TextDelta": _text_delta,
    "ToolArgumentsDelta": _tool_arguments_delta,
    "ToolCallStarted": _tool_call_started,
    "ToolAnswered": _tool_answered,
    "ToolPreviewed": _tool_previewed,
    "RoundStarted": _round_started,
    "StageStarted": _stage_started,
    "StageProgress": _stage_progress,
    "StageFinished": _stage_finished,
    "Queued": _queued,
    "Generated": _generated,
    "Finished": _finished,
    "Failed": _failed,
}


# --- journal records: [letter, response id, fields in order] ----------------------------------
# One record per token is usual, so forms are short and flat: events stand without a number, text
# without the name of its type, and a single piece of text without brackets. Two elements are text:
# every other event has two fields or more besides its name.


def encode_records(records: Iterable[JournalRecord]) -> bytes:
    """Records as one JSON array."""
    return orjson.dumps([_record_fields(record) for record in records])


def events_to_json(events: Iterable[LogEvent]) -> list[tuple[object, ...]]:
    """Events that follow each other, for embedding into JSON that orjson writes."""
    return [
        (event.text, event.token_ids)
        if type(event) is TextDelta
        else (type(event).__name__, *_event_fields(event))
        for event in events
    ]


def events_from_json(parsed: JsonArray) -> list[LogEvent]:
    """Events whose JSON was parsed already. Raises ``UnknownForm``."""
    try:
        return [
            TextDelta(fields[0], tuple(fields[1]))
            if len(fields) == _N_TEXT_FIELDS
            else _EVENT_READERS[fields[0]](fields[1:])
            for fields in parsed
        ]
    except (LookupError, TypeError, ValueError) as exc:
        raise UnknownForm("an event is not of a known form") from exc


def apply_record_json(fold: ResponseFold, parsed: JsonArray) -> bool:
    """``fold.apply`` of a record whose JSON was parsed already. Raises ``UnknownForm``."""
    try:
        # The usual ones by far come first, and become events without a record in between.
        kind = parsed[0]
        if kind == "T":
            return fold.wrote(parsed[2], parsed[3], (TextDelta(parsed[4], tuple(parsed[5:])),))
        if kind == "W":
            _, _, epoch, seq, events = parsed
            return fold.wrote(epoch, seq, events_from_json(events))
        return fold.apply(_RECORD_READERS[kind](parsed[1:]))
    except (LookupError, TypeError, ValueError) as exc:
        raise UnknownForm("a journal record is not of a known form") from exc


def _restarted(fields: JsonArray) -> Restarted:
    response_id, term, epoch = fields
    return Restarted(response_id, int(term), int(epoch))


def _adopted(fields: JsonArray) -> Adopted:
    response_id, term, supervisor = fields
    return Adopted(response_id, int(term), supervisor)


def _ended(fields: JsonArray) -> Ended:
    response_id, term, event = fields
    [last] = events_from_json([event])
    if not isinstance(last, TERMINAL_EVENTS):
        raise UnknownForm("a response ends with an event that is no end")
    return Ended(response_id, int(term), last)


_RECORD_READERS: Final[dict[str, Callable[[JsonArray], JournalRecord]]] = {
    "R": _restarted,
    "A": _adopted,
    "E": _ended,
}


def _record_fields(record: JournalRecord) -> tuple[object, ...]:
    match record:
        case Wrote():
            return (
                "W",
                record.response_id,
                record.epoch,
                record.seq,
                events_to_json(record.events),
            )
        case Restarted():
            return ("R", record.response_id, record.term, record.epoch)
        case Adopted():
            return ("A", record.response_id, record.term, record.supervisor)
        case Ended():
            [event] = events_to_json([record.event])
            return ("E", record.response_id, record.term, event)
        case _:
            assert_never(record)


_N_TEXT_FIELDS: Final = 2


# --- notices: [type name, fields in order] ----------------------------------------------------


def encode_notice(notice: Notice) -> bytes:
    """A notice as a JSON array."""
    return orjson.dumps((type(notice).__name__, *_notice_fields(notice)))


def decode_notice(encoded: bytes) -> Notice:
    """What ``encode_notice`` was given. Raises ``UnknownForm``."""
    try:
        match orjson.loads(encoded):
            case ["Beat", process_id, kind, model, host, pid, ticks, response_ids, load, *way_in]:
                address, password = way_in or ("", "")
                return Beat(
                    process_id=process_id,
                    kind=kind,
                    model=model,
                    host=host,
                    pid=int(pid),
                    started_ticks=int(ticks),
                    response_ids=tuple(response_ids),
                    load={name: float(figure) for name, figure in load.items()},
                    address=address,
                    password=password,
                )
            case ["CancelAsked", str(response_id)]:
                return CancelAsked(response_id)
            case ["Superseded", str(response_id), int(epoch)]:
                return Superseded(response_id, epoch)
            case ["CredentialRevoked", str(revoked_id)]:
                return CredentialRevoked(revoked_id)
            case _:
                raise UnknownForm("a notice is not of a known form")
    except (AttributeError, TypeError, ValueError) as exc:
        raise UnknownForm("a notice is not of a known form") from exc


def _notice_fields(notice: Notice) -> tuple[object, ...]:
    match notice:
        case Beat():
            process = (notice.process_id, notice.kind, notice.model, notice.host, notice.pid)
            way_in = (notice.address, notice.password)
            return (*process, notice.started_ticks, notice.response_ids, notice.load, *way_in)
        case CancelAsked():
            return (notice.response_id,)
        case Superseded():
            return (notice.response_id, notice.epoch)
        case CredentialRevoked():
            return (notice.id,)
        case _:
            assert_never(notice)


# --- perceptions: {"type": name, "fields": …} -------------------------------------------------


def encode_perception(perception: Perception) -> bytes:
    """A perception as a JSON object; its vector keeps every bit."""
    return orjson.dumps({"type": type(perception).__name__, "fields": perception})


def decode_perception(encoded: bytes) -> Perception:
    """What ``encode_perception`` was given. Raises ``UnknownForm``."""
    try:
        parsed = orjson.loads(encoded)
        return _PERCEPTION_READERS[parsed["type"]](parsed["fields"])
    except (KeyError, TypeError, ValueError) as exc:
        raise UnknownForm("a perception is not of a known form") from exc


def _image_perception(fields: dict[str, Any]) -> ImagePerception:
    return ImagePerception(
        labels=_labels(fields["labels"]),
        objects=_objects(fields["objects"]),
        text_lines=_text_lines(fields["text_lines"]),
        description=fields["description"],
        vector=tuple(map(float, fields["vector"])),
        encode_s=float(fields["encode_s"]),
    )


def _audio_perception(fields: dict[str, Any]) -> AudioPerception:
    return AudioPerception(
        segments=tuple(
            TranscriptSegment(
                float(said["start_s"]),
                float(said["end_s"]),
                said["text"],
                tuple(
                    SpokenWord(float(word["start_s"]), float(word["end_s"]), word["text"])
                    for word in said["words"]
                ),
            )
            for said in fields["segments"]
        ),
        language=fields["language"],
        language_probability=float(fields["language_probability"]),
        sound_tags=_labels(fields["sound_tags"]),
        vector=tuple(map(float, fields["vector"])),
        duration_s=float(fields["duration_s"]),
        speech_s=float(fields["speech_s"]),
        encode_s=float(fields["encode_s"]),
        sound_events=tuple(
            SoundEvent(
                heard["name"],
                float(heard["start_s"]),
                float(heard["end_s"]),
                float(heard["score"]),
            )
            for heard in fields["sound_events"]
        ),
    )


def _video_perception(fields: dict[str, Any]) -> VideoPerception:
    sound = fields["sound"]
    return VideoPerception(
        shots=tuple(_shot(shot) for shot in fields["shots"]),
        sound=None if sound is None else _audio_perception(sound),
        vector=tuple(map(float, fields["vector"])),
        duration_s=float(fields["duration_s"]),
        encode_s=float(fields["encode_s"]),
    )


def _shot(fields: dict[str, Any]) -> Shot:
    return Shot(
        start_s=float(fields["start_s"]),
        end_s=float(fields["end_s"]),
        frame_s=float(fields["frame_s"]),
        description=fields["description"],
        labels=_labels(fields["labels"]),
        objects=_objects(fields["objects"]),
        text_lines=_text_lines(fields["text_lines"]),
        vector=tuple(map(float, fields["vector"])),
    )


def _document_perception(fields: dict[str, Any]) -> DocumentPerception:
    return DocumentPerception(
        pages=tuple(
            DocumentPage(
                number=int(page["number"]),
                text=page["text"],
                is_read_from_picture=bool(page["is_read_from_picture"]),
                description=page["description"],
                vector=tuple(map(float, page["vector"])),
            )
            for page in fields["pages"]
        ),
        title=fields["title"],
        vector=tuple(map(float, fields["vector"])),
        encode_s=float(fields["encode_s"]),
    )


def _objects(parsed: list[dict[str, Any]]) -> tuple[DetectedObject, ...]:
    return tuple(
        DetectedObject(found["name"], float(found["score"]), _box(found["box"])) for found in parsed
    )


def _text_lines(parsed: list[dict[str, Any]]) -> tuple[TextLine, ...]:
    return tuple(TextLine(line["text"], float(line["score"]), _box(line["box"])) for line in parsed)


def _labels(parsed: list[dict[str, Any]]) -> tuple[Label, ...]:
    return tuple(Label(label["name"], float(label["score"])) for label in parsed)


def _box(parsed: dict[str, Any]) -> Box:
    return Box(parsed["left_px"], parsed["top_px"], parsed["right_px"], parsed["bottom_px"])


_PERCEPTION_READERS: Final[dict[str, Callable[[dict[str, Any]], Perception]]] = {
    "ImagePerception": _image_perception,
    "AudioPerception": _audio_perception,
    "VideoPerception": _video_perception,
    "DocumentPerception": _document_perception,
}


# --- traces: [name, node, start_s, end_s, attributes] per span --------------------------------


def span_to_json(span: TraceSpan) -> JsonArray:
    """A span, for embedding into JSON that orjson writes."""
    return [span.name, span.node, span.start_s, span.end_s, span.attributes]


def span_from_json(parsed: JsonArray) -> TraceSpan:
    """What ``span_to_json`` was given. Raises ``UnknownForm``."""
    try:
        name, node, start_s, end_s, attributes = parsed
        return TraceSpan(
            name=name,
            node=node,
            start_s=float(start_s),
            end_s=float(end_s),
            attributes=dict(attributes),
        )
    except (TypeError, ValueError) as exc:
        raise UnknownForm("a trace span is not of a known form") from exc
