"""Videos to perceptions: shots by the image encoder, sound by the audio encoder, side by side.

And to features, when the generator has a tower for frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from blake3 import blake3

from deployments.vision.pictures import decode_picture
from deployments.watching.decoding import VideoDecoder
from deployments.watching.parts import Glimpse, Sound, Tick
from serve.domain.errors import BrokenMedia, EngineDead, NotFound, PolymodalError, UnknownModel
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    Box,
    FeatureRef,
    Progress,
    Shot,
    TranscriptionOptions,
    TranscriptSegment,
    VideoPerception,
)
from serve.domain.timecode import clock

if TYPE_CHECKING:
    import PIL.Image

    from deployments.vision_tower import FrameSampling
    from serve.domain.ports import AudioEncoder, ImageEncoder, ObjectStore

# One is looked at while the next is on its way.
_LOOKS_AT_ONCE = 2
# Whoever waits hears at least this often that the work goes on.
_PULSE_S = 2.0
# How much of the whole is looking, when there is something to hear too.
_LOOKING_SHARE = 0.7
_NOTE_CHARACTERS = 80


class FrameFeatureMaker(Protocol):
    """The vision tower of a generator that watches for itself."""

    @property
    def sampling(self) -> FrameSampling:
        """Which frames it wants."""
        ...

    def find_video(self, media: MediaRef) -> FeatureRef | None:
        """The video's features, if the generator finds them already."""
        ...

    def video_features(self, frames: Sequence[PIL.Image.Image], media: MediaRef) -> FeatureRef:
        """Compute the video's features and put them where the generator finds them."""
        ...


class VideoEncoderReplica:
    """Watches videos; the encoders that it asks do the work.

    Args:
        revision: What answers; it changes with every model that is asked.
        open_store: Called once; videos are read from it, and frames and sound lie in it while
            they are looked at and listened to.
        decoder: Makes frames and sound of videos.
        images: Serve's handle to the image encoder.
        as_image_encoder: Makes a client of that handle.
        sounds: Serve's handle to the audio encoder.
        as_audio_encoder: Makes a client of that handle.
        tower: Called once, for generators that watch for themselves.
    """

    def __init__(
        self,
        revision: str,
        open_store: Callable[[], ObjectStore],
        decoder: Callable[[], VideoDecoder],
        images: Any,  # a handle is untyped
        as_image_encoder: Callable[[Any], ImageEncoder],
        sounds: Any,
        as_audio_encoder: Callable[[Any], AudioEncoder],
        tower: Callable[[], FrameFeatureMaker] | None = None,
    ) -> None:
        self._revision = revision
        self._store = open_store()
        self._decoder = decoder()
        self._images = as_image_encoder(images)
        self._sounds = as_audio_encoder(sounds)
        self._tower = tower() if tower is not None else None
        # One thread: a tower uses the cores itself.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watch")

    async def perceive(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Progress | VideoPerception, None]:
        """Watch it: a step with every shot seen and with what was said, the perception last.

        Closing this stops everything that was begun.

        Raises:
            BrokenMedia: It cannot be decoded.
        """
        watching = _Watching(media, options, self._store, self._images, self._sounds)
        content = await self._store.get(media.storage_key)
        work = asyncio.get_running_loop().create_task(
            watching.watch(self._decoder.parts(media, content))
        )
        del content
        done = 0.0
        work.add_done_callback(lambda _: watching.news.set())
        try:
            while not work.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PULSE_S):
                        await watching.news.wait()
                watching.news.clear()
                if not work.done():
                    # That there is sound, and more to do, shows only after the first frame.
                    done = max(done, watching.done)
                    yield Progress(done, watching.note)
            yield work.result()
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """What the generator's own tower makes of the frames, stored for it.

        Raises:
            BrokenMedia: The video cannot be decoded.
            UnknownModel: No generator here watches for itself.
        """
        tower = self._tower
        if tower is None:
            raise UnknownModel(f"{model!r} takes no videos here, only text", param="model")
        loop = asyncio.get_running_loop()
        known = await loop.run_in_executor(self._worker, tower.find_video, media)
        if known is not None:
            return known
        content = await self._store.get(media.storage_key)
        interval_s = tower.sampling.interval_s(media.duration_s or 0.0)
        frames = [jpeg async for jpeg in self._decoder.frames(media, content, interval_s)]
        return await loop.run_in_executor(
            self._worker,
            lambda: tower.video_features([decode_picture(jpeg) for jpeg in frames], media),
        )

    async def ping(self) -> str:
        """The revision that answers."""
        return self._revision


