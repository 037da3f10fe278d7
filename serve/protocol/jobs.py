"""``/api/v1/jobs``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field

from serve.domain.jobs import Job, JobEvent
from serve.domain.records import JsonObject
from serve.protocol.items import Wire


def preview_key(job_id: str) -> str:
    """Where the newest look at a job's result lies, a PNG."""
    return f"jobs/{job_id}/preview"


def preview_url(job_id: str) -> str:
    """Where a client finds it."""
    return f"/api/v1/jobs/{job_id}/preview"


class CreateTranscriptionJob(Wire):
    """Body of ``POST /api/v1/jobs``: write down what is said in a recording or a video."""

    kind: Literal["transcription"]
    asset_id: str
    language: str | None = Field(default=None, pattern="^[a-z]{2,3}$")
    prompt: str = Field(default="", max_length=1000)
    translate: bool = False


class CreatePerceptionJob(Wire):
    """Body of ``POST /api/v1/jobs``: perceive everything there is in an asset."""

    kind: Literal["perception"]
    asset_id: str


class JobErrorView(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobView(BaseModel):
    """A job. ``progress`` goes from 0 to 1; ``attempt`` counts how often it was taken up."""

    id: str
    object: Literal["job"] = "job"
    kind: str
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    progress: float
    attempt: int
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: JobErrorView | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    events_url: str

    @classmethod
    def of(cls, job: Job) -> JobView:
        """From the domain."""
        error = None
        if job.error_code is not None:
            error = JobErrorView(code=job.error_code, message=job.error_message or "")
        return cls(
            id=job.id,
            kind=job.kind,
            status=job.status.value,
            progress=job.progress,
            attempt=job.attempt,
            request=job.request,
            result=job.result,
            error=error,
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.completed_at,
            events_url=f"/api/v1/jobs/{job.id}/events",
        )


class JobPage(BaseModel):
    """Part of the list of jobs, newest first."""

    data: list[JobView]
    has_more: bool
    last_id: str | None


def render_event(event: JobEvent) -> JsonObject:
    """One event as its frame carries it."""
    return {
        "type": event.type.value,
        "sequence_number": event.seq,
        "at": event.at.timestamp(),
        **event.data,
    }


def event_frame(event: JobEvent) -> bytes:
    """One server-sent event, numbered, so that a reader can come back behind it."""
    data = orjson.dumps(render_event(event))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.value.encode(), data)
