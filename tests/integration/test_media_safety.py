"""Strangers' files against the real decoders in their sandbox."""

from __future__ import annotations

import array
import asyncio
import base64
import io
import math
import os
import struct
import zlib
from collections.abc import AsyncIterator

import av
import psutil
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from serve.domain.errors import (
    BrokenMedia,
    InvalidRequest,
    MediaTooLarge,
    PolymodalError,
    UnsupportedMedia,
)
from serve.domain.media import MediaKind, MediaLimits, SanitizedMedia
from serve.media.data_url import parse_data_url
from serve.media.sanitizer import SandboxedSanitizer

LIMITS = MediaLimits(max_upload_bytes=3_000_000, max_image_px=1_000_000, max_audio_s=5.0)

# Coverage starts in the workers too when it measures us.
WORKER_ENV = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}


@pytest.fixture(scope="module")
async def sanitizer() -> AsyncIterator[SandboxedSanitizer]:
    async with SandboxedSanitizer(LIMITS, worker_env=WORKER_ENV) as sanitizer:
        yield sanitizer


async def sanitized(
    sanitizer: SandboxedSanitizer, content: bytes, declared: str | None = None
) -> SanitizedMedia:
    return await sanitizer.sanitize(content, declared_mime_type=declared)


def opened(media: SanitizedMedia) -> Image.Image:
    return Image.open(io.BytesIO(media.content))


def picture(format_: str, image: Image.Image | None = None, **options: object) -> bytes:
    written = io.BytesIO()
    (image or two_colours()).save(written, format_, **options)
    return written.getvalue()


