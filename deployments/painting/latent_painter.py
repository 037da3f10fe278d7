"""Pipelines of diffusers that paint in the latents of an autoencoder, as a painter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from deployments.painting.canvas import Canvas, Sketch, finished, guided, start
from serve.domain.errors import InvalidRequest
from serve.domain.messages import PaintRequest
from serve.registry.specs import PainterTraits

_MAX_PX: Final = 2048 * 2048


@dataclass(frozen=True, slots=True)
class Condition:
    """A prompt as the network reads it, and what it is led away from by ``weight``.

    A weight of 1 means: without, and ``away`` counts for nothing.
    """

    follow: Any
    away: Any
    weight: float


class LatentModel(Protocol):
    """One family of pipelines: how its network is told of prompts, times and latents."""

    @property
    def parts(self) -> Any:
        """The pipeline, from which the autoencoder and the processing of pictures are used."""
        ...

    def check(self, request: PaintRequest) -> None:
        """Raises ``InvalidRequest`` for what this family cannot be asked."""
        ...

    def schedule(self, n_steps: int, noise: Tensor) -> Any:
        """A scheduler for one picture alone, which will begin as this noise."""
        ...

    def read(self, request: PaintRequest, guidance: float) -> Condition:
        """The request's prompts."""
        ...

    def predict(self, rows: Sequence[tuple[Canvas, bool]]) -> Tensor:
        """See ``guided``. Latents of all rows have one shape."""
        ...


class LatentPainter:
    """Paints by the pipeline of any family.

    Args:
        model: what is special about the family.
        traits: how it is used when a request says nothing.
    """

    def __init__(self, model: LatentModel, traits: PainterTraits) -> None:
        self._model = model
        self._traits = traits
        self._coder = model.parts.vae
        self._device = self._coder.device
        self._dtype = self._coder.dtype
        self._scale = float(self._coder.config.scaling_factor)
        self._shift = float(self._coder.config.shift_factor or 0.0)

    def check(self, request: PaintRequest) -> None:
        """See ``Painter``."""
        width, height = request.width_px, request.height_px
        multiple = int(self._model.parts.image_processor.config.vae_scale_factor)
        if width % multiple or height % multiple or not 0 < width * height <= _MAX_PX:
            raise InvalidRequest(
                f"{width}x{height} is no size for {request.model}; sides are multiples of "
                f"{multiple}, up to {_MAX_PX} pixels in all",
                param="size",
            )
        self._model.check(request)

    def begin(self, request: PaintRequest, sketch: Sketch) -> Canvas:
        """See ``Painter``."""
        random = torch.Generator().manual_seed(request.seed)
        factor = self._model.parts.vae_scale_factor
        height, width = request.height_px // factor, request.width_px // factor
        shape = (1, self._coder.config.latent_channels, height, width)
        noise = torch.randn(shape, generator=random, dtype=self._dtype).to(self._device)
        scheduler = self._model.schedule(request.steps or self._traits.steps, noise)
        guidance = self._traits.guidance if request.guidance is None else request.guidance
        with torch.inference_mode():
            condition = self._model.read(request, guidance)
            canvas = Canvas(
                request=request,
                sketch=sketch,
                scheduler=scheduler,
                # Flow matching begins with the noise itself.
                latents=noise * getattr(scheduler, "init_noise_sigma", 1.0),
                noise=noise,
                condition=condition,
                guidance=condition.weight,
                random=random,
                original=None if sketch.source is None else self._latents(request, sketch.source),
                open=None if sketch.mask is None else self._openings(sketch.mask, width, height),
            )
            start(canvas, request.strength)
        return canvas

    def step(self, canvases: Sequence[Canvas]) -> None:
        """See ``Painter``. Pictures of one size share the network's run."""
        by_size: dict[torch.Size, list[Canvas]] = defaultdict(list)
        for canvas in canvases:
            by_size[canvas.latents.shape].append(canvas)
        with torch.inference_mode():
            for alike in by_size.values():
                predictions = guided(alike, self._model.predict)
                for canvas, prediction in zip(alike, predictions, strict=True):
                    canvas.clean = _foreseen(canvas, prediction)
                    canvas.advance(prediction)

    def picture(self, canvas: Canvas) -> PIL.Image.Image:
        """See ``Painter``."""
        shown = canvas.latents if canvas.is_done or canvas.clean is None else canvas.clean
        with torch.inference_mode():
            latents = shown.to(self._dtype) / self._scale + self._shift
            decoded = self._coder.decode(latents).sample
        painted: PIL.Image.Image = self._model.parts.image_processor.postprocess(decoded)[0]
        return finished(canvas, painted)

    def _latents(self, request: PaintRequest, source: PIL.Image.Image) -> Tensor:
        size = (request.width_px, request.height_px)
        values = np.asarray(source.resize(size, PIL.Image.Resampling.LANCZOS), dtype=np.float32)
        pixels = torch.from_numpy(values / 127.5 - 1).permute(2, 0, 1)[None]
        encoded = self._coder.encode(pixels.to(self._device, self._dtype)).latent_dist.mode()
        latents: Tensor = (encoded - self._shift) * self._scale
        return latents

    def _openings(self, mask: PIL.Image.Image, width: int, height: int) -> Tensor:
        small = mask.resize((width, height), PIL.Image.Resampling.BOX)
        values = np.asarray(small, dtype=np.float32) / 255
        return torch.from_numpy(values)[None, None].to(self._device, self._dtype)


def load_pipeline(kind: Any, folder: Path, **options: object) -> Any:
    """A pipeline of this class in the layout of diffusers, on the GPU if there is one."""
    has_gpu = torch.cuda.is_available()
    return kind.from_pretrained(
        folder,
        torch_dtype=torch.bfloat16 if has_gpu else torch.float32,
        # Without the package accelerate.
        low_cpu_mem_usage=False,
        **options,
    ).to("cuda" if has_gpu else "cpu")


def _foreseen(canvas: Canvas, prediction: Tensor) -> Tensor | None:
    """Where flow matching is heading; other schedulers say it by themselves."""
    if not hasattr(canvas.scheduler, "scale_noise"):
        return canvas.clean
    foreseen: Tensor = canvas.latents - canvas.scheduler.sigmas[canvas.done] * prediction
    return foreseen
