"""Prompts, and pictures, to pictures: one step at a time for all that are being painted."""

from __future__ import annotations

import asyncio
import io
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import PIL.Image

from deployments.vision.pictures import decode_picture
from serve.domain.errors import BrokenMedia, InvalidRequest
from serve.domain.messages import Painted, PaintRequest, PaintStep

if TYPE_CHECKING:
    from deployments.painting.canvas import Canvas, Painter
    from serve.domain.media import MediaRef
    from serve.domain.ports import ObjectStore
    from serve.registry.specs import ModelSpec

_MAX_STEPS: Final = 100
ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class _Work:
    """A picture, and what there is to tell about it."""

    canvas: Canvas
    previews: frozenset[int]
    started_s: float
    news: deque[PaintStep | Painted] = field(default_factory=deque)


class ImageGeneratorReplica:
    """Paints several pictures together; new ones join, and ended ones leave, between two steps.

    Args:
        spec: The model that paints.
        load: Called once, for the model.
        open_store: Called once, where sources and masks are read from.
        max_batch: How many pictures share a step; others wait for their turn.
    """

    def __init__(
        self,
        spec: ModelSpec,
        load: Callable[[], Painter],
        open_store: Callable[[], ObjectStore],
        *,
        max_batch: int = 8,
    ) -> None:
        self._spec = spec
        self._painter = load()
        self._store = open_store()
        self._max_batch = max_batch
        self._works: list[_Work] = []
        self._free = asyncio.Lock()
        # One thread: the model is used by one at a time.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="paint")

    async def paint(self, request: PaintRequest) -> AsyncGenerator[PaintStep | Painted, None]:
        """Make one picture. Closing this takes it out of the next step.

        Raises:
            InvalidRequest: The model cannot paint that.
            BrokenMedia: The source or the mask cannot be decoded.
        """
        _check(request)
        self._painter.check(request)
        source = await self._read(request.source)
        mask = await self._read(request.mask)
        work = await self._work(partial(self._begin, request, source, mask))
        self._works.append(work)
        try:
            while True:
                while work.news:
                    news = work.news.popleft()
                    yield news
                    if isinstance(news, Painted):
                        return
                # Whoever finds the model free makes a step for everybody.
                async with self._free:
                    if not work.news:
                        await self._work(self._step)
        finally:
            self._works.remove(work)

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    async def _read(self, media: MediaRef | None) -> bytes | None:
        return None if media is None else await self._store.get(media.storage_key)

    async def _work(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _begin(self, request: PaintRequest, source: bytes | None, mask: bytes | None) -> _Work:
        from deployments.painting.canvas import Sketch

        started_s = time.monotonic()
        sketch = Sketch()
        if source is not None:
            sketch.source = decode_picture(source)
        if mask is not None:
            sketch.mask = _to_paint(mask)
            if sketch.source is None or sketch.mask.size != sketch.source.size:
                raise InvalidRequest("the mask must be of the picture's size", param="mask")
        canvas = self._painter.begin(request, sketch)
        return _Work(canvas, _previewed(canvas), started_s)

    def _step(self) -> None:
        # What an interrupted caller began may have come to its end since.
        works = [work for work in self._works if not work.canvas.is_done][: self._max_batch]
        if not works:
            return
        self._painter.step([work.canvas for work in works])
        for work in works:
            work.news.append(self._news(work, n_batched=len(works)))

    def _news(self, work: _Work, *, n_batched: int) -> PaintStep | Painted:
        canvas, request = work.canvas, work.canvas.request
        if not canvas.is_done:
            png = self._png(canvas) if canvas.done in work.previews else b""
            return PaintStep(step=canvas.done, of_steps=canvas.of_steps, png=png)
        return Painted(
            png=self._png(canvas),
            width_px=request.width_px,
            height_px=request.height_px,
            seed=request.seed,
            steps=canvas.of_steps,
            seconds=time.monotonic() - work.started_s,
            n_batched=n_batched,
        )

    def _png(self, canvas: Canvas) -> bytes:
        written = io.BytesIO()
        self._painter.picture(canvas).save(written, "PNG", compress_level=3)
        return written.getvalue()


def _check(request: PaintRequest) -> None:
    if not request.prompt.strip():
        raise InvalidRequest("the prompt is empty; say what to paint", param="prompt")
    if request.steps is not None and not 1 <= request.steps <= _MAX_STEPS:
        raise InvalidRequest(
            f"{request.steps} steps; from 1 to {_MAX_STEPS} are possible", param="steps"
        )
    if not 0.0 < request.strength <= 1.0:
        raise InvalidRequest("strength must be above 0 and at most 1", param="strength")
    if request.mask is not None and request.source is None:
        raise InvalidRequest("a mask needs a picture that it belongs to", param="mask")


def _previewed(canvas: Canvas) -> frozenset[int]:
    """After which steps to show the picture: spread evenly, never the last."""
    left = canvas.of_steps - canvas.done
    n_shown = min(canvas.request.preview_steps, left - 1)
    return frozenset(canvas.done + left * (k + 1) // (n_shown + 1) for k in range(n_shown))


def _to_paint(content: bytes) -> PIL.Image.Image:
    """255 where the mask is transparent."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=("PNG",)) as mask:
            if "A" in mask.getbands():
                return mask.getchannel("A").point(lambda alpha: 255 - alpha)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as exc:
        raise BrokenMedia("the mask cannot be decoded", param="mask") from exc
    raise InvalidRequest(
        "the mask has no transparent part; send a PNG that is transparent where to paint",
        param="mask",
    )
