"""Videos with cuts and words at known times, watched by the real encoders."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import psutil
import pytest

from deployments.audio_encoder import AudioEncoderReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.video_encoder import VideoEncoderReplica
from deployments.watching.decoding import VideoDecoder
from deployments.watching.parts import Glimpse, Sound, Tick
from serve.domain.errors import BrokenMedia, EngineDead, UnknownModel
from serve.domain.media import MediaKind, MediaLimits, MediaRef
from serve.domain.messages import (
    AudioPerception,
    Heard,
    ImagePerception,
    PartHeard,
    Progress,
    SoundPart,
    TranscriptionOptions,
    VideoPerception,
)
from serve.domain.ports import AudioEncoder, ImageEncoder
from serve.storage.local_objects import LocalObjectStore
from tests.fixtures.clips import Scene, clip, colours

WORKER_ENV = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}
LIMITS = MediaLimits()
OPTIONS = TranscriptionOptions()
KEY = "assets/user_test/ab/film"


def _film(content: bytes, duration_s: float, mime_type: str = "video/mp4") -> MediaRef:
    return MediaRef(
        asset_id="asset_film",
        owner_id="user_test",
        kind=MediaKind.VIDEO,
        mime_type=mime_type,
        content_hash="0" * 64,
        storage_key=KEY,
        n_bytes=len(content),
        duration_s=duration_s,
    )


async def _parts(
    content: bytes, duration_s: float, mime_type: str = "video/mp4"
) -> list[Sound | Glimpse | Tick]:
    decoder = VideoDecoder(LIMITS, worker_env=WORKER_ENV)
    media = _film(content, duration_s, mime_type)
    return [said async for said, _ in decoder.parts(media, content)]


def _glimpses(parts: list[Sound | Glimpse | Tick]) -> list[Glimpse]:
    return [part for part in parts if isinstance(part, Glimpse)]


# --- decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "codec", "mime_type"),
    [("mp4", "libx264", "video/mp4"), ("webm", "libvpx", "video/webm")],
)
async def test_cuts_are_found_where_they_are(container: str, codec: str, mime_type: str) -> None:
    navy, green, maroon = colours()
    film = clip([(2.0, navy), (1.5, green), (2.5, maroon)], container=container, codec=codec)
    looks = _glimpses(await _parts(film, 6.0, mime_type))
    assert [look.start_s for look in looks] == pytest.approx([0.0, 2.0, 3.5], abs=0.15)
    for look, end_s in zip(looks, (2.0, 3.5, 6.0), strict=True):
        assert look.start_s < look.at_s < end_s


async def test_what_does_not_change_is_looked_at_once_and_what_does_every_few_seconds() -> None:
    still = [(12.0, colours()[0])]
    assert len(_glimpses(await _parts(clip(still, fps=5, is_moving=False), 12.0))) == 1
    brighter: list[Scene] = [
        (0.2, PIL.Image.new("RGB", (320, 180), (step * 4, step * 4, step * 4)))
        for step in range(60)
    ]
    looks = _glimpses(await _parts(clip(brighter, fps=5), 12.0))
    assert [look.start_s for look in looks] == pytest.approx([0.0, 4.2, 8.2], abs=0.5)


async def test_ever_so_many_cuts_lead_to_so_many_looks_and_no_more() -> None:
    scenes: list[Scene] = [(0.4, colours((64, 36))[step % 3]) for step in range(250)]
    looks = _glimpses(await _parts(clip(scenes, fps=10), 100.0))
    assert 30 <= len(looks) <= 41
    gaps = np.diff([look.at_s for look in looks])
    # The last picture stands for what nobody has looked at yet, however short that is.
    assert gaps[:-1].min() > 2.4
    assert gaps.max() < 4.5


async def test_the_smallest_video_has_one_look() -> None:
    [look] = _glimpses(await _parts(clip([(0.08, colours()[0])]), 0.08))
    assert look.start_s == 0.0


@pytest.mark.parametrize("fps", [25, 1])
async def test_frames_for_a_tower_are_what_is_shown_at_even_times(fps: int) -> None:
    scene_s = 1.2 if fps > 1 else 2.0
    film = clip([(scene_s, ground) for ground in colours()], fps=fps, is_moving=False)
    media = _film(film, 3 * scene_s)
    decoder = VideoDecoder(LIMITS, worker_env=WORKER_ENV)
    frames = [jpeg async for jpeg in decoder.frames(media, film, 0.5)]
    pixels = [np.asarray(PIL.Image.open(io.BytesIO(jpeg))) for jpeg in frames]
    brightest = [int(shown[0, 0].argmax()) for shown in pixels]
    n_shown = (3, 2, 3) if fps > 1 else (4, 4, 4)
    assert brightest == [2] * n_shown[0] + [1] * n_shown[1] + [0] * n_shown[2]


async def test_even_the_smallest_video_has_a_frame_for_a_tower() -> None:
    film = clip([(0.04, colours()[0])])
    decoder = VideoDecoder(LIMITS, worker_env=WORKER_ENV)
    assert len([jpeg async for jpeg in decoder.frames(_film(film, 0.0), film, 0.5)]) == 1


async def test_features_are_refused_where_no_generator_takes_videos(
    media_store: LocalObjectStore,
) -> None:
    encoder = _encoder(media_store, _Eyes(), _Ears())
    with pytest.raises(UnknownModel):
        await encoder.features(_film(b"", 1.0), "some-model")


async def test_there_is_something_to_see_before_there_is_something_to_hear(
    voice_wav: bytes,
) -> None:
    film = clip([(1.0, ground) for ground in colours()], voice_wav=voice_wav)
    first, second, *_ = await _parts(film, 3.0)
    assert isinstance(first, Glimpse)
    assert isinstance(second, Sound)


async def test_a_damaged_video_is_broken() -> None:
    with pytest.raises(BrokenMedia):
        await _parts(b"\x1a\x45\xdf\xa3" + bytes(1000), 2.0, "video/webm")


def _workers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "deployments.watching.worker" in child.cmdline()
    ]


# --- watching -----------------------------------------------------------------------------------


def _words(text: str, size: tuple[int, int] = (640, 360)) -> PIL.Image.Image:
    slide = PIL.Image.new("RGB", size, "white")
    font = PIL.ImageFont.load_default(72)
    PIL.ImageDraw.Draw(slide).text((60, 130), text, "black", font=font)
    return slide


def _encoder(
    store: LocalObjectStore, images: ImageEncoder, sounds: AudioEncoder
) -> VideoEncoderReplica:
    return VideoEncoderReplica(
        "watching-test",
        lambda: store,
        partial(VideoDecoder, LIMITS, worker_env=WORKER_ENV),
        images,
        lambda images: images,
        sounds,
        lambda sounds: sounds,
    )


@pytest.mark.models
async def test_a_video_becomes_a_timeline_of_what_is_seen_read_and_said(
    image_encoder: ImageEncoderReplica,
    audio_encoder: AudioEncoderReplica,
    media_store: LocalObjectStore,
    cat_jpeg: bytes,
    voice_wav: bytes,
) -> None:
    cat = PIL.Image.open(io.BytesIO(cat_jpeg)).convert("RGB").resize((640, 360))
    film = clip(
        [(4.0, cat), (6.0, _words("PLATFORM 42"))], fps=10, voice_wav=voice_wav, voice_from_s=1.5
    )
    await media_store.put(KEY, film, mime_type="video/mp4")
    encoder = _encoder(media_store, image_encoder, audio_encoder)
    steps = [step async for step in encoder.perceive(_film(film, 10.0), OPTIONS)]
    *progress, seen = steps
    assert isinstance(seen, VideoPerception)
    first, second = seen.shots
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 4.0), abs=0.25)
    assert (second.start_s, second.end_s) == pytest.approx((4.0, 10.0), abs=0.25)
    assert "cat" in [found.name for found in first.objects]
    assert "42" in " ".join(line.text for line in second.text_lines)
    assert second.text_lines[0].box.right_px <= 640
    assert seen.sound is not None
    assert "Dashwood" in seen.sound.transcript
    assert seen.sound.segments[0].start_s == pytest.approx(1.5, abs=0.7)
    assert np.linalg.norm(seen.vector) == pytest.approx(1, abs=1e-5)
    told = [step for step in progress if isinstance(step, Progress)]
    assert len(told) == len(progress) >= 2
    assert any("cat" in step.note for step in told)
    assert all(0 <= step.done <= 1 for step in told)
    assert [step.done for step in told] == sorted(step.done for step in told)
    assert not await media_store.exists(f"{KEY}.sound")
    assert not await media_store.exists(f"{KEY}.frame-{round(first.frame_s * 1000)}")


class _Eyes:
    """``ImageEncoder`` that stops at the second look, or fails there."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.keys: list[str] = []
        self.waits = asyncio.Event()
        self.was_cancelled = False

    async def perceive(self, media: MediaRef) -> ImagePerception:
        self.keys.append(media.storage_key)
        if len(self.keys) > 1:
            if self.error is not None:
                raise self.error
            self.waits.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        return ImagePerception(
            labels=(),
            objects=(),
            text_lines=(),
            description="A shape.",
            vector=(1.0, 0.0),
            encode_s=0.0,
        )