def two_colours(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image.convert(mode)


def tone(seconds: float, rate_hz: int = 16_000) -> array.array[int]:
    return array.array("h", (int(9000 * math.sin(i / 8)) for i in range(int(seconds * rate_hz))))


def wav(samples: bytes, *, rate_hz: int = 16_000, claimed_bytes: int | None = None) -> bytes:
    size = len(samples) if claimed_bytes is None else claimed_bytes
    head = struct.pack("<4sI4s", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE")
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return head + form + struct.pack("<4sI", b"data", size) + samples


def recording(format_: str, codec: str, seconds: float = 1.0, **metadata: str) -> bytes:
    written = io.BytesIO()
    rate_hz = 48_000
    with av.open(written, "w", format=format_) as out:
        out.metadata.update(metadata)
        stream = out.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=int(seconds * rate_hz))
        frame.planes[0].update(tone(seconds, rate_hz).tobytes())
        frame.rate = rate_hz
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return written.getvalue()


# --- pictures ---------------------------------------------------------------------------------


async def test_where_a_photograph_was_taken_is_gone_and_it_stands_upright(
    sanitizer: SandboxedSanitizer,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise to see it right
    exif[0x010F] = "Secret Camera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    content = picture("JPEG", exif=exif, comment=b"secret comment", quality=95)
    assert b"Secret" in content
    media = await sanitized(sanitizer, content, "image/jpeg")
    assert (media.kind, media.mime_type) == (MediaKind.IMAGE, "image/jpeg")
    assert (media.width_px, media.height_px) == (40, 60)
    image = opened(media)
    assert not image.getexif()
    assert not {"exif", "comment", "icc_profile", "xmp"} & image.info.keys()
    assert b"ecret" not in media.content
    top, bottom = image.getpixel((20, 10)), image.getpixel((20, 50))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200 > bottom[0]
    assert bottom[2] > 200 > top[2]


async def test_texts_and_trailing_data_of_a_png_are_gone(sanitizer: SandboxedSanitizer) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Secret Person")
    info.add_itxt("XML:com.adobe.xmp", "<x>Secret Place</x>", zip=True)
    polyglot = picture("PNG", pnginfo=info) + b"PK\x03\x04<script>alert(1)</script>"
    media = await sanitized(sanitizer, polyglot, "image/png")
    assert media.mime_type == "image/png"
    assert b"Secret" not in media.content
    assert b"script" not in media.content
    assert opened(media).tobytes() == two_colours().tobytes()


@pytest.mark.parametrize(
    ("format_", "mode", "becomes"),
    [
        ("PNG", "RGB", "image/png"), ("PNG", "RGBA", "image/png"), ("PNG", "LA", "image/png"),
        ("PNG", "P", "image/png"), ("PNG", "1", "image/png"), ("PNG", "I;16", "image/png"),
        ("JPEG", "L", "image/jpeg"), ("JPEG", "CMYK", "image/jpeg"), ("GIF", "P", "image/png"),
        ("WEBP", "RGBA", "image/png"), ("BMP", "RGB", "image/png"),
    ],
)  # fmt: skip
async def test_every_kind_of_picture_keeps_its_looks(
    sanitizer: SandboxedSanitizer, format_: str, mode: str, becomes: str
) -> None:
    image = two_colours("I;16") if mode == "I;16" else two_colours(mode)
    if mode == "I;16":
        image = two_colours("L").convert("I;16").point(lambda value: value * 256)
    media = await sanitized(sanitizer, picture(format_, image))
    assert media.mime_type == becomes
    assert (media.width_px, media.height_px) == (60, 40)
    expected = two_colours("L" if mode == "I;16" else mode).convert("RGB")
    for place in ((10, 20), (50, 20)):
        got, wanted = opened(media).convert("RGB").getpixel(place), expected.getpixel(place)
        assert got == pytest.approx(wanted, abs=12)


async def test_transparency_survives(sanitizer: SandboxedSanitizer) -> None:
    image = two_colours("RGBA")
    image.putalpha(77)
    assert opened(await sanitized(sanitizer, picture("PNG", image))).getpixel((3, 3)) == (
        255, 0, 0, 77,
    )  # fmt: skip


async def test_only_the_first_frame_of_an_animation_remains(sanitizer: SandboxedSanitizer) -> None:
    frames = [two_colours(), two_colours().rotate(180)]
    content = picture("GIF", frames[0], save_all=True, append_images=frames[1:])
    image = opened(await sanitized(sanitizer, content, "image/gif"))
    assert getattr(image, "n_frames", 1) == 1
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


async def test_a_damaged_colour_profile_is_dropped_and_a_good_one_applied(
    sanitizer: SandboxedSanitizer,
) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"not a profile", lab):
        media = await sanitized(sanitizer, picture("PNG", icc_profile=profile))
        assert "icc_profile" not in opened(media).info
        assert opened(media).getpixel((5, 5)) == (255, 0, 0)


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


async def test_a_decompression_bomb_is_refused_by_its_header(
    sanitizer: SandboxedSanitizer,
) -> None:
    with pytest.raises(MediaTooLarge, match="the limit is 1000000"):
        await sanitized(sanitizer, png_claiming(50_000, 50_000))
    with pytest.raises(MediaTooLarge, match="limit for a side is 16384"):
        await sanitized(sanitizer, png_claiming(20_000, 1))


async def test_a_bomb_that_lies_about_its_size_stays_small(sanitizer: SandboxedSanitizer) -> None:
    with pytest.raises(PolymodalError) as refused:
        await sanitized(sanitizer, png_claiming(10, 0, zlib.compress(bytes(50_000_000))))
    assert isinstance(refused.value, BrokenMedia)
    media = await sanitized(sanitizer, png_claiming(10, 10, zlib.compress(bytes(50_000_000))))
    assert len(media.content) < 1000


async def test_truncated_pictures_are_broken(sanitizer: SandboxedSanitizer) -> None:
    noise = Image.effect_noise((300, 300), 90)
    for content in (picture("JPEG", noise), picture("PNG", noise), picture("WEBP", noise)):
        for kept in (0.5, 0.02):
            with pytest.raises(BrokenMedia):
                await sanitized(sanitizer, content[: int(len(content) * kept)])


# --- types ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"<!DOCTYPE html><html><script>alert(1)</script>", "HTML"),
        (b"PK\x03\x04aaaaaaaaaaaa", "ZIP"),
        (b"\x7fELF\x02\x01\x01", "program"),
        (b"MZ\x90\x00", "program"),
        (b"#!/bin/sh\necho", "script"),
        (b"#EXTM3U\nfile:///etc/passwd", "playlist"),
        (b"\x00\x00\x00\x20ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"just some text", "this type of file"),
        (b"\x00", "this type of file"),
    ],
)
@pytest.mark.parametrize("declared", [None, "image/png", "audio/mpeg"])
async def test_what_is_neither_picture_nor_sound_is_unsupported_whatever_it_claims(
    sanitizer: SandboxedSanitizer, content: bytes, seen: str, declared: str | None
) -> None:
    with pytest.raises(UnsupportedMedia, match=seen):
        await sanitized(sanitizer, content, declared)


async def test_a_lying_type_is_unsupported(sanitizer: SandboxedSanitizer) -> None:
    with pytest.raises(UnsupportedMedia, match="declared as image/jpeg but contains image/png"):
        await sanitized(sanitizer, picture("PNG"), "image/jpeg")
    with pytest.raises(UnsupportedMedia, match="declared as application/pdf"):
        await sanitized(sanitizer, picture("PNG"), "application/pdf")


