"""``/v1/videos``.

Source: https://platform.openai.com/docs/api-reference/videos
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from serve.domain.errors import InvalidRequest
from serve.domain.jobs import Job, JobStatus
from serve.domain.records import JsonObject
from serve.protocol.items import Wire

DEFAULT_SECONDS: Final = 4
MAX_SECONDS: Final = 12
DEFAULT_SIZE: Final = "720x1280"
MAX_PROMPT: Final = 32_000
_SIZE: Final = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")

# OpenAI has no word for a cancelled video.
_STATUS: Final = {JobStatus.CANCELLED: "failed"}


class RemixVideo(Wire):
    """Body of ``POST /v1/videos/{id}/remix``."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    width_px: int
    height_px: int


def parse_size(size: str) -> Size:
    """OpenAI's ``WIDTHxHEIGHT``. Raises ``InvalidRequest``."""
    found = _SIZE.fullmatch(size)
    if found is None:
        raise InvalidRequest("size is WIDTHxHEIGHT in pixels, as in 1280x720", param="size")
    return Size(int(found[1]), int(found[2]))


def parse_seconds(seconds: str) -> int:
    """A whole number of seconds. Raises ``InvalidRequest``."""
    if not seconds.isascii() or not seconds.isdigit() or not 1 <= int(seconds) <= MAX_SECONDS:
        raise InvalidRequest(
            f"seconds is a whole number from 1 to {MAX_SECONDS}, as in 4", param="seconds"
        )
    return int(seconds)


def render_video(job: Job) -> JsonObject:
    """The Video object."""
    asked = job.request
    completed_at = job.completed_at if job.status is JobStatus.COMPLETED else None
    return {
        "id": job.id,
        "object": "video",
        "created_at": int(job.created_at.timestamp()),
        "completed_at": None if completed_at is None else int(completed_at.timestamp()),
        "expires_at": None,
        "status": _STATUS.get(job.status, job.status.value),
        "progress": int(100 * job.progress),
        "model": asked["model"],
        "prompt": asked["prompt"],
        "seconds": str(asked["seconds"]),
        "size": f"{asked['width_px']}x{asked['height_px']}",
        "remixed_from_video_id": asked.get("remix_of"),
        "error": _error(job),
    }


def _error(job: Job) -> JsonObject | None:
    match job.status:
        case JobStatus.CANCELLED:
            return {"code": "cancelled", "message": "the job was cancelled"}
        case JobStatus.FAILED:
            return {"code": job.error_code or "", "message": job.error_message or ""}
        case _:
            return None
