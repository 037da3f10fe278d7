"""``/v1/images``: pictures from words, and from pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from serve.domain.errors import InvalidRequest
from serve.domain.media import MediaKind, MediaRef
from serve.ingress.authentication import GeneratingCaller
from serve.ingress.context import IngressPorts, Ports
from serve.ingress.judging import check_brought
from serve.ingress.leaving import unless_left
from serve.ingress.painting import Commission, commission, paint_all, painted_frames
from serve.ingress.pieces import PieceStream
from serve.ingress.uploads import keep_upload
from serve.protocol.images import CreateImage, EditImage, PictureFormat, render_images

router = APIRouter(prefix="/v1/images", tags=["images"])


@router.post("/generations")
async def generate(
    body: CreateImage, request: Request, ports: Ports, caller: GeneratingCaller
) -> Response:
    """Paint what the prompt says. Every picture becomes an asset of the caller."""
    model = ports.models.choose("image_generator", body.model).name
    order = commission(caller, body, model)
    await ports.moderation.check_text(body.prompt)
    return await _reply(request, ports, order)


def edit_wishes(
    prompt: Annotated[str, Form()],
    model: Annotated[str | None, Form()] = None,
    n: Annotated[int, Form()] = 1,
    size: Annotated[str, Form()] = "auto",
    response_format: Annotated[Literal["b64_json", "url"] | None, Form()] = None,
    output_format: Annotated[PictureFormat, Form()] = PictureFormat.PNG,
    output_compression: Annotated[int, Form()] = 100,
    partial_images: Annotated[int, Form()] = 0,
    seed: Annotated[int | None, Form()] = None,
    steps: Annotated[int | None, Form()] = None,
    guidance: Annotated[float | None, Form()] = None,
    strength: Annotated[float, Form()] = 0.8,
    negative_prompt: Annotated[str, Form()] = "",
    *,
    stream: Annotated[bool, Form()] = False,
) -> EditImage:
    """The fields of the form; each is checked as the JSON of generations is."""
    try:
        return EditImage(
            prompt=prompt,
            model=model,
            n=n,
            size=size,
            response_format=response_format,
            output_format=output_format,
            output_compression=output_compression,
            stream=stream,
            partial_images=partial_images,
            seed=seed,
            steps=steps,
            guidance=guidance,
            strength=strength,
            negative_prompt=negative_prompt,
        )
    except ValidationError as invalid:
        raise RequestValidationError(invalid.errors()) from invalid


@router.post("/edits")
async def edit(
    request: Request,
    ports: Ports,
    caller: GeneratingCaller,
    wishes: Annotated[EditImage, Depends(edit_wishes)],
    image: Annotated[list[UploadFile] | None, File()] = None,
    images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
    mask: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Paint a picture over, all of it or where the mask is transparent."""
    model = ports.models.choose("image_generator", wishes.model).name
    wishes.check()
    files = [*(image or ()), *(images or ())]
    if len(files) != 1:
        raise InvalidRequest(
            f"{len(files)} pictures were sent; {model} edits exactly one", param="image"
        )
    await ports.moderation.check_text(wishes.prompt)
    source = await keep_upload(ports, caller, files[0], expect=MediaKind.IMAGE)
    await check_brought(ports, [source], param="image")
    hole: MediaRef | None = None
    if mask is not None:
        hole = await keep_upload(ports, caller, mask, expect=MediaKind.IMAGE)
    if hole and (hole.width_px, hole.height_px) != (source.width_px, source.height_px):
        raise InvalidRequest(
            f"the mask has {hole.width_px}x{hole.height_px} pixels, the picture "
            f"{source.width_px}x{source.height_px}; they must be of one size",
            param="mask",
        )
    order = commission(caller, wishes, model, source=source, mask=hole)
    return await _reply(request, ports, order)


async def _reply(request: Request, ports: IngressPorts, order: Commission) -> Response:
    if order.wishes.stream:
        return PieceStream(painted_frames(ports, order), "text/event-stream")
    pictures = await unless_left(request, paint_all(ports, order))
    base_url = str(request.base_url)
    return JSONResponse(render_images(order.wishes, pictures, order.size, base_url))