@pytest.mark.parametrize("declared", ["", "application/octet-stream", "IMAGE/JPG; q=1", None])
async def test_an_alias_or_no_claim_is_fine(
    sanitizer: SandboxedSanitizer, declared: str | None
) -> None:
    assert (await sanitized(sanitizer, picture("JPEG"), declared)).mime_type == "image/jpeg"


async def test_sound_where_a_picture_is_needed_is_unsupported(
    sanitizer: SandboxedSanitizer,
) -> None:
    with pytest.raises(UnsupportedMedia, match="a picture is needed"):
        await sanitizer.sanitize(
            wav(tone(0.1).tobytes()), declared_mime_type=None, expect=MediaKind.IMAGE
        )


async def test_nothing_is_broken_and_too_much_is_too_large(sanitizer: SandboxedSanitizer) -> None:
    with pytest.raises(BrokenMedia, match="empty"):
        await sanitized(sanitizer, b"", "image/png")
    with pytest.raises(MediaTooLarge) as refused:
        await sanitized(sanitizer, bytes(3_000_001))
    assert refused.value.context == {"limit": 3_000_000, "got": 3_000_001}


# --- recordings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "codec", "declared"),
    [
        ("wav", "pcm_s16le", "audio/x-wav"),
        ("wav", "pcm_f32le", "audio/wav"),
        ("mp3", "mp3", "audio/mpeg"),
        ("flac", "flac", "audio/flac"),
        ("ogg", "libopus", "audio/ogg; codecs=opus"),
        ("webm", "libopus", "audio/webm;codecs=opus"),
        ("ipod", "aac", "audio/x-m4a"),
        ("mp4", "aac", "video/mp4"),
        ("adts", "aac", "audio/aac"),
    ],
)
async def test_every_kind_of_recording_becomes_plain_flac_without_tags(
    sanitizer: SandboxedSanitizer, format_: str, codec: str, declared: str
) -> None:
    content = recording(format_, codec, title="Secret Title", artist="Secret Person")
    media = await sanitized(sanitizer, content, declared)
    assert (media.kind, media.mime_type) == (MediaKind.AUDIO, "audio/flac")
    assert media.duration_s == pytest.approx(1.0, abs=0.11)
    assert b"Secret" not in media.content
    with av.open(io.BytesIO(media.content)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.layout.name, stream.format.name) == (16_000, "mono", "s16")
        assert not {"title", "artist"} & {key.lower() for key in container.metadata}
        loudest = max(
            max(array.array("h", bytes(frame.planes[0])[: 2 * frame.samples]), default=0)
            for frame in container.decode(stream)
        )
    assert 7000 < loudest < 11000


@pytest.mark.parametrize("claimed_bytes", [0xFFFFFFFF, 0xFFFFFFF0, 32_000 * 3600])
async def test_a_forged_longer_duration_does_not_matter(
    sanitizer: SandboxedSanitizer, claimed_bytes: int
) -> None:
    media = await sanitized(sanitizer, wav(tone(0.5).tobytes(), claimed_bytes=claimed_bytes))
    assert media.duration_s == pytest.approx(0.5, abs=0.01)


async def test_too_long_is_too_long_whatever_the_header_says(
    sanitizer: SandboxedSanitizer,
) -> None:
    hour_in_few_bytes = recording("ogg", "libopus", seconds=12.0)
    for content in (wav(bytes(32_000 * 6)), hour_in_few_bytes):
        with pytest.raises(MediaTooLarge, match="limit of 5 seconds"):
            await sanitized(sanitizer, content)


async def test_an_absurd_sample_rate_is_broken_not_stretched(
    sanitizer: SandboxedSanitizer,
) -> None:
    with pytest.raises(BrokenMedia, match="1 Hz"):
        await sanitized(sanitizer, wav(bytes(200_000), rate_hz=1))


async def test_recordings_without_sound_are_broken(sanitizer: SandboxedSanitizer) -> None:
    for content in (
        wav(b""),
        b"OggS" + bytes(200),
        b"ID3" + bytes(500),
        recording("ipod", "aac")[:900],
        b"fLaC" + bytes(100),
    ):
        with pytest.raises(BrokenMedia):
            await sanitized(sanitizer, content)


# --- the sandbox ------------------------------------------------------------------------------


def blank(side_px: int) -> bytes:
    """A black square: quick to make, slow to make safe."""
    squeezer = zlib.compressobj(1)
    row = bytes(1 + 3 * side_px)
    data = b"".join(squeezer.compress(row) for _ in range(side_px)) + squeezer.flush()
    return png_claiming(side_px, side_px, data)


