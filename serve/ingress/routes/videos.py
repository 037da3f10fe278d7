"""``/v1/videos``: clips, each made by a job whose id it has."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.responses import JSONResponse, Response

from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.jobs import Job, JobStatus
from serve.domain.media import MediaKind, MediaRef
from serve.domain.records import Caller, JsonObject, Page
from serve.ingress.authentication import GeneratingCaller, Reader
from serve.ingress.context import IngressPorts, Ports
from serve.ingress.judging import check_brought
from serve.ingress.uploads import keep_upload
from serve.media.intake import MediaSource
from serve.protocol.jobs import preview_key
from serve.protocol.videos import (
    DEFAULT_SECONDS,
    DEFAULT_SIZE,
    MAX_PROMPT,
    RemixVideo,
    parse_seconds,
    parse_size,
    render_video,
)

router = APIRouter(prefix="/v1/videos", tags=["videos"])

_KIND = "video"
_REFERENCE = "input_reference"


@router.post("")
async def create(
    ports: Ports,
    caller: GeneratingCaller,
    prompt: Annotated[str, Form(min_length=1, max_length=MAX_PROMPT)],
    model: Annotated[str | None, Form()] = None,
    seconds: Annotated[str, Form()] = str(DEFAULT_SECONDS),
    size: Annotated[str, Form()] = DEFAULT_SIZE,
    seed: Annotated[int | None, Form(ge=0, lt=2**32)] = None,
    input_reference: Annotated[UploadFile | None, File()] = None,
    reference_id: Annotated[str | None, Form(alias="input_reference[file_id]")] = None,
    reference_url: Annotated[str | None, Form(alias="input_reference[image_url]")] = None,
) -> JSONResponse:
    """Film what the prompt says, or how a picture goes on."""
    pixels = parse_size(size)
    request: JsonObject = {
        "prompt": prompt,
        "model": ports.models.choose("video_generator", model).name,
        "seconds": parse_seconds(seconds),
        "width_px": pixels.width_px,
        "height_px": pixels.height_px,
        "seed": secrets.randbelow(2**32) if seed is None else seed,
    }
    await ports.moderation.check_text(prompt)
    source: MediaRef | None = None
    if input_reference is not None:
        source = await keep_upload(ports, caller, input_reference, expect=MediaKind.IMAGE)
    elif reference_id or reference_url:
        named = MediaSource(
            asset_id=reference_id, url=reference_url, expect=MediaKind.IMAGE, param=_REFERENCE
        )
        source = await ports.intake.resolve(caller, named)
    if source is not None:
        await check_brought(ports, [source], param=_REFERENCE)
        request["source"] = source.asset_id
    return JSONResponse(render_video(await ports.jobs.start(caller, _KIND, request)))


@router.get("")
async def list_videos(
    ports: Ports,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> JSONResponse:
    """The caller's videos."""
    page = Page(limit=limit + 1, after=after, newest_first=order == "desc")
    found = await ports.jobs.list(caller, page, kind=_KIND)
    shown = found[:limit]
    return JSONResponse(
        {
            "object": "list",
            "data": [render_video(job) for job in shown],
            "first_id": shown[0].id if shown else None,
            "last_id": shown[-1].id if shown else None,
            "has_more": len(found) > limit,
        }
    )


@router.get("/{video_id}")
async def retrieve(video_id: str, ports: Ports, caller: Reader) -> JSONResponse:
    """One video: how far it is."""
    return JSONResponse(render_video(await _video(ports, caller, video_id)))


@router.get("/{video_id}/content")
async def content(
    video_id: str,
    ports: Ports,
    caller: Reader,
    variant: Annotated[Literal["video", "thumbnail", "spritesheet"], Query()] = "video",
) -> Response:
    """The finished clip as MP4, or its first frame as PNG."""
    job = await _video(ports, caller, video_id)
    media = await _clip(ports, caller, job)
    match variant:
        case "video":
            return Response(await ports.objects.get(media.storage_key), media_type=media.mime_type)
        case "thumbnail":
            return Response(await ports.objects.get(preview_key(video_id)), media_type="image/png")
        case "spritesheet":
            raise InvalidRequest(
                "there are no spritesheets here; ask for 'video' or 'thumbnail'", param="variant"
            )


@router.post("/{video_id}/remix")
async def remix(
    video_id: str, body: RemixVideo, ports: Ports, caller: GeneratingCaller
) -> JSONResponse:
    """The same again in other words: from the same noise, so what the words share stays."""
    job = await _video(ports, caller, video_id)
    if job.status is not JobStatus.COMPLETED:
        raise Conflict(f"the video is {job.status.value}; only a completed one can be remixed")
    await ports.moderation.check_text(body.prompt)
    request = {**job.request, "prompt": body.prompt, "remix_of": video_id}
    return JSONResponse(render_video(await ports.jobs.start(caller, _KIND, request)))


@router.delete("/{video_id}")
async def delete(video_id: str, ports: Ports, caller: GeneratingCaller) -> JsonObject:
    """Stop making it, and forget it with its clip."""
    job = await _video(ports, caller, video_id)
    await ports.jobs.delete(caller, video_id)
    await ports.objects.delete(preview_key(video_id))
    if job.result is not None:
        with suppress(NotFound):
            media = await ports.assets.delete(caller, job.result["asset_id"])
            await ports.objects.delete(media.storage_key)
            await ports.perceiving.forget(media)
    return {"id": video_id, "object": "video.deleted", "deleted": True}


async def _video(ports: IngressPorts, caller: Caller, video_id: str) -> Job:
    job = await ports.jobs.get(caller, video_id)
    if job.kind != _KIND:
        raise NotFound(f"no video {video_id!r}")
    return job


async def _clip(ports: IngressPorts, caller: Caller, job: Job) -> MediaRef:
    if job.status is not JobStatus.COMPLETED or job.result is None:
        raise Conflict(f"the video is {job.status.value}; come back once it is completed")
    return await ports.assets.get(caller, job.result["asset_id"])
