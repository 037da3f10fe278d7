"""``/api/v1/provenance``: how media were made, signed for anybody to check."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from starlette.responses import Response

from serve.domain.errors import InvalidRequest, NotFound, UnsupportedMedia
from serve.domain.media import MediaRef
from serve.domain.provenance import ProvenanceReport
from serve.ingress.authentication import Reader
from serve.ingress.context import IngressPorts, Ports
from serve.protocol.provenance import LineageView, ProvenanceView

router = APIRouter(prefix="/api/v1", tags=["provenance"])


@router.post("/provenance/verify")
async def verify(
    ports: Ports,
    caller: Reader,
    file: Annotated[UploadFile | None, File()] = None,
    asset_id: Annotated[str | None, Form()] = None,
) -> ProvenanceView:
    """Read a file's manifest, and check it. The file is not kept."""
    if (file is None) == (asset_id is None):
        raise InvalidRequest("send either a file or an asset_id", param="file")
    if file is not None:
        content = await file.read()
        ports.intake.check_size(content)
        return ProvenanceView.of(await ports.provenance.read(content))
    media = await ports.assets.get(caller, asset_id or "")
    return ProvenanceView.of(await _read(ports, media))


@router.get("/provenance/certificate")
async def certificate(ports: Ports, _caller: Reader) -> Response:
    """The root certificate that checkers of our signatures must trust, as PEM."""
    return Response(ports.provenance.certificate, media_type="application/x-pem-file")


@router.get("/assets/{asset_id}/provenance")
async def asset_provenance(asset_id: str, ports: Ports, caller: Reader) -> ProvenanceView:
    """What an asset's own manifest says. Uploads have none: theirs was stripped."""
    return ProvenanceView.of(await _read(ports, await ports.assets.get(caller, asset_id)))


@router.get("/assets/{asset_id}/lineage")
async def lineage(asset_id: str, ports: Ports, caller: Reader) -> LineageView:
    """What an asset was made from, and what was made from it, newest first."""
    media = await ports.assets.get(caller, asset_id)
    parents: list[MediaRef] = []
    for parent_id in media.making.parents if media.making else ():
        try:
            parents.append(await ports.assets.get(caller, parent_id))
        except NotFound:
            # Deleted since it was read.
            continue
    return LineageView.of(media, parents, await ports.assets.children(caller, asset_id))


async def _read(ports: IngressPorts, media: MediaRef) -> ProvenanceReport:
    try:
        return await ports.provenance.read(await ports.objects.get(media.storage_key))
    except UnsupportedMedia:
        # A format without room for a manifest, such as Ogg, is an unsigned one.
        return ProvenanceReport(is_signed=False)