class _Ears:
    """``AudioEncoder`` that is not needed."""

    async def listen(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Heard, None]:
        if media.n_bytes:
            raise EngineDead("nobody listens")
        yield Progress(0.0)

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        raise EngineDead("nobody listens")

    async def hear_on(self, part: SoundPart, options: TranscriptionOptions) -> PartHeard:
        raise EngineDead("nobody listens")


def _three_shots() -> bytes:
    navy, green, maroon = colours()
    return clip([(1.0, navy), (1.0, green), (1.0, maroon)])


async def _opened(
    tmp_path: Path, eyes: _Eyes, film: bytes
) -> tuple[LocalObjectStore, AsyncGenerator[Progress | VideoPerception, None]]:
    store = LocalObjectStore(tmp_path)
    await store.put(KEY, film, mime_type="video/mp4")
    return store, _encoder(store, eyes, _Ears()).perceive(_film(film, 3.0), OPTIONS)


async def test_closing_stops_looking_and_decoding_at_once_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    eyes = _Eyes()
    # More than are looked at together: else the decoder may have done its work.
    film = clip([(1.0, ground) for ground in colours() * 2])
    store, steps = await _opened(tmp_path, eyes, film)
    async with aclosing(steps):
        step = await anext(steps)
        assert isinstance(step, Progress)
        assert step.note in ("0:00 A shape.", "0:01 A shape.")
        assert 0 < step.done < 1
        await eyes.waits.wait()
        assert len(_workers()) == 1
    assert eyes.was_cancelled
    assert _workers() == []
    assert not [key for key in eyes.keys if await store.exists(key)]


async def test_what_an_encoder_raises_ends_the_watching(tmp_path: Path) -> None:
    eyes = _Eyes(error=EngineDead("the image encoder is restarting"))
    store, steps = await _opened(tmp_path, eyes, _three_shots())
    with pytest.raises(EngineDead, match="image encoder is restarting"):
        async for _ in steps:
            pass
    assert _workers() == []
    assert not [key for key in eyes.keys if await store.exists(key)]


async def test_a_stored_video_that_cannot_be_decoded_is_broken(tmp_path: Path) -> None:
    _, steps = await _opened(tmp_path, _Eyes(), b"\x00\x00\x00\x18ftypisom" + bytes(500))
    with pytest.raises(BrokenMedia, match="cannot be decoded"):
        async for _ in steps:
            pass
