"""The FLUX.1 family: transformers over patches of latents, trained by flow matching.

Those that were distilled from guidance (FLUX.1-dev) are told of it as a number, and know of nothing
to lead away from. The others (FLUX.1-schnell) need none, but are guided like any model if asked to.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor
from torch.nn import functional

from deployments.painting.canvas import Canvas
from deployments.painting.latent_painter import Condition, load_pipeline
from serve.domain.errors import InvalidRequest
from serve.domain.messages import PaintRequest

# Of a prompt, as each kind was trained.
_GUIDED_TOKENS: Final = 512
_PLAIN_TOKENS: Final = 256
_PATCH: Final = 2


@dataclass(frozen=True, slots=True)
class _Words:
    """A prompt as the network reads it: hidden states, their summary, and how strongly to obey."""

    states: Tensor
    summary: Tensor
    guidance: float


class Flux:
    """``LatentModel`` with a transformer, of the pipeline in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.parts: Any = load_pipeline(FluxPipeline, folder)
        self._is_told_guidance = bool(self.parts.transformer.config.guidance_embeds)

    def check(self, request: PaintRequest) -> None:
        """See ``LatentModel``."""
        if self._is_told_guidance and request.negative_prompt:
            raise InvalidRequest(
                f"{request.model} cannot be told what a picture is not to show",
                param="negative_prompt",
            )

    def schedule(self, n_steps: int, noise: Tensor) -> Any:
        """See ``LatentModel``. Bigger pictures are given more of the steps at much noise."""
        scheduler = copy.deepcopy(self.parts.scheduler)
        config = scheduler.config
        shift = calculate_shift(
            noise.shape[-2] * noise.shape[-1] // _PATCH**2,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        sigmas = np.linspace(1.0, 1 / n_steps, n_steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=shift, device=noise.device)
        return scheduler

    def read(self, request: PaintRequest, guidance: float) -> Condition:
        """See ``LatentModel``."""
        follow = self._words(request.prompt, guidance)
        if self._is_told_guidance or guidance <= 1.0:
            return Condition(follow, away=None, weight=1.0)
        return Condition(follow, self._words(request.negative_prompt, guidance), guidance)

    def predict(self, rows: Sequence[tuple[Canvas, bool]]) -> Tensor:
        """See ``LatentModel``."""
        words: list[_Words] = [
            canvas.condition.follow if follows else canvas.condition.away
            for canvas, follows in rows
        ]
        latents = torch.cat([canvas.latents for canvas, _ in rows])
        times = torch.stack([canvas.timestep for canvas, _ in rows])
        states = torch.cat([one.states for one in words])
        patches = functional.pixel_unshuffle(latents, _PATCH)
        grid = patches.shape[-2:]
        places = torch.cartesian_prod(torch.arange(1), *(torch.arange(side) for side in grid))
        guidance = [one.guidance for one in words]
        predicted = self.parts.transformer(
            hidden_states=patches.flatten(2).transpose(1, 2),
            timestep=times.to(latents.dtype) / 1000,
            guidance=torch.tensor(guidance, device=latents.device)
            if self._is_told_guidance
            else None,
            pooled_projections=torch.cat([one.summary for one in words]),
            encoder_hidden_states=states,
            txt_ids=states.new_zeros(states.shape[1], 3),
            img_ids=places.to(latents),
        ).sample
        return functional.pixel_shuffle(predicted.transpose(1, 2).unflatten(2, grid), _PATCH)

    def _words(self, text: str, guidance: float) -> _Words:
        states, summary, _ = self.parts.encode_prompt(
            text,
            None,
            device=self.parts.device,
            max_sequence_length=_GUIDED_TOKENS if self._is_told_guidance else _PLAIN_TOKENS,
        )
        return _Words(states, summary, guidance)
