"""What is asked: prompts, media and turns, the same for everybody who has the same seed."""

from __future__ import annotations

import base64
import io
import json
import math
import random
import struct
import wave
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Medium = Literal["image", "audio"]
MEDIA: tuple[Medium, ...] = ("image", "audio")

# English words of about one token each in the usual vocabularies.
_WORDS = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government
number night point home water room mother area money story fact month lot right study book eye
job word business issue side kind head house service friend father power hour game line end
member law car city community name president team minute idea kid body information back parent
face others level office door health person art war history party result change morning reason
research girl guy moment air teacher force education
""".split()  # noqa: SIM905 - as literals they would fill a page
_TONE_HZ = 440.0
_SOUND_RATE_HZ = 16_000


class BadWorkload(ValueError):
    """What was asked for cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of lengths in tokens: ``64``, ``32-128`` (uniform) or ``64~0.5``.

    The last is log-normal: its median and the standard deviation of the logarithm.
    """

    low: float
    high: float
    sigma: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Raises BadWorkload where the text is none of the three."""
        try:
            if "~" in text:
                median, sigma = text.split("~")
                return cls(float(median), float(median), float(sigma))
            low, _, high = text.partition("-")
            lengths = cls(float(low), float(high or low))
        except ValueError as error:
            raise BadWorkload(f"{text!r}: write 64, 32-128 or 64~0.5") from error
        if not 1 <= lengths.low <= lengths.high:
            raise BadWorkload(f"{text!r}: at least 1, the smaller first")
        return lengths

    def draw(self, dice: random.Random) -> int:
        """One length, at least 1."""
        if self.sigma:
            return max(1, round(self.low * math.exp(dice.gauss(0.0, self.sigma))))
        return round(dice.uniform(self.low, self.high))


@dataclass(frozen=True, slots=True)
class Part:
    """One generated medium, small, unlike any other."""

    medium: Medium
    content: bytes

    @property
    def base64(self) -> str:
        """As data URLs carry it."""
        return base64.b64encode(self.content).decode()

    def for_chat(self) -> dict[str, Any]:
        """As a content part of Chat Completions."""
        if self.medium == "image":
            return {"type": "image_url", "image_url": {"url": self._image_url}}
        return {"type": "input_audio", "input_audio": {"data": self.base64, "format": "wav"}}

    def for_responses(self) -> dict[str, Any]:
        """As a content part of the Responses API."""
        if self.medium == "image":
            return {"type": "input_image", "image_url": self._image_url}
        return {"type": "input_audio", "input_audio": {"data": self.base64, "format": "wav"}}

    @property
    def _image_url(self) -> str:
        return f"data:image/png;base64,{self.base64}"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a person says at once."""

    text: str
    max_tokens: int
    media: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """Turns of one conversation. ``at_s``: when it begins, after the round's start."""

    turns: tuple[Turn, ...]
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """One request: the newest turn after what was said before it.

    Attributes:
        said: (question, answer) of the earlier turns, oldest first.
        previous_response_id: what stands for ``said`` in the Responses API.
        wants_text: the answer's text is needed afterwards.
    """

    turn: Turn
    said: tuple[tuple[Turn, str], ...] = ()
    previous_response_id: str = ""
    wants_text: bool = False

    @property
    def max_tokens(self) -> int:
        """Longest answer."""
        return self.turn.max_tokens

    def chat_messages(self) -> list[dict[str, Any]]:
        """The whole conversation as Chat Completions wants it."""
        messages: list[dict[str, Any]] = []
        for turn, answer in self.said:
            messages.append({"role": "user", "content": _chat_content(turn)})
            messages.append({"role": "assistant", "content": answer})
        return [*messages, {"role": "user", "content": _chat_content(self.turn)}]

    def response_input(self) -> str | list[dict[str, Any]]:
        """The newest turn as the Responses API wants it."""
        if not self.turn.media:
            return self.turn.text
        parts = [{"type": "input_text", "text": self.turn.text}]
        parts += [part.for_responses() for part in self.turn.media]
        return [{"role": "user", "content": parts}]


