"""Models of the Stable Diffusion XL family, turbo ones included, as a painter."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from deployments.painting.canvas import Canvas, Sketch, finished, guided, start
from serve.domain.errors import InvalidRequest
from serve.domain.messages import PaintRequest
from serve.registry.specs import PainterTraits

_MULTIPLE_PX: Final = 8
_MAX_PX: Final = 2048 * 2048


@dataclass(frozen=True, slots=True)
class _Words:
    """A prompt as the network reads it: hidden states, their summary, sizes in pixels."""

    states: Tensor
    summary: Tensor
    sizes: Tensor


@dataclass(frozen=True, slots=True)
class _Condition:
    follow: _Words
    away: _Words


class LatentPainter:
    """Paints in the latents of an autoencoder.

    Args:
        folder: a pipeline in the layout of diffusers.
        traits: how it is used when a request says nothing.
    """

    def __init__(self, folder: Path, traits: PainterTraits) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        self._traits = traits
        self._parts: Any = StableDiffusionXLPipeline.from_pretrained(
            # Without the package accelerate.
            folder,
            torch_dtype=self._dtype,
            low_cpu_mem_usage=False,
            add_watermarker=False,
        ).to(self._device)

    def check(self, request: PaintRequest) -> None:
        """See ``Painter``."""
        width, height = request.width_px, request.height_px
        if width % _MULTIPLE_PX or height % _MULTIPLE_PX or not 0 < width * height <= _MAX_PX:
            raise InvalidRequest(
                f"{width}x{height} is no size for {request.model}; sides are multiples of "
                f"{_MULTIPLE_PX}, up to {_MAX_PX} pixels in all",
                param="size",
            )

    def begin(self, request: PaintRequest, sketch: Sketch) -> Canvas:
        """See ``Painter``."""
        random = torch.Generator().manual_seed(request.seed)
        factor = self._parts.vae_scale_factor
        height, width = request.height_px // factor, request.width_px // factor
        shape = (1, self._parts.unet.config.in_channels, height, width)
        noise = torch.randn(shape, generator=random, dtype=self._dtype).to(self._device)
        scheduler = copy.deepcopy(self._parts.scheduler)
        scheduler.set_timesteps(request.steps or self._traits.steps, device=self._device)
        guidance = self._traits.guidance if request.guidance is None else request.guidance
        with torch.inference_mode():
            canvas = Canvas(
                request=request,
                sketch=sketch,
                scheduler=scheduler,
                latents=noise * scheduler.init_noise_sigma,
                noise=noise,
                condition=self._read(request),
                # Weights of 0 and 1 both mean: without guidance.
                guidance=max(1.0, guidance),
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
                predictions = guided(alike, self._predict)
                for canvas, prediction in zip(alike, predictions, strict=True):
                    canvas.advance(prediction)

    def picture(self, canvas: Canvas) -> PIL.Image.Image:
        """See ``Painter``."""
        shown = canvas.latents if canvas.is_done or canvas.clean is None else canvas.clean
        coder = self._parts.vae
        with torch.inference_mode():
            decoded = coder.decode(shown.to(coder.dtype) / coder.config.scaling_factor).sample
        painted: PIL.Image.Image = self._parts.image_processor.postprocess(decoded)[0]
        return finished(canvas, painted)

    def _predict(self, rows: Sequence[tuple[Canvas, bool]]) -> Tensor:
        words = [
            canvas.condition.follow if follows else canvas.condition.away
            for canvas, follows in rows
        ]
        latents = [
            canvas.scheduler.scale_model_input(canvas.latents, canvas.timestep)
            for canvas, _ in rows
        ]
        predicted: Tensor = self._parts.unet(
            torch.cat(latents),
            torch.stack([canvas.timestep for canvas, _ in rows]),
            encoder_hidden_states=torch.cat([one.states for one in words]),
            added_cond_kwargs={
                "text_embeds": torch.cat([one.summary for one in words]),
                "time_ids": torch.cat([one.sizes for one in words]),
            },
        ).sample
        return predicted

    def _read(self, request: PaintRequest) -> _Condition:
        states, away, summary, summary_away = self._parts.encode_prompt(
            request.prompt,
            device=self._device,
            negative_prompt=request.negative_prompt or None,
            do_classifier_free_guidance=True,
        )
        size = (request.height_px, request.width_px)
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=states.dtype, device=self._device)
        return _Condition(_Words(states, summary, sizes), _Words(away, summary_away, sizes))

    def _latents(self, request: PaintRequest, source: PIL.Image.Image) -> Tensor:
        size = (request.width_px, request.height_px)
        values = np.asarray(source.resize(size, PIL.Image.Resampling.LANCZOS), dtype=np.float32)
        pixels = torch.from_numpy(values / 127.5 - 1).permute(2, 0, 1)[None]
        coder = self._parts.vae
        encoded = coder.encode(pixels.to(self._device, coder.dtype)).latent_dist.mode()
        latents: Tensor = encoded.to(self._dtype) * coder.config.scaling_factor
        return latents

    def _openings(self, mask: PIL.Image.Image, width: int, height: int) -> Tensor:
        small = mask.resize((width, height), PIL.Image.Resampling.BOX)
        values = np.asarray(small, dtype=np.float32) / 255
        return torch.from_numpy(values)[None, None].to(self._device, self._dtype)