def workers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "serve.media.worker" in child.cmdline()
    ]


async def test_a_file_that_takes_too_long_is_broken_and_the_replica_lives() -> None:
    slow = MediaLimits(decode_timeout_s=0.3, max_image_px=100_000_000)
    async with SandboxedSanitizer(slow, worker_env=WORKER_ENV) as sanitizer:
        await sanitizer.warm_up()
        with pytest.raises(BrokenMedia, match=r"limit of 0\.3 seconds"):
            await sanitized(sanitizer, blank(7_000))
        assert (await sanitized(sanitizer, picture("PNG"))).width_px == 60


async def test_a_worker_that_died_while_idle_is_replaced() -> None:
    before = {worker.pid for worker in workers()}
    async with SandboxedSanitizer(LIMITS, max_workers=1) as sanitizer:
        assert (await sanitized(sanitizer, picture("PNG"))).width_px == 60
        [worker] = [worker for worker in workers() if worker.pid not in before]
        worker.kill()
        await asyncio.to_thread(worker.wait)
        assert (await sanitized(sanitizer, picture("PNG"))).width_px == 60


async def test_a_file_that_needs_too_much_memory_is_refused_and_the_replica_lives() -> None:
    tight = MediaLimits(decode_memory_bytes=420 * 1024 * 1024, max_image_px=200_000_000)
    huge = blank(12_000)
    async with SandboxedSanitizer(tight, worker_env=WORKER_ENV) as sanitizer:
        with pytest.raises(PolymodalError) as refused:
            await sanitized(sanitizer, huge)
        assert isinstance(refused.value, MediaTooLarge | BrokenMedia)
        assert (await sanitized(sanitizer, picture("JPEG"))).width_px == 60


async def test_a_warm_worker_is_used_again_and_closing_leaves_none() -> None:
    before = {worker.pid for worker in workers()}
    async with SandboxedSanitizer(LIMITS) as sanitizer:
        await sanitized(sanitizer, picture("PNG"))
        first = {worker.pid for worker in workers()} - before
        await sanitized(sanitizer, wav(tone(0.1).tobytes()))
        assert {worker.pid for worker in workers()} - before == first
    assert {worker.pid for worker in workers()} == before


async def test_workers_see_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_POSTGRES_DSN", "postgresql://user:secret@host/db")
    before = {worker.pid for worker in workers()}
    async with SandboxedSanitizer(LIMITS) as sanitizer:
        await sanitized(sanitizer, picture("PNG"))
        [worker] = [worker for worker in workers() if worker.pid not in before]
        assert "secret" not in str(worker.environ())


async def test_leaving_early_frees_the_worker() -> None:
    before = {worker.pid for worker in workers()}
    big = blank(6_000)
    async with SandboxedSanitizer(MediaLimits(), max_workers=1) as sanitizer:
        await sanitizer.warm_up()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await sanitized(sanitizer, big)
        assert {worker.pid for worker in workers()} == before
        assert (await sanitized(sanitizer, picture("PNG"))).width_px == 60


async def test_many_files_at_once_share_the_workers(sanitizer: SandboxedSanitizer) -> None:
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(sanitized(sanitizer, picture("PNG"))) for _ in range(20)]
    assert all(job.result().width_px == 60 for job in jobs)
    assert len(workers()) <= 2


# --- data URLs --------------------------------------------------------------------------------


def test_a_data_url_gives_its_bytes_and_declared_type() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"picture").decode()
    assert parse_data_url(url, max_bytes=7) == (b"picture", "image/png")


@pytest.mark.parametrize(
    "url",
    ["data:image/png,plain", "data:image/png;base64,****", "data:image/png;base64,aGk",
     "data:image/png;base64,aG k=", "data:;base64", "https://example.com", "data:" + "x" * 1000,
     "data:image/png;base64,aGk=aGk=", "data:image/png;base64,é==="],
)  # fmt: skip
def test_anything_but_strict_base64_is_an_invalid_request(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_data_url(url, max_bytes=100, param="input[0].image_url")
    assert refused.value.param == "input[0].image_url"


def test_a_huge_data_url_is_too_large_before_it_is_decoded() -> None:
    with pytest.raises(MediaTooLarge, match="the limit is 1000") as refused:
        parse_data_url("data:image/png;base64," + "!" * 40_000_000, max_bytes=1000)
    assert refused.value.context == {"limit": 1000, "got": 30_000_000}