@dataclass(slots=True)
class _Watching:
    """One video being watched."""

    media: MediaRef
    options: TranscriptionOptions
    store: ObjectStore
    images: ImageEncoder
    sounds: AudioEncoder
    news: asyncio.Event = field(default_factory=asyncio.Event)
    note: str = ""
    has_sound: bool = False
    heard: float = 0.0
    seen_s: float = 0.0
    end_s: float = 0.0
    shots: dict[float, Shot] = field(default_factory=dict)
    sound: AudioPerception | None = None

    @property
    def done(self) -> float:
        """From 0 to 1."""
        looked = min(self.seen_s / max(self.end_s, self.media.duration_s or 0.0, 0.1), 1.0)
        if not self.has_sound:
            return looked
        return looked * _LOOKING_SHARE + self.heard * (1 - _LOOKING_SHARE)

    async def watch(
        self, parts: AsyncGenerator[tuple[Sound | Glimpse | Tick, bytes], None]
    ) -> VideoPerception:
        started_s = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group, aclosing(parts):
                await self._follow(parts, group)
        except* PolymodalError as failed:
            raise _first(failed) from None
        return self._perception(time.perf_counter() - started_s)

    async def _follow(
        self,
        parts: AsyncGenerator[tuple[Sound | Glimpse | Tick, bytes], None],
        group: asyncio.TaskGroup,
    ) -> None:
        gate = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def look(glimpse: Glimpse, jpeg: bytes) -> None:
            try:
                shot = await self._look(glimpse, jpeg)
                self.shots[shot.start_s] = shot
                self.seen_s = max(self.seen_s, shot.frame_s)
                self._tell(f"{clock(shot.frame_s)} {shot.description}")
            finally:
                gate.release()

        async for said, content in parts:
            match said:
                case Sound():
                    self.has_sound = True
                    group.create_task(self._listen(said, content))
                case Glimpse():
                    # Decoding waits here, so that few frames are ever in memory.
                    await gate.acquire()
                    group.create_task(look(said, content))
                case Tick():
                    self.end_s = said.at_s

    async def _look(self, glimpse: Glimpse, jpeg: bytes) -> Shot:
        name = f"frame-{round(glimpse.at_s * 1000)}"
        async with self._lent(name, jpeg, MediaKind.IMAGE, "image/jpeg") as frame:
            seen = await self.images.perceive(frame)
        return Shot(
            start_s=glimpse.start_s,
            end_s=glimpse.at_s,
            frame_s=glimpse.at_s,
            description=seen.description,
            labels=seen.labels,
            objects=tuple(
                replace(found, box=_scaled(found.box, glimpse.scale)) for found in seen.objects
            ),
            text_lines=tuple(
                replace(line, box=_scaled(line.box, glimpse.scale)) for line in seen.text_lines
            ),
            vector=seen.vector,
        )

    async def _listen(self, sound: Sound, flac: bytes) -> None:
        async with self._lent("sound", flac, MediaKind.AUDIO, "audio/flac") as lent:
            recording = replace(lent, duration_s=sound.duration_s)
            async with aclosing(self.sounds.listen(recording, self.options)) as steps:
                async for step in steps:
                    match step:
                        case TranscriptSegment():
                            at_s = step.start_s + sound.starts_s
                            self._tell(f'{clock(at_s)} "{step.text.strip()}"')
                        case Progress():
                            self.heard = step.done
                        case AudioPerception():
                            self.sound = _later(step, sound.starts_s)
                            self.heard = 1.0

    @asynccontextmanager
    async def _lent(
        self, name: str, content: bytes, kind: MediaKind, mime_type: str
    ) -> AsyncIterator[MediaRef]:
        """Part of the video, in the store for as long as an encoder needs it."""
        key = f"{self.media.storage_key}.{name}"
        await self.store.put(key, content, mime_type=mime_type)
        try:
            yield MediaRef(
                asset_id=self.media.asset_id,
                owner_id=self.media.owner_id,
                kind=kind,
                mime_type=mime_type,
                content_hash=blake3(content).hexdigest(),
                storage_key=key,
                n_bytes=len(content),
            )
        except NotFound as exc:
            # Another replica that watches the same video has cleared up.
            raise EngineDead("a part of the video was taken away; try again") from exc
        finally:
            await self.store.delete(key)

    def _tell(self, note: str) -> None:
        words = " ".join(note.split())
        short = words if len(words) <= _NOTE_CHARACTERS else words[: _NOTE_CHARACTERS - 1] + "…"
        self.note = short
        self.news.set()

    def _perception(self, encode_s: float) -> VideoPerception:
        shots = [self.shots[at_s] for at_s in sorted(self.shots)]
        if not shots:
            raise BrokenMedia("no picture of the video can be decoded")
        end_s = max(self.end_s, shots[-1].frame_s)
        ends = [*(shot.start_s for shot in shots[1:]), end_s]
        vectors = [shot.vector for shot in shots]
        if self.sound is not None and self.sound.segments:
            # What is said weighs as much as everything that is seen.
            vectors += [self.sound.vector] * len(shots)
        mean = np.asarray(vectors, dtype=np.float64).mean(axis=0)
        length = float(np.linalg.norm(mean)) or 1.0
        return VideoPerception(
            shots=tuple(replace(shot, end_s=end) for shot, end in zip(shots, ends, strict=True)),
            sound=self.sound,
            vector=tuple((mean / length).tolist()),
            duration_s=end_s,
            encode_s=encode_s,
        )


def _later(heard: AudioPerception, by_s: float) -> AudioPerception:
    """The same in times of the video, where the sound begins later than the pictures."""
    return replace(
        heard,
        segments=tuple(
            replace(said, start_s=said.start_s + by_s, end_s=said.end_s + by_s)
            for said in heard.segments
        ),
        sound_events=tuple(
            replace(event, start_s=event.start_s + by_s, end_s=event.end_s + by_s)
            for event in heard.sound_events
        ),
    )


def _scaled(box: Box, scale: float) -> Box:
    return Box(
        left_px=round(box.left_px * scale),
        top_px=round(box.top_px * scale),
        right_px=round(box.right_px * scale),
        bottom_px=round(box.bottom_px * scale),
    )


def _first(failed: BaseExceptionGroup[PolymodalError]) -> PolymodalError:
    for error in failed.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
