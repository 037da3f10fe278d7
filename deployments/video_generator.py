"""Prompts, and pictures, to clips: one at a time, with a checkpoint after its steps."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import PIL.Image

from serve.domain.errors import BrokenMedia, InvalidRequest
from serve.domain.messages import Filmed, FilmLook, FilmRequest, FilmStep

if TYPE_CHECKING:
    from deployments.filming.film import FilmModel, Reached, Resume
    from serve.domain.ports import ObjectStore
    from serve.registry.specs import ModelSpec

MadeT = TypeVar("MadeT")

_MAX_STEPS: Final = 100
_MAX_SIDE_PX: Final = 2048
_CHECKPOINT_PERIOD_S: Final = 2.0
_PREVIEW_PERIOD_S: Final = 1.0
_PREVIEW_SIDE_PX: Final = 256


class _Stopped(Exception):
    """Nobody waits for this clip any more."""


class VideoGeneratorReplica:
    """Films one clip at a time; others wait.

    Args:
        spec: The model that films.
        load: Called once, for the model.
        open_store: Called once, where sources are read from and checkpoints left.
        checkpoint_period_s: How much work may be lost with a replica.
    """

    def __init__(
        self,
        spec: ModelSpec,
        load: Callable[[], FilmModel],
        open_store: Callable[[], ObjectStore],
        *,
        checkpoint_period_s: float = _CHECKPOINT_PERIOD_S,
    ) -> None:
        self._spec = spec
        self._model = load()
        self._store = open_store()
        self._checkpoint_period_s = checkpoint_period_s
        # One thread: the model is used by one at a time.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="film")

    async def film(self, request: FilmRequest) -> AsyncGenerator[FilmStep | Filmed, None]:
        """Make one clip. Closing this stops it at the next step.

        Raises:
            InvalidRequest: The model cannot film that.
            BrokenMedia: The source cannot be decoded.
        """
        from deployments.filming.checkpoints import FilmCheckpoint

        _check(request)
        self._model.check(request)
        source = await self._source(request)
        checkpoint = FilmCheckpoint(request, self._spec.revision, self._store)
        resume = await checkpoint.load()
        saved_s = shown_s = time.monotonic()
        work = _Work(asyncio.get_running_loop())
        filming = work.begin(self._worker, partial(self._film, request, source, resume, work))
        try:
            while (reached := await work.next_step()) is not None:
                now_s = time.monotonic()
                if now_s - saved_s >= self._checkpoint_period_s:
                    await checkpoint.save(reached)
                    saved_s = now_s
                png = b""
                if now_s - shown_s >= _PREVIEW_PERIOD_S and reached.look is not None:
                    png, shown_s = _png(reached.look()), now_s
                yield FilmStep(
                    step=reached.done,
                    of_steps=reached.of_steps,
                    png=png,
                    resumed=resume is not None,
                )
            yield await filming
        finally:
            work.stop()

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    async def _source(self, request: FilmRequest) -> PIL.Image.Image | None:
        if request.source is None:
            return None
        content = await self._store.get(request.source.storage_key)
        try:
            with PIL.Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
                return opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as exc:
            raise BrokenMedia("the picture cannot be decoded", param="input_reference") from exc

    def _film(
        self,
        request: FilmRequest,
        source: PIL.Image.Image | None,
        resume: Resume | None,
        work: _Work,
    ) -> Filmed:
        from deployments.filming.mp4 import mp4_of

        started_s = time.monotonic()
        n_steps = 0 if resume is None else resume.done

        def count(reached: Reached) -> None:
            nonlocal n_steps
            n_steps = reached.done
            work.on_step(reached)

        looks: list[FilmLook] = []

        def passing(numbered: tuple[int, PIL.Image.Image]) -> PIL.Image.Image:
            number, frame = numbered
            if number % request.frames_per_s == 0:
                looks.append(FilmLook(number / request.frames_per_s, _png(frame.copy())))
            return work.unless_stopped(frame)

        frames = self._model.film(request, source, resume, count)
        mp4 = mp4_of(map(passing, enumerate(frames)), request.frames_per_s)
        return Filmed(
            mp4=mp4,
            looks=tuple(looks),
            width_px=request.width_px,
            height_px=request.height_px,
            duration_s=request.n_frames / request.frames_per_s,
            seed=request.seed,
            steps=n_steps,
            seconds=time.monotonic() - started_s,
        )


class _Work:
    """A clip in the worker's thread, and what it tells the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reached: asyncio.Queue[Reached | None] = asyncio.Queue()
        self._is_stopped = threading.Event()

    def begin(
        self, worker: ThreadPoolExecutor, film: Callable[[], Filmed]
    ) -> asyncio.Future[Filmed]:
        filming = self._loop.run_in_executor(worker, film)
        filming.add_done_callback(self._end)
        return filming

    def on_step(self, reached: Reached) -> None:
        """Called by the thread. Raises when nobody waits any more."""
        self._loop.call_soon_threadsafe(self._reached.put_nowait, self.unless_stopped(reached))

    def unless_stopped(self, made: MadeT) -> MadeT:
        """Called by the thread, with what it made. Raises when nobody waits any more."""
        if self._is_stopped.is_set():
            raise _Stopped
        return made

    async def next_step(self) -> Reached | None:
        """The next one; None after the last."""
        return await self._reached.get()

    def stop(self) -> None:
        self._is_stopped.set()

    def _end(self, filming: asyncio.Future[Filmed]) -> None:
        # Who left asks nobody how it went.
        if not filming.cancelled():
            filming.exception()
        self._reached.put_nowait(None)


def _check(request: FilmRequest) -> None:
    if not request.prompt.strip():
        raise InvalidRequest("the prompt is empty; say what to film", param="prompt")
    if request.steps is not None and not 1 <= request.steps <= _MAX_STEPS:
        raise InvalidRequest(
            f"{request.steps} steps; from 1 to {_MAX_STEPS} are possible", param="steps"
        )
    sides = (request.width_px, request.height_px)
    if any(side % 2 or side > _MAX_SIDE_PX for side in sides):
        raise InvalidRequest(
            f"both sides of the size must be even and at most {_MAX_SIDE_PX}", param="size"
        )


def _png(picture: PIL.Image.Image) -> bytes:
    picture.thumbnail((_PREVIEW_SIDE_PX, _PREVIEW_SIDE_PX))
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=3)
    return written.getvalue()
