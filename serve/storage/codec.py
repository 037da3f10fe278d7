"""JSON forms of what stores keep as a whole: log entries, perceptions, traces.

Values are tagged with the name of their type, so a reader knows a form it does not understand.
Numbers must be finite: JSON has no word for NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, assert_never

import orjson

from serve.domain.messages import (
    AudioPerception,
    Box,
    DetectedObject,
    Failed,
    Finished,
    FinishReason,
    ImagePerception,
    Label,
    LogEntry,
    LogEvent,
    Perception,
    Stage,
    StageFinished,
    StageStarted,
    TextDelta,
    TextLine,
    ToolArgumentsDelta,
    ToolCallStarted,
    TraceSpan,
    TranscriptSegment,
    Usage,
)

JsonArray = list[Any]
"""A parsed JSON array, not yet looked into."""


class UnknownForm(ValueError):
    """Stored JSON that no version of ours wrote, or a newer one did."""


# --- log entries: [seq, type name, fields in order] -------------------------------------------


def encode_log_entry(entry: LogEntry) -> bytes:
    """One entry as a compact JSON array."""
    return orjson.dumps((entry.seq, type(entry.event).__name__, *_event_fields(entry.event)))


def decode_log_entry(encoded: bytes) -> LogEntry:
    """What ``encode_log_entry`` was given. Raises ``UnknownForm``."""
    try:
        parsed = orjson.loads(encoded)
    except orjson.JSONDecodeError as exc:
        raise UnknownForm("a log entry is not JSON") from exc
    return log_entry_from_json(parsed)


def log_to_json(entries: Sequence[LogEntry]) -> orjson.Fragment:
    """A whole log, for embedding into JSON that orjson writes."""
    return orjson.Fragment(b"[" + b",".join(map(encode_log_entry, entries)) + b"]")


def log_entry_from_json(parsed: JsonArray) -> LogEntry:
    """An entry whose JSON was parsed already. Raises ``UnknownForm``."""
    try:
        seq, tag, *fields = parsed
        return LogEntry(int(seq), _EVENT_READERS[tag](fields))
    except (KeyError, TypeError, ValueError) as exc:
        raise UnknownForm("a log entry is not of a known form") from exc


def _event_fields(event: LogEvent) -> tuple[object, ...]:
    match event:
        case TextDelta():
            return (event.text, event.token_ids)
        case ToolArgumentsDelta():
            return (event.index, event.arguments, event.token_ids)
        case ToolCallStarted():
            return (event.index, event.call_id, event.name)
        case StageStarted():
            return (event.stage, event.subject, event.at_unix_s)
        case StageFinished():
            return (event.stage, event.subject, event.at_unix_s, event.cache)
        case Finished():
            usage = event.usage
            return (
                event.reason,
                (usage.input_tokens, usage.cached_tokens, usage.output_tokens),
                event.at_unix_s,
            )
        case Failed():
            return (event.code, event.message, event.at_unix_s)
        case _:
            assert_never(event)


def _text_delta(fields: JsonArray) -> TextDelta:
    text, token_ids = fields
    return TextDelta(text, tuple(token_ids))


def _tool_arguments_delta(fields: JsonArray) -> ToolArgumentsDelta:
    index, arguments, token_ids = fields
    return ToolArgumentsDelta(index, arguments, tuple(token_ids))


def _tool_call_started(fields: JsonArray) -> ToolCallStarted:
    index, call_id, name = fields
    return ToolCallStarted(index, call_id, name)


def _stage_started(fields: JsonArray) -> StageStarted:
    stage, subject, at_unix_s = fields
    return StageStarted(Stage(stage), subject, float(at_unix_s))


def _stage_finished(fields: JsonArray) -> StageFinished:
    stage, subject, at_unix_s, cache = fields
    return StageFinished(Stage(stage), subject, float(at_unix_s), cache)


def _finished(fields: JsonArray) -> Finished:
    reason, (input_tokens, cached_tokens, output_tokens), at_unix_s = fields
    usage = Usage(
        input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
    )
    return Finished(FinishReason(reason), usage, float(at_unix_s))


def _failed(fields: JsonArray) -> Failed:
    code, message, at_unix_s = fields
    return Failed(code, message, float(at_unix_s))


_EVENT_READERS: Final[dict[str, Callable[[JsonArray], LogEvent]]] = {
    "TextDelta": _text_delta,
    "ToolArgumentsDelta": _tool_arguments_delta,
    "ToolCallStarted": _tool_call_started,
    "StageStarted": _stage_started,
    "StageFinished": _stage_finished,
    "Finished": _finished,
    "Failed": _failed,
}


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
        objects=tuple(
            DetectedObject(found["name"], float(found["score"]), _box(found["box"]))
            for found in fields["objects"]
        ),
        text_lines=tuple(
            TextLine(line["text"], float(line["score"]), _box(line["box"]))
            for line in fields["text_lines"]
        ),
        description=fields["description"],
        vector=tuple(map(float, fields["vector"])),
        encode_s=float(fields["encode_s"]),
    )


def _audio_perception(fields: dict[str, Any]) -> AudioPerception:
    return AudioPerception(
        segments=tuple(
            TranscriptSegment(float(said["start_s"]), float(said["end_s"]), said["text"])
            for said in fields["segments"]
        ),
        language=fields["language"],
        language_probability=float(fields["language_probability"]),
        sound_tags=_labels(fields["sound_tags"]),
        vector=tuple(map(float, fields["vector"])),
        duration_s=float(fields["duration_s"]),
        speech_s=float(fields["speech_s"]),
        encode_s=float(fields["encode_s"]),
    )


def _labels(parsed: list[dict[str, Any]]) -> tuple[Label, ...]:
    return tuple(Label(label["name"], float(label["score"])) for label in parsed)


def _box(parsed: dict[str, Any]) -> Box:
    return Box(parsed["left_px"], parsed["top_px"], parsed["right_px"], parsed["bottom_px"])


_PERCEPTION_READERS: Final[dict[str, Callable[[dict[str, Any]], Perception]]] = {
    "ImagePerception": _image_perception,
    "AudioPerception": _audio_perception,
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
