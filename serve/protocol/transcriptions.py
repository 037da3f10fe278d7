"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``.

Sources: https://platform.openai.com/docs/api-reference/audio/createTranscription and
https://platform.openai.com/docs/api-reference/audio/createTranslation
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Literal

from serve.domain.messages import AudioPerception
from serve.domain.records import JsonObject

Granularity = Literal["segment", "word"]


class TranscriptionFormat(StrEnum):
    """What the client wants back."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    VERBOSE_JSON = "verbose_json"


def render_transcription(heard: AudioPerception) -> JsonObject:
    """The ``json`` form."""
    return {"text": heard.transcript, "usage": _usage(heard)}


def render_verbose_transcription(
    heard: AudioPerception, granularities: Collection[Granularity]
) -> JsonObject:
    """The ``verbose_json`` form: with language, duration and what is timed."""
    body: JsonObject = {
        "task": "transcribe",
        "text": heard.transcript,
        "language": heard.language,
        "duration": heard.duration_s,
        "usage": _usage(heard),
    }
    if "segment" in granularities:
        body["segments"] = _segments(heard)
    if "word" in granularities:
        body["words"] = [
            {"word": word.text, "start": word.start_s, "end": word.end_s}
            for segment in heard.segments
            for word in segment.words
        ]
    return body


def render_verbose_translation(heard: AudioPerception) -> JsonObject:
    """The ``verbose_json`` form of a translation, whose language is always the same."""
    return {
        "task": "translate",
        "text": heard.transcript,
        "language": "english",
        "duration": heard.duration_s,
        "segments": _segments(heard),
    }


def render_delta(text: str, *, is_first: bool) -> JsonObject:
    """A segment as it is heard. Deltas put together are the text."""
    return {"type": "transcript.text.delta", "delta": text if is_first else f" {text}"}


def render_done(heard: AudioPerception) -> JsonObject:
    """The last event of a stream."""
    return {"type": "transcript.text.done", "text": heard.transcript}


def _segments(heard: AudioPerception) -> list[JsonObject]:
    return [
        {
            "id": index,
            "start": segment.start_s,
            "end": segment.end_s,
            "text": segment.text,
            # The encoder reports none of these; the SDK requires the keys.
            "seek": 0,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": 0.0,
            "compression_ratio": 0.0,
            "no_speech_prob": 0.0,
        }
        for index, segment in enumerate(heard.segments)
    ]


def _usage(heard: AudioPerception) -> JsonObject:
    return {"type": "duration", "seconds": round(heard.duration_s, 3)}
