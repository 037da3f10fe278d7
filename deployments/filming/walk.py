"""Clips by a model that paints pictures: the noise they are painted from walks in a circle.

Neighbouring frames start from nearly the same noise, so they become nearly the same picture, and
the clip ends where it began. It is movement, not a story: the honest small default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from deployments.filming.film import OnStep, Reached, Resume
from deployments.painting.canvas import Canvas, Painter, Sketch, noised
from serve.domain.errors import InvalidRequest
from serve.domain.messages import PaintRequest

if TYPE_CHECKING:
    from serve.domain.messages import FilmRequest

_BATCH: Final = 16
# How far the walk leads from its middle: 0 stands still, 1 forgets it.
_RADIUS: Final = 0.25
# How much of a source may change on the way.
_STRENGTH: Final = 0.55
_SOURCE_FADES_S: Final = 1.0
# What such painters leave around their subject.
_PAPER: Final = "white"
_MAX_FRAMES: Final = 256


class WalkingPainter:
    """``FilmModel`` on top of a ``Painter``, which paints one picture for every frame.

    Args:
        painter: It paints squares.
        side_px: Of the squares.
    """

    def __init__(self, painter: Painter, *, side_px: int = 256) -> None:
        self._painter = painter
        self._side_px = side_px

    def check(self, request: FilmRequest) -> None:
        """See ``FilmModel``."""
        if not 1 <= request.n_frames <= _MAX_FRAMES:
            raise InvalidRequest(
                f"{request.n_frames} frames; {request.model} makes from 1 to {_MAX_FRAMES}",
                param="seconds",
            )
        self._painter.check(self._still(request))

    def film(
        self,
        request: FilmRequest,
        source: PIL.Image.Image | None,
        resume: Resume | None,
        on_step: OnStep,
    ) -> Iterator[PIL.Image.Image]:
        """See ``FilmModel``."""
        canvases = self._canvases(request, source)
        if resume is not None:
            _go_on(canvases, resume)
        first = canvases[0]
        look = partial(self._painter.picture, canvases[len(canvases) // 2])
        while not first.is_done:
            for start in range(0, len(canvases), _BATCH):
                self._painter.step(canvases[start : start + _BATCH])
            latents = torch.cat([canvas.latents for canvas in canvases])
            on_step(Reached(first.done, first.of_steps, latents, look))
        return self._frames(request, source, canvases)

    def _still(self, request: FilmRequest) -> PaintRequest:
        return PaintRequest(
            prompt=request.prompt,
            model=request.model,
            width_px=self._side_px,
            height_px=self._side_px,
            seed=request.seed,
            steps=request.steps,
            strength=_STRENGTH,
        )

    def _canvases(self, request: FilmRequest, source: PIL.Image.Image | None) -> list[Canvas]:
        sketch = Sketch(source=None if source is None else _square(source, self._side_px))
        still = self._still(request)
        canvases = [self._painter.begin(still, sketch) for _ in range(request.n_frames)]
        for canvas, noise in zip(canvases, _circle(canvases[0].noise, request), strict=True):
            canvas.noise = noise
            canvas.latents = noise
            if canvas.original is not None:
                canvas.latents = noised(canvas.scheduler, canvas.original, noise)
        return canvases

    def _frames(
        self, request: FilmRequest, source: PIL.Image.Image | None, canvases: list[Canvas]
    ) -> Iterator[PIL.Image.Image]:
        size = (request.width_px, request.height_px)
        n_fading = max(1, round(_SOURCE_FADES_S * request.frames_per_s))
        for index, canvas in enumerate(canvases):
            painted = self._painter.picture(canvas)
            if source is None:
                yield PIL.ImageOps.pad(painted, size, PIL.Image.Resampling.BICUBIC, _PAPER)
                continue
            frame = _covering(painted, size)
            if index < n_fading:
                frame = PIL.Image.blend(_covering(source, size), frame, index / n_fading)
            yield frame


def _circle(middle: Tensor, request: FilmRequest) -> Iterator[Tensor]:
    """Noise for each frame: as far from each other as they are in time, as loud as all noise."""
    random = torch.Generator().manual_seed(request.seed + 1)
    east, north = (torch.randn(middle.shape, generator=random) for _ in range(2))
    for index in range(request.n_frames):
        angle = 2 * math.pi * index / request.n_frames
        aside = math.cos(angle) * east + math.sin(angle) * north
        yield math.sqrt(1 - _RADIUS**2) * middle + _RADIUS * aside


def _go_on(canvases: list[Canvas], resume: Resume) -> None:
    for canvas, latents in zip(canvases, resume.latents.split(1), strict=True):
        canvas.latents = latents
        canvas.done = resume.done
        canvas.scheduler.set_begin_index(resume.done)


def _square(picture: PIL.Image.Image, side_px: int) -> PIL.Image.Image:
    return _covering(picture, (side_px, side_px))


def _covering(picture: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
    """The middle of the picture, enlarged until it fills ``size``."""
    width, height = size
    scale = max(width / picture.width, height / picture.height)
    cut_width, cut_height = width / scale, height / scale
    left, top = (picture.width - cut_width) / 2, (picture.height - cut_height) / 2
    box = (left, top, left + cut_width, top + cut_height)
    return picture.convert("RGB").resize(size, PIL.Image.Resampling.BICUBIC, box=box)
