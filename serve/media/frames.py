"""What sanitizer and worker say to each other: a JSON head and bytes, both length-prefixed.

Everything the worker says is looked at with suspicion: it runs decoders on strangers' files.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from serve.domain.media import MediaKind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PREFIX = struct.Struct(">IQ")
PIECE = struct.Struct(">I")
"""Length of a piece of a file that is still arriving; nothing at its end."""
MAX_HEAD_BYTES = 16 * 1024
READY = b"r"
"""What a worker says once, when it is ready for its first job."""

Fault = Literal["broken", "too_large", "unsupported"]
_FAULTS: tuple[Fault, ...] = ("broken", "too_large", "unsupported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Head of a request: decode as ``decoder`` (see ``serve.media.sniff``) within limits."""

    kind: str
    mime_type: str
    decoder: str
    max_image_px: int
    max_image_side_px: int
    max_audio_s: float
    max_pages: int
    max_video_s: float
    max_video_px: int
    max_video_fps: float
    cpu_s: float
    sound_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageJob:
    """Head of a request about a document: "read" text layers, or make a "picture" of a page."""

    work: Literal["read", "picture"]
    page: int
    n_pages: int = 1
    max_image_side_px: int = 1
    cpu_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Head of an answer whose bytes are the sanitised file. ``kind``: unless it was known."""

    mime_type: str
    kind: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Head of one of many answers to a job; ``Done`` or ``Refused`` is the last."""

    name: str
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Head of an answer without bytes."""

    fault: Fault
    message: str


def packed(head: DataclassInstance, content: bytes) -> tuple[bytes, bytes]:
    """Both parts of a frame, to be written one after the other."""
    text = json.dumps(asdict(head)).encode()
    return PREFIX.pack(len(text), len(content)) + text, content


def job_from(head: bytes) -> Job:
    """Parse what the sanitizer sent."""
    return Job(**json.loads(head))


def answer_from(head: bytes) -> Done | Refused:
    """Parse the last that the worker sent. Raises ``ValueError`` for anything unexpected."""
    fields = _fields(head)
    if "fault" in fields:
        if fields["fault"] not in _FAULTS or not isinstance(fields.get("message"), str):
            raise ValueError("unknown fault")
        return Refused(fault=fields["fault"], message=fields["message"][:500])
    if not isinstance(fields.get("mime_type"), str):
        raise ValueError("no type")
    if fields.get("kind") not in (None, *MediaKind):
        raise ValueError("unknown kind")
    return Done(
        kind=fields.get("kind"),
        mime_type=fields["mime_type"],
        width_px=_whole(fields.get("width_px")),
        height_px=_whole(fields.get("height_px")),
        duration_s=_number(fields.get("duration_s")),
    )


def part_or_answer_from(head: bytes) -> Part | Done | Refused:
    """Parse what a worker sent that answers in parts. Raises ``ValueError`` likewise."""
    fields = _fields(head)
    if "numbers" not in fields:
        return answer_from(head)
    name, numbers = fields.get("name"), fields["numbers"]
    if not isinstance(name, str) or not isinstance(numbers, dict):
        raise ValueError("not a part")
    if not all(isinstance(number, float) for number in numbers.values()):
        raise ValueError("not a number")
    return Part(name=name, numbers=numbers)


def _fields(head: bytes) -> dict[str, Any]:
    fields = json.loads(head)
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return fields


def _whole(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError("not a whole number")


def _number(value: object) -> float | None:
    if value is None or isinstance(value, float):
        return value
    raise ValueError("not a number")
