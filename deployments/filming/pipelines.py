"""Clips by the open video pipelines of diffusers, stopped and resumed between any two steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import PIL.Image
import torch
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXImageToVideoPipeline,
    LTXPipeline,
)
from torch import Tensor

from deployments.filming.film import OnStep, Reached, Resume
from serve.domain.errors import InvalidRequest

if TYPE_CHECKING:
    from serve.domain.messages import FilmRequest

_STEPS: Final = 40
# Sizes and lengths that every one of these models can make.
_SIDE_STEP_PX: Final = 32
_FRAME_STEP: Final = 8


class LateScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc] # untyped base
    """Euler's steps, the first ``n_skipped`` of which are taken already.

    A step depends on nothing but the latents, so those and their number are the whole state.
    """

    n_skipped: int = 0
    timesteps: Tensor
    sigmas: Tensor

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """As its base says; then only what is left."""
        super().set_timesteps(num_inference_steps, device, sigmas, mu, timesteps)
        self.timesteps = self.timesteps[self.n_skipped :]
        self.sigmas = self.sigmas[self.n_skipped :]


class PipelineFilm:
    """``FilmModel`` of a text-to-video pipeline for flow matching: LTX-Video, Wan and their like.

    Args:
        pipeline: Loaded, on its device.
    """

    def __init__(self, pipeline: Any) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline

    @classmethod
    def load(cls, folder: Path) -> PipelineFilm:
        """One in the layout of diffusers, in bfloat16, on the accelerator if there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
        return cls(pipeline.to(device))

    def check(self, request: FilmRequest) -> None:
        """See ``FilmModel``."""
        if request.source is not None and not isinstance(self._pipeline, LTXPipeline):
            raise InvalidRequest(
                f"{request.model} films from words only; leave the picture out",
                param="input_reference",
            )
        if min(request.width_px, request.height_px) < _SIDE_STEP_PX:
            raise InvalidRequest(f"a side must have at least {_SIDE_STEP_PX} pixels", param="size")

    def film(
        self,
        request: FilmRequest,
        source: PIL.Image.Image | None,
        resume: Resume | None,
        on_step: OnStep,
    ) -> Iterator[PIL.Image.Image]:
        """See ``FilmModel``. Draws no frame before the last step: that takes the decoder."""
        steps = request.steps or _STEPS
        n_skipped = 0 if resume is None else resume.done
        pipeline = self._pipeline
        if source is not None:
            pipeline = LTXImageToVideoPipeline.from_pipe(pipeline)
        scheduler = _late_scheduler(pipeline.scheduler.config)
        scheduler.n_skipped = n_skipped
        pipeline.scheduler = scheduler

        def after(_: Any, index: int, __: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
            on_step(Reached(n_skipped + index + 1, steps, state["latents"]))
            return {}

        size = (request.width_px, request.height_px)
        width, height = (_down(side, _SIDE_STEP_PX) for side in size)
        frames = pipeline(
            prompt=request.prompt,
            width=width,
            height=height,
            num_frames=-(-(request.n_frames - 1) // _FRAME_STEP) * _FRAME_STEP + 1,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(request.seed),
            latents=None if resume is None else resume.latents.to(pipeline.device),
            callback_on_step_end=after,
            output_type="pil",
            **({} if source is None else {"image": source}),
        ).frames[0]
        return (
            frame if frame.size == size else frame.resize(size, PIL.Image.Resampling.LANCZOS)
            for frame in frames[: request.n_frames]
        )


def _late_scheduler(config: Any) -> LateScheduler:
    """For the noise levels that a pipeline's own scheduler would take."""
    # Wan's scheduler calls the same thing by another name.
    shift = {"shift": config["flow_shift"]} if config.get("flow_shift") else {}
    made: LateScheduler = LateScheduler.from_config(config, **shift)
    return made


def _down(side: int, step: int) -> int:
    return max(step, side // step * step)
