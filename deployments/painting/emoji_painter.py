"""``emoji-flow`` as a painter."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from deployments.painting.canvas import Canvas, Sketch, finished, guided, start
from deployments.painting.transformer import MIN_SIGMA, EmojiFlowTransformer
from deployments.sentences import SentenceModel
from serve.domain.errors import InvalidRequest
from serve.domain.messages import PaintRequest
from serve.registry.specs import PainterTraits

_MAX_SIDE_PX: Final = 1536


@dataclass(frozen=True, slots=True)
class _Words:
    """Sentence vectors ``(1, dim)``: of the prompt, and of what guidance leads away from."""

    prompt: Tensor
    negative: Tensor
    has_negative: bool


class EmojiPainter:
    """Paints 64 by 64 pixels and enlarges them.

    Args:
        folder: ``transformer/`` and ``scheduler/`` in the layout of diffusers.
        sentences: the text encoder it was trained with.
        traits: how it is used when a request says nothing.
    """

    def __init__(self, folder: Path, sentences: SentenceModel, traits: PainterTraits) -> None:
        self._model = EmojiFlowTransformer.from_pretrained(
            # Without the package accelerate.
            folder / "transformer",
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,
        ).eval()
        self._scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
        self._sentences = sentences
        self._traits = traits
        self._side = int(self._model.config.sample_size)

    def check(self, request: PaintRequest) -> None:
        """See ``Painter``."""
        width, height = request.width_px, request.height_px
        if max(width, height) > _MAX_SIDE_PX or min(width, height) < self._side:
            raise InvalidRequest(
                f"{width}x{height} is no size for {request.model}; a side has from {self._side} to "
                f"{_MAX_SIDE_PX} pixels",
                param="size",
            )
        if request.source is None and width != height:
            raise InvalidRequest(
                f"{request.model} paints squares; ask for 256x256, 512x512 or 1024x1024",
                param="size",
            )

    def begin(self, request: PaintRequest, sketch: Sketch) -> Canvas:
        """See ``Painter``."""
        random = torch.Generator().manual_seed(request.seed)
        noise = torch.randn((1, 3, self._side, self._side), generator=random)
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.set_timesteps(request.steps or self._traits.steps)
        canvas = Canvas(
            request=request,
            sketch=sketch,
            scheduler=scheduler,
            latents=noise,
            noise=noise,
            condition=self._words(request),
            guidance=self._traits.guidance if request.guidance is None else request.guidance,
            random=random,
            original=None if sketch.source is None else self._pixels(sketch.source.convert("RGB")),
            open=None if sketch.mask is None else self._pixels(sketch.mask).add(1).div(2),
        )
        start(canvas, request.strength)
        return canvas

    def step(self, canvases: Sequence[Canvas]) -> None:
        """See ``Painter``."""
        with torch.inference_mode():
            velocities = guided(canvases, self._predict)
        for canvas, velocity in zip(canvases, velocities, strict=True):
            level = max(_sigma(canvas), MIN_SIGMA)
            # Guidance must not lead out of what pixels can show.
            canvas.clean = (canvas.latents - level * velocity).clamp(-1, 1)
            canvas.advance((canvas.latents - canvas.clean) / level)

    def _predict(self, rows: Sequence[tuple[Canvas, bool]]) -> Tensor:
        words = [
            (canvas.condition.prompt, True)
            if follows
            else (canvas.condition.negative, canvas.condition.has_negative)
            for canvas, follows in rows
        ]
        velocities: Tensor = self._model(
            torch.cat([canvas.latents for canvas, _ in rows]),
            torch.tensor([_sigma(canvas) for canvas, _ in rows]),
            torch.cat([vector for vector, _ in words]),
            torch.tensor([is_known for _, is_known in words]),
        )
        return velocities

    def picture(self, canvas: Canvas) -> PIL.Image.Image:
        """See ``Painter``."""
        shown = canvas.latents if canvas.is_done or canvas.clean is None else canvas.clean
        pixels = ((shown[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        return finished(canvas, PIL.Image.fromarray(pixels.numpy()))

    def _words(self, request: PaintRequest) -> _Words:
        def read(text: str) -> Tensor:
            return torch.from_numpy(self._sentences.embed_passage(text)).reshape(1, -1)

        prompt = read(request.prompt)
        negative = request.negative_prompt.strip()
        return _Words(prompt, read(negative) if negative else prompt, bool(negative))

    def _pixels(self, picture: PIL.Image.Image) -> Tensor:
        small = picture.resize((self._side, self._side), PIL.Image.Resampling.LANCZOS)
        values = np.asarray(small, dtype=np.float32).reshape(self._side, self._side, -1)
        return torch.from_numpy(values / 127.5 - 1).permute(2, 0, 1)[None].contiguous()


def _sigma(canvas: Canvas) -> float:
    return float(canvas.scheduler.sigmas[canvas.done])
