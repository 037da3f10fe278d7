"""``/api/v1/assets``: stored media and what was perceived in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Header, Path, Query, UploadFile
from starlette.responses import Response

from serve.domain.errors import InvalidRequest, NotFound
from serve.domain.media import MediaKind
from serve.domain.records import Page
from serve.ingress.authentication import AssetCaller, Reader
from serve.ingress.context import Ports
from serve.ingress.ranges import file_response
from serve.protocol.native import (
    AssetPage,
    AssetView,
    PerceptionView,
    perception_view,
)

router = APIRouter(prefix="/api/v1/assets", tags=["assets"])

_FOR_KEEPS = {
    "cache-control": "private, max-age=31536000, immutable",
    "content-disposition": "inline",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
}


@router.post("")
async def upload(
    ports: Ports, caller: AssetCaller, file: Annotated[UploadFile, File()]
) -> AssetView:
    """Store a medium of any kind that is taken."""
    media = await ports.intake.store(
        caller,
        await file.read(),
        declared_mime_type=file.content_type,
        filename=file.filename or "",
    )
    return AssetView.of(media)


@router.get("")
async def list_assets(
    ports: Ports,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    after: str | None = None,
) -> AssetPage:
    """The caller's assets, newest first."""
    found = await ports.assets.list(caller, Page(limit=limit + 1, after=after))
    page = found[:limit]
    return AssetPage(
        data=[AssetView.of(media) for media in page],
        has_more=len(found) > limit,
        last_id=page[-1].asset_id if page else None,
    )


@router.get("/{asset_id}")
async def retrieve(asset_id: str, ports: Ports, caller: Reader) -> AssetView:
    """One asset."""
    return AssetView.of(await ports.assets.get(caller, asset_id))


@router.get("/{asset_id}/content")
async def content(
    asset_id: str,
    ports: Ports,
    caller: Reader,
    asked: Annotated[str | None, Header(alias="range", max_length=100)] = None,
) -> Response:
    """The sanitised bytes, or a range of them. They never change: a browser may keep them."""
    media = await ports.assets.get(caller, asset_id)
    return file_response(
        await ports.objects.get(media.storage_key),
        media_type=media.mime_type,
        headers=_FOR_KEEPS,
        asked=asked,
    )


@router.get("/{asset_id}/pages/{number}")
async def page(
    asset_id: str,
    number: Annotated[int, Path(ge=1)],
    ports: Ports,
    caller: Reader,
    side_px: Annotated[int, Query(ge=64, le=2048)] = 1280,
) -> Response:
    """A page of a document as PNG; its longer side has ``side_px`` pixels."""
    media = await ports.assets.get(caller, asset_id)
    if media.kind is not MediaKind.DOCUMENT:
        raise InvalidRequest(f"{asset_id} is {media.kind.value}; only a document has pages")
    document = await ports.objects.get(media.storage_key)
    return Response(
        await ports.pages.picture(document, number, side_px=side_px),
        media_type="image/png",
        headers=_FOR_KEEPS,
    )


@router.get("/{asset_id}/perception")
async def perception(asset_id: str, ports: Ports, caller: Reader) -> PerceptionView:
    """What was seen or heard in it, once some request has asked."""
    found = await ports.perceiving.recall(await ports.assets.get(caller, asset_id))
    if found is None:
        raise NotFound("nothing has been perceived in this asset yet; ask about it first")
    return perception_view(found)


@router.delete("/{asset_id}", status_code=204)
async def delete(asset_id: str, ports: Ports, caller: AssetCaller) -> None:
    """Forget an asset: the row first, so that no row ever names missing bytes."""
    media = await ports.assets.delete(caller, asset_id)
    await ports.objects.delete(media.storage_key)
    await ports.perceiving.forget(media)
