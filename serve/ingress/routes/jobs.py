"""``/api/v1/jobs``: work that takes longer than anybody waits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Body, Header, Query
from starlette.responses import Response, StreamingResponse

from serve.domain.errors import InvalidRequest, NotFound
from serve.domain.media import MediaKind
from serve.domain.records import Caller, Page
from serve.ingress.authentication import GeneratingCaller, Reader
from serve.ingress.context import IngressPorts, Ports
from serve.ingress.streaming import SSE_HEADERS
from serve.protocol.jobs import (
    CreatePerceptionJob,
    CreateTranscriptionJob,
    JobPage,
    JobView,
    event_frame,
    preview_key,
)

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

_NOTHING_NEW = b": \n\n"


@router.post("", status_code=202)
async def create(
    body: Annotated[CreateTranscriptionJob | CreatePerceptionJob, Body(discriminator="kind")],
    ports: Ports,
    caller: GeneratingCaller,
) -> JobView:
    """Begin one. It goes on whether or not anybody watches."""
    media = await ports.assets.get(caller, body.asset_id)
    hears = media.kind in (MediaKind.AUDIO, MediaKind.VIDEO)
    if isinstance(body, CreateTranscriptionJob) and not hears:
        raise InvalidRequest(
            f"{body.asset_id} is {media.kind.value}; name a recording or a video", param="asset_id"
        )
    request = body.model_dump(exclude={"kind"}, exclude_none=True)
    return JobView.of(await ports.jobs.start(caller, body.kind, request))


@router.get("")
async def list_jobs(
    ports: Ports,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    kind: str | None = None,
) -> JobPage:
    """The caller's jobs, newest first."""
    found = await ports.jobs.list(caller, Page(limit=limit + 1, after=after), kind=kind)
    page = found[:limit]
    return JobPage(
        data=[JobView.of(job) for job in page],
        has_more=len(found) > limit,
        last_id=page[-1].id if page else None,
    )


@router.get("/{job_id}")
async def retrieve(job_id: str, ports: Ports, caller: Reader) -> JobView:
    """One job as it is now."""
    return JobView.of(await ports.jobs.get(caller, job_id))


@router.post("/{job_id}/cancel")
async def cancel(job_id: str, ports: Ports, caller: GeneratingCaller) -> JobView:
    """Stop a job; one that is over stays as it is."""
    return JobView.of(await ports.jobs.cancel(caller, job_id))


@router.delete("/{job_id}", status_code=204)
async def delete(job_id: str, ports: Ports, caller: GeneratingCaller) -> None:
    """Stop and forget a job. What it made stays an asset."""
    await ports.jobs.delete(caller, job_id)
    await ports.objects.delete(preview_key(job_id))


@router.get("/{job_id}/events", response_class=Response)
async def events(
    job_id: str,
    ports: Ports,
    caller: Reader,
    last_event_id: Annotated[str | None, Header()] = None,
    starting_after: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """What happened and happens, to the job's end, as server-sent events.

    ``Last-Event-ID``, or ``starting_after`` without one, leaves out what is known already.
    """
    if last_event_id is not None and not (last_event_id.isascii() and last_event_id.isdigit()):
        raise InvalidRequest("Last-Event-ID is the id of an event of this job")
    after = starting_after if last_event_id is None else int(last_event_id)
    await ports.jobs.get(caller, job_id)
    frames = _frames(ports, caller, job_id, after)
    return StreamingResponse(frames, media_type="text/event-stream", headers=SSE_HEADERS)


@router.get("/{job_id}/preview")
async def preview(job_id: str, ports: Ports, caller: Reader) -> Response:
    """What the job's result looks like by now, as PNG."""
    await ports.jobs.get(caller, job_id)
    try:
        content = await ports.objects.get(preview_key(job_id))
    except NotFound as exc:
        raise NotFound("there is nothing to see of this job yet") from exc
    return Response(content, media_type="image/png", headers={"cache-control": "no-store"})


async def _frames(
    ports: IngressPorts, caller: Caller, job_id: str, after: int
) -> AsyncGenerator[bytes, None]:
    async with aclosing(ports.jobs.follow(caller, job_id, after=after)) as batches:
        async for batch in batches:
            yield b"".join(map(event_frame, batch)) or _NOTHING_NEW
