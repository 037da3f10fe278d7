"""Strangers' videos against the real decoders in their sandbox."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import AsyncIterator

import av
import numpy as np
import PIL.Image
import pytest

from serve.domain.errors import BrokenMedia, MediaTooLarge, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits, SanitizedMedia
from serve.media.sanitizer import SandboxedSanitizer
from tests.fixtures.clips import clip, colours

LIMITS = MediaLimits(
    max_upload_bytes=200_000,
    max_video_bytes=4_000_000,
    max_video_s=8.0,
    max_video_px=640 * 360,
    max_video_fps=60,
)

# Coverage starts in the workers too when it measures us.
WORKER_ENV = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}


@pytest.fixture(scope="module")
async def sanitizer() -> AsyncIterator[SandboxedSanitizer]:
    async with SandboxedSanitizer(LIMITS, worker_env=WORKER_ENV) as sanitizer:
        yield sanitizer


async def _clean(
    sanitizer: SandboxedSanitizer,
    content: bytes,
    declared: str | None = None,
    expect: MediaKind | None = None,
) -> SanitizedMedia:
    return await sanitizer.sanitize(content, declared_mime_type=declared, expect=expect)


def _streams(content: bytes) -> list[str]:
    with av.open(io.BytesIO(content)) as opened:
        assert not {"title", "artist", "location", "comment"} & {
            key.lower() for key in opened.metadata
        }
        return [f"{stream.type} {stream.codec_context.name}" for stream in opened.streams]


@pytest.mark.parametrize(
    ("container", "codec", "sound", "declared", "becomes", "streams"),
    [
        ("mp4", "libx264", "aac", "video/mp4", "video/mp4", ["video h264", "audio aac"]),
        ("mov", "libx264", "aac", "video/quicktime", "video/mp4", ["video h264", "audio aac"]),
        ("matroska", "libx264", "aac", "video/x-matroska", "video/mp4",
         ["video h264", "audio aac"]),
        ("matroska", "libx264", "pcm_s16le", None, "video/mp4", ["video h264", "audio aac"]),
        ("webm", "libvpx", "libopus", "video/webm", "video/webm", ["video vp8", "audio opus"]),
        ("mp4", "mpeg4", "aac", "video/mp4", "video/mp4", ["video h264", "audio aac"]),
        ("avi", "mpeg4", "mp3", "video/x-msvideo", "video/mp4", ["video h264", "audio aac"]),
        ("avi", "mjpeg", "pcm_s16le", "video/avi", "video/mp4", ["video h264", "audio aac"]),
    ],
)  # fmt: skip
async def test_every_kind_of_video_becomes_what_browsers_play(
    sanitizer: SandboxedSanitizer,
    voice_wav: bytes,
    container: str,
    codec: str,
    sound: str,
    declared: str | None,
    becomes: str,
    streams: list[str],
) -> None:
    content = clip(
        [(2.0, colours()[0])],
        container=container,
        codec=codec,
        voice_wav=voice_wav[: 44 + 2 * 16_000],
        sound_codec=sound,
        metadata={"title": "Secret Title", "location": "+52.5-013.4/", "comment": "Secret"},
    )
    media = await _clean(sanitizer, content, declared)
    assert (media.kind, media.mime_type) == (MediaKind.VIDEO, becomes)
    assert (media.width_px, media.height_px) == (320, 180)
    assert media.duration_s == pytest.approx(2.0, abs=0.1)
    assert b"Secret" not in media.content
    assert b"+52.5" not in media.content
    assert [stream.replace("mp3float", "mp3") for stream in _streams(media.content)] == streams


async def test_everything_but_pictures_and_sound_is_left_behind(
    sanitizer: SandboxedSanitizer,
) -> None:
    written = io.BytesIO()
    with av.open(written, "w", format="matroska") as out:
        out.add_attachment("secret.txt", "text/plain", b"Secret attachment")
        stream = out.add_stream("libx264", rate=10)
        stream.metadata["title"] = "Secret track"
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_image(colours()[0])
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert written.getvalue().count(b"Secret") == 2
    media = await _clean(sanitizer, written.getvalue())
    assert b"Secret" not in media.content
    assert _streams(media.content) == ["video h264"]


async def test_a_video_without_pictures_is_a_recording_and_sound_can_be_all_that_is_wanted(
    sanitizer: SandboxedSanitizer, voice_wav: bytes
) -> None:
    film = clip([(2.0, colours()[0])], voice_wav=voice_wav)
    heard = await _clean(sanitizer, film, expect=MediaKind.AUDIO)
    assert (heard.kind, heard.mime_type) == (MediaKind.AUDIO, "audio/flac")
    assert heard.duration_s == pytest.approx(7.1, abs=0.2)
    with pytest.raises(UnsupportedMedia, match="a picture is needed"):
        await _clean(sanitizer, film, expect=MediaKind.IMAGE)
    silent = clip([(0.5, colours()[0])])
    with pytest.raises(BrokenMedia, match="no sound"):
        await _clean(sanitizer, silent, expect=MediaKind.AUDIO)
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4_800), dtype=np.int16), "s16", "mono")
        frame.rate = 48_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(UnsupportedMedia, match="a video is needed"):
        await _clean(sanitizer, written.getvalue(), expect=MediaKind.VIDEO)


async def test_a_turned_telephone_gives_an_upright_video(sanitizer: SandboxedSanitizer) -> None:
    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.set_display_rotation(90)
        for number in range(5):
            frame = av.VideoFrame.from_image(colours()[0])
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    media = await _clean(sanitizer, written.getvalue())
    assert (media.width_px, media.height_px) == (180, 320)
    with av.open(io.BytesIO(media.content)) as opened:
        assert abs(next(opened.decode(video=0)).rotation) == 90


# --- hostile ------------------------------------------------------------------------------------


async def test_too_long_is_too_long(sanitizer: SandboxedSanitizer) -> None:
    with pytest.raises(MediaTooLarge, match="longer than the limit of 8 seconds"):
        await _clean(sanitizer, clip([(9.0, colours()[0])], fps=5))


def _with_claimed_duration(content: bytes, units: int) -> bytes:
    """An MP4 whose movie and track headers claim another duration than its samples have."""
    forged = bytearray(content)
    for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        at = content.index(box) + 4
        forged[at + offset : at + offset + 4] = struct.pack(">I", units)
    return bytes(forged)


@pytest.mark.parametrize("units", [1, 0x7FFFFFFF])
async def test_a_forged_duration_does_not_matter(sanitizer: SandboxedSanitizer, units: int) -> None:
    media = await _clean(
        sanitizer, _with_claimed_duration(clip([(2.0, colours()[0])]), units), "video/mp4"
    )
    assert media.duration_s == pytest.approx(2.0, abs=0.1)


async def test_a_bomb_of_frames_is_refused(sanitizer: SandboxedSanitizer) -> None:
    bomb = clip([(2.0, PIL.Image.new("RGB", (16, 16)))], fps=500, options={"preset": "ultrafast"})
    assert len(bomb) < 60_000
    with pytest.raises(MediaTooLarge, match=r"more than (480|60) pictures"):
        await _clean(sanitizer, bomb)


async def test_more_pixels_than_allowed_are_refused_before_any_is_decoded(
    sanitizer: SandboxedSanitizer,
) -> None:
    with pytest.raises(MediaTooLarge, match="1280 by 720 pixels; the limit is 230400"):
        await _clean(sanitizer, clip([(0.2, PIL.Image.new("RGB", (1280, 720)))]))


async def test_a_picture_of_16k_by_16k_inside_a_small_video_is_never_decoded(
    sanitizer: SandboxedSanitizer,
) -> None:
    film = bytearray(clip([(0.4, colours()[0])], container="webm", codec="libvpx"))
    # Source: RFC 6386, 9.1: the start code of a key frame, then 14 bits each of width and height.
    at = film.index(b"\x9d\x01\x2a") + 3
    film[at : at + 4] = struct.pack("<HH", 16_383, 16_383)
    with pytest.raises(BrokenMedia, match="cannot be decoded"):
        await _clean(sanitizer, bytes(film))


async def test_damaged_videos_are_broken_or_shortened(sanitizer: SandboxedSanitizer) -> None:
    film = clip([(2.0, colours()[0])])
    for damaged in (film[: len(film) // 2], film[:200], b"\x00\x00\x00\x18ftypisom" + bytes(500)):
        with pytest.raises(BrokenMedia):
            await _clean(sanitizer, damaged)
    stream = clip([(2.0, colours()[0])], container="webm", codec="libvpx")
    shortened = await _clean(sanitizer, stream[: len(stream) * 3 // 4])
    assert 0.2 < (shortened.duration_s or 0) < 2.0


async def test_only_videos_may_be_as_large_as_videos(sanitizer: SandboxedSanitizer) -> None:
    with pytest.raises(MediaTooLarge, match="the limit is 200000"):
        await _clean(sanitizer, b"RIFF\x00\x00\x00\x00WAVE" + bytes(200_000))
    with pytest.raises(MediaTooLarge, match="the limit is 4000000"):
        await _clean(sanitizer, b"\x00\x00\x00\x18ftypisom" + bytes(4_000_000))
    noise = PIL.Image.effect_noise((320, 180), 80).convert("RGB")
    large = clip([(2.0, noise)], container="avi", codec="mjpeg")
    assert len(large) > LIMITS.max_upload_bytes
    assert (await _clean(sanitizer, large)).kind is MediaKind.VIDEO
