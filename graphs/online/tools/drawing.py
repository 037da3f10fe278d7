"""``image_generation``: pictures on the model's word."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from graphs.online.tools.registry import Asked, Outcome
from serve.domain.asks import Watch
from serve.domain.catalogue import ServedModels
from serve.domain.errors import EngineDead
from serve.domain.making import making_of_picture
from serve.domain.media import MediaKind, MediaRef, SanitizedMedia
from serve.domain.messages import (
    Painted,
    PaintRequest,
    PaintStep,
    Progress,
    Stage,
    ToolSpec,
)
from serve.domain.moderation import ContentPolicy
from serve.domain.ports import Assets, ImageGenerator
from serve.media.intake import MediaIntake
from serve.media.picture_writers import small_preview
from serve.protocol.images import picture_size
from serve.protocol.server_tools import IMAGE_GENERATION

_SEED_BITS: Final = 31


class Drawing:
    """Paints with the default picture model, or the one that the caller's options name."""

    spec: Final = ToolSpec(
        name=IMAGE_GENERATION,
        description="Draw a picture and show it to the user. Call it when a picture is wanted.",
        parameters_json=(
            '{"type":"object","properties":{"prompt":{"type":"string","minLength":1,'
            '"maxLength":400,"description":"What the picture shows, in a few words."}},'
            '"required":["prompt"],"additionalProperties":false}'
        ),
    )
    stage: Final = Stage.DRAWING
    makes_assets: Final = True
    node: Final = "ImageGenerator"

    def __init__(
        self,
        painter: ImageGenerator,
        intake: MediaIntake,
        assets: Assets,
        models: ServedModels,
        policy: ContentPolicy,
        *,
        new_seed: Callable[[], int] = lambda: secrets.randbits(_SEED_BITS),
    ) -> None:
        self._painter = painter
        self._intake = intake
        self._assets = assets
        self._models = models
        self._policy = policy
        self._new_seed = new_seed

    async def run(self, asked: Asked, watch: Watch) -> Outcome:
        """See ``ServerTool``. With ``action`` "edit", the turn's last picture is painted over."""
        prompt = asked.text("prompt")
        model = self._models.choose("image_generator", asked.options.get("model")).name
        width_px, height_px = picture_size(asked.options.get("size", "auto"))
        source = None
        if asked.options.get("action") == "edit":
            source = await self._last_picture(asked)
        request = PaintRequest(
            prompt=prompt,
            model=model,
            width_px=width_px,
            height_px=height_px,
            seed=self._new_seed(),
            source=source,
            preview_steps=int(asked.options.get("partial_images", 0)),
        )
        await self._policy.check_text(prompt)
        painted = await self._paint(request, watch)
        await self._policy.check_picture(painted.png, param="prompt")
        media = await self._intake.keep_made(
            asked.caller,
            SanitizedMedia(
                kind=MediaKind.IMAGE,
                mime_type="image/png",
                content=painted.png,
                width_px=painted.width_px,
                height_px=painted.height_px,
            ),
            making_of_picture(request, painted, response_id=asked.response_id, parents=asked.media),
            filename="picture.png",
        )
        return Outcome(f"A picture of {prompt!r} is now shown to the user.", media.asset_id)

    async def _paint(self, request: PaintRequest, watch: Watch) -> Painted:
        async with aclosing(self._painter.paint(request)) as steps:
            async for step in steps:
                if isinstance(step, Painted):
                    return step
                preview = await self._preview(step)
                await watch(Progress(step.step / step.of_steps, request.prompt, preview))
        raise EngineDead("the picture was not finished; try again")

    async def _preview(self, step: PaintStep) -> bytes:
        if not step.png:
            return b""
        await self._policy.check_picture(step.png, param="prompt")
        return await asyncio.to_thread(small_preview, step.png)

    async def _last_picture(self, asked: Asked) -> MediaRef | None:
        pictures = [
            media
            for media in [await self._assets.get(asked.caller, each) for each in asked.media]
            if media.kind is MediaKind.IMAGE
        ]
        return pictures[-1] if pictures else None
