"""``/v1/audio/speech`` and the list of voices.

Source: https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

from __future__ import annotations

import base64
from typing import Annotated, Final, Literal

from pydantic import Field

from serve.domain.catalogue import ServedModels
from serve.domain.records import JsonObject
from serve.domain.voices import AudioFormat
from serve.protocol.items import Wire

_LONGEST_INPUT: Final = 4096
# As OpenAI counts sound that is made.
_TOKENS_PER_S: Final = 20


class VoiceId(Wire):
    """A voice by its id, which is its name here."""

    id: str


class CreateSpeech(Wire):
    """What to say, and how. ``instructions`` have no effect: these voices take none."""

    model: str
    input: Annotated[str, Field(min_length=1, max_length=_LONGEST_INPUT)]
    voice: str | VoiceId = ""
    response_format: AudioFormat = AudioFormat.MP3
    speed: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    instructions: Annotated[str, Field(max_length=_LONGEST_INPUT)] = ""
    stream_format: Literal["audio", "sse"] = "audio"


def voice_name(voice: str | VoiceId) -> str:
    """Which voice is meant; empty for the default one."""
    return voice if isinstance(voice, str) else voice.id


def render_sound_delta(content: bytes) -> JsonObject:
    """A piece of the file."""
    return {"type": "speech.audio.delta", "audio": base64.b64encode(content).decode()}


def render_sound_done(text: str, duration_s: float) -> JsonObject:
    """The end of the file. Text is counted in characters, since voices know no tokens."""
    said = round(duration_s * _TOKENS_PER_S)
    usage = {"input_tokens": len(text), "output_tokens": said, "total_tokens": len(text) + said}
    return {"type": "speech.audio.done", "usage": usage}


def render_voices(models: ServedModels) -> JsonObject:
    """Every voice, those of the default model first."""
    return {
        "object": "list",
        "data": [
            {
                "object": "voice",
                "id": voice.name,
                "model": model.name,
                "language": voice.language,
                "description": voice.description,
                "aliases": list(voice.aliases),
            }
            for model in models.models
            for voice in model.voices
        ],
    }