def _chat_content(turn: Turn) -> str | list[dict[str, Any]]:
    if not turn.media:
        return turn.text
    return [{"type": "text", "text": turn.text}, *(part.for_chat() for part in turn.media)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A recipe for sessions.

    Attributes:
        shared_prefix_tokens: words that all prompts begin with, so that a prefix cache can help.
        media: how likely a session's first turn carries each medium; may be several.
    """

    prompt_tokens: Lengths = Lengths(64, 64)
    output_tokens: Lengths = Lengths(64, 64)
    n_turns: int = 1
    shared_prefix_tokens: int = 0
    media: Mapping[Medium, float] = field(default_factory=dict)
    image_px: int = 64
    audio_s: float = 1.0
    seed: int = 0

    def session(self, round_number: int, index: int) -> Session:
        """The ``index``-th session of a round; equal for equal seeds."""
        dice = random.Random(f"{self.seed}/{round_number}/{index}")  # noqa: S311 - no secret
        turns = []
        for number in range(self.n_turns):
            text = self._text(dice, self.prompt_tokens.draw(dice))
            media = self._media(dice) if number == 0 else ()
            turns.append(Turn(text, self.output_tokens.draw(dice), media))
        return Session(tuple(turns))

    def _text(self, dice: random.Random, n_tokens: int) -> str:
        shared = random.Random(self.seed)  # noqa: S311 - no secret
        prefix = [shared.choice(_WORDS) for _ in range(self.shared_prefix_tokens)]
        # Different from the first own word on, so that no cache helps where it should not.
        own = [f"{dice.getrandbits(32):08x}", *(dice.choice(_WORDS) for _ in range(n_tokens - 1))]
        return " ".join(prefix + own)

    def _media(self, dice: random.Random) -> tuple[Part, ...]:
        return tuple(
            Part(medium, self._content(medium, dice))
            for medium in MEDIA
            if dice.random() < self.media.get(medium, 0.0)
        )

    def _content(self, medium: Medium, dice: random.Random) -> bytes:
        if medium == "image":
            return png(dice, self.image_px)
        return wav(dice, self.audio_s)


def parse_media(text: str) -> dict[Medium, float]:
    """``image=0.2,audio=0.05``. Raises BadWorkload."""
    weights: dict[Medium, float] = {}
    for entry in filter(None, text.split(",")):
        name, _, weight = entry.partition("=")
        medium = next((medium for medium in MEDIA if medium == name.strip()), None)
        if medium is None:
            raise BadWorkload(f"medium {name!r}: choose from {', '.join(MEDIA)}")
        try:
            weights[medium] = float(weight)
        except ValueError as error:
            raise BadWorkload(f"{entry!r}: write {name}=0.2") from error
        if not 0 <= weights[medium] <= 1:
            raise BadWorkload(f"{entry!r}: a probability is between 0 and 1")
    return weights


def read_trace(path: Path, workload: Workload) -> list[Session]:
    """Sessions of a JSONL file, in the order of their beginnings.

    One object a line: ``at_s`` and, as wanted, ``text`` or ``prompt_tokens``, ``output_tokens``,
    ``media`` (list of kinds) or ``turns`` (list of objects of the same keys).

    Raises:
        BadWorkload: a line is not of that shape; it is named.
    """
    sessions = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        dice = random.Random(f"{workload.seed}/trace/{number}")  # noqa: S311 - no secret
        try:
            told = json.loads(line)
            turns = told.get("turns") or [told]
            made = tuple(_traced_turn(turn, workload, dice) for turn in turns)
            sessions.append(Session(made, float(told["at_s"])))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadWorkload(f"{path.name}, line {number}: {error!r}") from error
    if not sessions:
        raise BadWorkload(f"{path.name} has no line")
    return sorted(sessions, key=lambda session: session.at_s)


def _traced_turn(told: dict[str, Any], workload: Workload, dice: random.Random) -> Turn:
    unknown = told.keys() - {"at_s", "text", "prompt_tokens", "output_tokens", "media", "turns"}
    if unknown:
        raise BadWorkload(f"unknown keys {sorted(unknown)}")
    n_tokens = int(told.get("prompt_tokens") or workload.prompt_tokens.draw(dice))
    text = told.get("text") or workload._text(dice, n_tokens)
    media = tuple(Part(kind, workload._content(kind, dice)) for kind in told.get("media", ()))
    return Turn(
        str(text), int(told.get("output_tokens") or workload.output_tokens.draw(dice)), media
    )


def png(dice: random.Random, side_px: int) -> bytes:
    """A square RGB picture: two colours in stripes, no two pictures alike."""
    colours = [dice.randbytes(3), dice.randbytes(3)]
    rows = bytearray()
    for row in range(side_px):
        rows += b"\0" + colours[(row // 8) % 2] * (side_px - 1) + dice.randbytes(3)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    size = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(rows), 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + pixels + chunk(b"IEND", b"")


def wav(dice: random.Random, length_s: float) -> bytes:
    """A mono recording, 16 kHz, 16 bit: a tone of a pitch of its own."""
    hz = _TONE_HZ * 2 ** dice.uniform(-1, 1)
    n_samples = max(1, round(length_s * _SOUND_RATE_HZ))
    step = 2 * math.pi * hz / _SOUND_RATE_HZ
    samples = (round(9000 * math.sin(step * n)) for n in range(n_samples))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_SOUND_RATE_HZ)
        sound.writeframes(struct.pack(f"<{n_samples}h", *samples))
    return file.getvalue()
