"""The voices there are, which one a client means, and as what their sound is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from serve.domain.errors import InvalidRequest


class AudioFormat(StrEnum):
    """How sound is written. PCM: signed 16-bit little-endian mono at 24 kHz, bare."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"

    @property
    def mime_type(self) -> str:
        """As HTTP names it."""
        return _MIME_TYPES[self]


_MIME_TYPES: Final = {
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.OPUS: "audio/ogg",
    AudioFormat.AAC: "audio/aac",
    AudioFormat.FLAC: "audio/flac",
    AudioFormat.WAV: "audio/wav",
    AudioFormat.PCM: "audio/pcm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of one model. ``language``: a BCP 47 tag; ``aliases``: other names for it."""

    name: str
    language: str
    description: str
    aliases: tuple[str, ...] = ()


def choose_voice(voices: Iterable[Voice], name: str, *, param: str = "voice") -> Voice:
    """The voice of that name or alias; the first one for an empty name.

    Raises:
        InvalidRequest: the message lists the choices.
    """
    known = tuple(voices)
    for voice in known:
        if not name or name in (voice.name, *voice.aliases):
            return voice
    choices = ", ".join(choice for voice in known for choice in (voice.name, *voice.aliases))
    raise InvalidRequest(f"no voice {name!r}; choose one of: {choices}", param=param)
