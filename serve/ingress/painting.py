"""Pictures for a client: painted, written, signed and stored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from serve.domain.errors import InternalError, PolymodalError
from serve.domain.making import making_of_picture
from serve.domain.media import MediaKind, MediaRef, SanitizedMedia
from serve.domain.messages import Painted, PaintRequest
from serve.domain.records import Caller
from serve.ingress.context import IngressPorts
from serve.ingress.errors import as_error
from serve.ingress.streaming import named_frame
from serve.media.picture_writers import rewritten
from serve.protocol.errors import render_error
from serve.protocol.images import (
    EditImage,
    MadePicture,
    PaintWishes,
    render_completed_image,
    render_partial_image,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """Pictures to make for somebody. ``request`` has the seed of the first."""

    caller: Caller
    wishes: PaintWishes
    request: PaintRequest

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.request.width_px, self.request.height_px

    @property
    def operation(self) -> str:
        """As events are called."""
        return "image_generation" if self.request.source is None else "image_edit"


def commission(
    caller: Caller,
    wishes: PaintWishes,
    model: str,
    *,
    source: MediaRef | None = None,
    mask: MediaRef | None = None,
) -> Commission:
    """What the wishes come to. Raises ``InvalidRequest``."""
    wishes.check()
    natural = None
    if source is not None and source.width_px and source.height_px:
        natural = source.width_px, source.height_px
    width, height = wishes.size_px(natural)
    request = PaintRequest(
        prompt=wishes.prompt,
        model=model,
        width_px=width,
        height_px=height,
        seed=secrets.randbits(31) if wishes.seed is None else wishes.seed,
        steps=wishes.steps,
        guidance=wishes.guidance,
        negative_prompt=wishes.negative_prompt,
        source=source,
        mask=mask,
        preview_steps=wishes.partial_images,
    )
    if isinstance(wishes, EditImage):
        request = replace(request, strength=wishes.strength)
    return Commission(caller=caller, wishes=wishes, request=request)


async def paint_all(ports: IngressPorts, order: Commission) -> list[MadePicture]:
    """All ``n`` pictures, painted side by side."""
    requests = [
        replace(order.request, seed=order.request.seed + number) for number in range(order.wishes.n)
    ]
    try:
        async with asyncio.TaskGroup() as group:
            works = [group.create_task(_paint(ports, order, request)) for request in requests]
    except* PolymodalError as failed:
        raise failed.exceptions[0] from None
    return [work.result() for work in works]


async def painted_frames(ports: IngressPorts, order: Commission) -> AsyncGenerator[bytes, None]:
    """Events of one picture: looks on its way, then itself.

    A refusal before the first is raised; a failure behind it becomes the last event.
    """
    index = 0
    try:
        async with aclosing(ports.painter.paint(order.request)) as news:
            async for each in news:
                if isinstance(each, Painted):
                    made = await _kept(ports, order, order.request, each)
                    done = render_completed_image(order.operation, order.wishes, made, order.size)
                    yield named_frame(done)
                elif each.png:
                    await ports.moderation.check_picture(each.png, param="prompt")
                    _, content = await _written(order.wishes, each.png)
                    yield named_frame(
                        render_partial_image(
                            order.operation, order.wishes, content, order.size, index
                        )
                    )
                    index += 1
    except PolymodalError as error:
        if index == 0:
            raise
        yield named_frame({"type": "error", **render_error(as_error(error))})


async def _paint(ports: IngressPorts, order: Commission, request: PaintRequest) -> MadePicture:
    async with aclosing(ports.painter.paint(request)) as news:
        async for each in news:
            if isinstance(each, Painted):
                return await _kept(ports, order, request, each)
    raise InternalError("the picture was never finished")


async def _kept(
    ports: IngressPorts, order: Commission, request: PaintRequest, painted: Painted
) -> MadePicture:
    await ports.moderation.check_picture(painted.png, param="prompt")
    mime_type, content = await _written(order.wishes, painted.png)
    media = await ports.intake.keep_made(
        order.caller,
        SanitizedMedia(
            kind=MediaKind.IMAGE,
            mime_type=mime_type,
            content=content,
            width_px=painted.width_px,
            height_px=painted.height_px,
        ),
        making_of_picture(request, painted),
        filename=f"picture.{order.wishes.output_format.value}",
    )
    signed = await ports.objects.get(media.storage_key)
    return MadePicture(media=media, content=signed, seed=request.seed)


async def _written(wishes: PaintWishes, png: bytes) -> tuple[str, bytes]:
    form, quality = wishes.output_format.value, wishes.output_compression
    return await asyncio.to_thread(rewritten, png, form, quality=quality)
