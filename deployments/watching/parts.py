"""What a video's decoding process is asked, and what it answers part by part."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from serve.media.frames import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchJob:
    """Head of a request. ``decoder``: FFmpeg's demuxer. ``duration_s`` is the stored one.

    At most about ``max_looks`` frames come back, at least every ``every_s`` of what changes. With
    ``is_even``, what is shown every ``every_s`` comes back even if nothing changes, and no sound.
    """

    decoder: str
    duration_s: float
    every_s: float
    max_looks: int
    max_video_px: int
    max_video_s: float
    cpu_s: float
    is_even: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Comes with the sound as FLAC; its first sample is heard at ``starts_s`` of the video."""

    starts_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """Comes with a frame as JPEG, which stands for all since ``start_s``.

    The video itself has ``scale`` pixels for one of the frame's.
    """

    start_s: float
    at_s: float
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Decoded so far, and nothing new to look at."""

    at_s: float


def watch_job_from(head: bytes) -> WatchJob:
    """Parse what the encoder sent."""
    return WatchJob(**json.loads(head))


def part_of(said: Sound | Glimpse | Tick) -> Part:
    """As the worker sends it."""
    return Part(name=type(said).__name__, numbers={k: float(v) for k, v in asdict(said).items()})


def said_by(part: Part) -> Sound | Glimpse | Tick:
    """What the worker said. Raises ``ValueError`` for anything unexpected."""
    numbers = part.numbers
    if not all(math.isfinite(number) for number in numbers.values()):
        raise ValueError("not finite")
    try:
        match part.name:
            case "Sound":
                return Sound(starts_s=numbers["starts_s"], duration_s=numbers["duration_s"])
            case "Glimpse":
                return Glimpse(
                    start_s=numbers["start_s"],
                    at_s=numbers["at_s"],
                    scale=numbers["scale"],
                )
            case "Tick":
                return Tick(at_s=numbers["at_s"])
            case _:
                raise ValueError("unknown part")
    except KeyError as exc:
        raise ValueError("a number is missing") from exc
