"""The Stable Diffusion XL family, turbo ones included."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from deployments.painting.canvas import Canvas
from deployments.painting.latent_painter import Condition, load_pipeline
from serve.domain.messages import PaintRequest


@dataclass(frozen=True, slots=True)
class _Words:
    """A prompt as the network reads it: hidden states, their summary, sizes in pixels."""

    states: Tensor
    summary: Tensor
    sizes: Tensor


class StableDiffusionXL:
    """``LatentModel`` with a UNet, of the pipeline in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.parts: Any = load_pipeline(StableDiffusionXLPipeline, folder, add_watermarker=False)

    def check(self, request: PaintRequest) -> None:
        """See ``LatentModel``."""

    def schedule(self, n_steps: int, noise: Tensor) -> Any:
        """See ``LatentModel``."""
        scheduler = copy.deepcopy(self.parts.scheduler)
        scheduler.set_timesteps(n_steps, device=noise.device)
        return scheduler

    def read(self, request: PaintRequest, guidance: float) -> Condition:
        """See ``LatentModel``."""
        device = self.parts.device
        states, away, summary, summary_away = self.parts.encode_prompt(
            request.prompt,
            device=device,
            negative_prompt=request.negative_prompt or None,
            do_classifier_free_guidance=True,
        )
        size = (request.height_px, request.width_px)
        sizes = torch.tensor([[*size, 0, 0, *size]], dtype=states.dtype, device=device)
        return Condition(
            follow=_Words(states, summary, sizes),
            away=_Words(away, summary_away, sizes),
            # Weights of 0 and 1 both mean: without guidance.
            weight=max(1.0, guidance),
        )

    def predict(self, rows: Sequence[tuple[Canvas, bool]]) -> Tensor:
        """See ``LatentModel``."""
        words: list[_Words] = [
            canvas.condition.follow if follows else canvas.condition.away
            for canvas, follows in rows
        ]
        latents = [
            canvas.scheduler.scale_model_input(canvas.latents, canvas.timestep)
            for canvas, _ in rows
        ]
        predicted: Tensor = self.parts.unet(
            torch.cat(latents),
            torch.stack([canvas.timestep for canvas, _ in rows]),
            encoder_hidden_states=torch.cat([one.states for one in words]),
            added_cond_kwargs={
                "text_embeds": torch.cat([one.summary for one in words]),
                "time_ids": torch.cat([one.sizes for one in words]),
            },
        ).sample
        return predicted
