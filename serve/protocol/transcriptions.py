"""``/v1/audio/transcriptions``.

Source: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

from __future__ import annotations

from enum import StrEnum

from serve.domain.messages import AudioPerception
from serve.domain.records import JsonObject


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


def render_verbose_transcription(heard: AudioPerception) -> JsonObject:
    """The ``verbose_json`` form: with language, duration and timed segments."""
    return {
        "task": "transcribe",
        "text": heard.transcript,
        "language": heard.language,
        "duration": heard.duration_s,
        "segments": [
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
        ],
        "usage": _usage(heard),
    }


def render_subtitles(heard: AudioPerception, form: TranscriptionFormat) -> str:
    """SubRip or WebVTT."""
    vtt = form is TranscriptionFormat.VTT
    mark = "." if vtt else ","
    blocks: list[str] = []
    for number, segment in enumerate(heard.segments, start=1):
        times = f"{_clock(segment.start_s, mark)} --> {_clock(segment.end_s, mark)}"
        lines = [times, segment.text.strip()] if vtt else [str(number), times, segment.text.strip()]
        blocks.append("\n".join(lines) + "\n")
    return ("WEBVTT\n\n" if vtt else "") + "\n".join(blocks)


def _clock(seconds: float, mark: str) -> str:
    total_ms = round(seconds * 1000)
    minutes, ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}{mark}{ms % 1000:03}"


def _usage(heard: AudioPerception) -> JsonObject:
    return {"type": "duration", "seconds": round(heard.duration_s, 3)}
