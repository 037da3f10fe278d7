"""One picture on its way from noise, whatever model paints it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import PIL.Image
import torch
from torch import Tensor

from serve.domain.messages import PaintRequest


@dataclass(slots=True, kw_only=True)
class Sketch:
    """What a new picture starts from, pixels as they were uploaded: upright, in sRGB.

    ``mask`` is of the picture's size, mode "L", 255 where it is to be painted.
    """

    source: PIL.Image.Image | None = None
    mask: PIL.Image.Image | None = None


@dataclass(slots=True, kw_only=True)
class Canvas:
    """One picture being painted: ``latents`` has shape ``(1, channels, height, width)``.

    ``scheduler`` is this picture's own, begun at ``done``. ``original`` is the source in latents
    and ``open``, of the same height and width, 1 where it is to be painted over. ``clean`` is what
    the last step thought the picture will become.
    """

    request: PaintRequest
    sketch: Sketch
    scheduler: Any
    latents: Tensor
    noise: Tensor
    condition: Any
    guidance: float
    random: torch.Generator
    done: int = 0
    clean: Tensor | None = None
    original: Tensor | None = None
    open: Tensor | None = None

    @property
    def of_steps(self) -> int:
        """How many steps there are in all, those that a source saves included."""
        return len(self.scheduler.timesteps)

    @property
    def is_done(self) -> bool:
        """There is no step left."""
        return self.done >= self.of_steps

    @property
    def timestep(self) -> Tensor:
        """Where the next step begins, as the scheduler counts."""
        timestep: Tensor = self.scheduler.timesteps[self.done]
        return timestep

    def advance(self, prediction: Tensor) -> None:
        """One step of the scheduler; what the mask protects follows the source."""
        stepped = self.scheduler.step(
            prediction, self.timestep, self.latents, generator=self.random
        )
        self.latents = stepped.prev_sample
        # Some schedulers say it; for the others, the painter does.
        self.clean = getattr(stepped, "pred_original_sample", self.clean)
        self.done += 1
        if self.open is not None and self.original is not None:
            kept = noised(self.scheduler, self.original, self.noise)
            self.latents = self.open * self.latents + (1 - self.open) * kept


class Painter(Protocol):
    """A model and how it is fed. Used by one thread at a time."""

    def check(self, request: PaintRequest) -> None:
        """Raises ``InvalidRequest`` when this model cannot paint that."""
        ...

    def begin(self, request: PaintRequest, sketch: Sketch) -> Canvas:
        """A canvas full of noise, or of as much of the source as is to stay."""
        ...

    def step(self, canvases: Sequence[Canvas]) -> None:
        """One step for each; none may be done. A picture does not depend on its company."""
        ...

    def picture(self, canvas: Canvas) -> PIL.Image.Image:
        """What it looks like now, of the size that was asked for."""
        ...


def guided(
    canvases: Sequence[Canvas], predict: Callable[[Sequence[tuple[Canvas, bool]]], Tensor]
) -> list[Tensor]:
    """A prediction for each canvas, led away from what its prompt is not.

    ``predict`` gives one row for each pair of a canvas and whether to follow its prompt.
    """
    led = [canvas for canvas in canvases if canvas.guidance != 1.0]
    rows = predict([*((canvas, True) for canvas in canvases), *((canvas, False) for canvas in led)])
    away_of = {id(canvas): len(canvases) + row for row, canvas in enumerate(led)}
    wanted = [rows[row : row + 1] for row in range(len(rows))]
    away = [wanted[away_of.get(id(canvas), row)] for row, canvas in enumerate(canvases)]
    return [
        away_from + canvas.guidance * (follow - away_from)
        for canvas, follow, away_from in zip(canvases, wanted, away, strict=False)
    ]


def start(canvas: Canvas, strength: float) -> None:
    """Let as much of the original be as ``strength`` leaves: fewer steps, from less noise."""
    if canvas.original is None:
        return
    n_steps = max(1, round(canvas.of_steps * strength))
    canvas.done = canvas.of_steps - n_steps
    canvas.scheduler.set_begin_index(canvas.done)
    canvas.latents = noised(canvas.scheduler, canvas.original, canvas.noise)


def noised(scheduler: Any, original: Tensor, noise: Tensor) -> Tensor:
    """The original with the noise of the scheduler's next step."""
    # Their index of the next step counts, once they have begun; the timestep is only for others.
    anywhere = scheduler.timesteps[:1]
    mixed: Tensor = (
        scheduler.scale_noise(original, anywhere, noise)
        if hasattr(scheduler, "scale_noise")
        else scheduler.add_noise(original, noise, anywhere)
    )
    return mixed


def finished(canvas: Canvas, painted: PIL.Image.Image) -> PIL.Image.Image:
    """The picture at its size, with every protected pixel as it was."""
    request, sketch = canvas.request, canvas.sketch
    size = (request.width_px, request.height_px)
    if painted.size != size:
        painted = painted.resize(size, PIL.Image.Resampling.LANCZOS)
    if sketch.source is None or sketch.mask is None:
        return painted
    source = sketch.source.resize(size, PIL.Image.Resampling.LANCZOS)
    return PIL.Image.composite(painted, source, sketch.mask.resize(size))
