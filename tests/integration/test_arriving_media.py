"""Recordings that are decoded while they arrive, in the real sandbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits, SanitizedFile
from serve.media.arriving import ArrivingRecording
from serve.media.sanitizer import SandboxedSanitizer
from tests.fixtures.honest_media import picture
from tests.fixtures.hostile_media import HostileFile
from tests.fixtures.hostile_recordings import HOSTILE_RECORDINGS, wav

_LIMITS = MediaLimits(max_upload_bytes=3_000_000, max_audio_s=40.0)
# Coverage starts in the workers too when it measures us.
_WORKER_ENV = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}
_SECONDS = 20
_HOSTILE_LIMIT_S = 20.0
_PIECE_BYTES = 16 * 1024


@pytest.fixture(scope="module")
async def sanitizer() -> AsyncIterator[SandboxedSanitizer]:
    async with SandboxedSanitizer(_LIMITS, worker_env=_WORKER_ENV) as sanitizer:
        yield sanitizer


def _recording(folder: Path, format_: str, codec: str, **options: str) -> bytes:
    """Noise, so that no codec makes it short."""
    written = folder / "noise"
    rate_hz = 48_000
    noise = np.random.default_rng(1).normal(0, 4000, _SECONDS * rate_hz).astype(np.int16)
    with av.open(str(written), "w", format=format_, options=options) as out:
        stream = out.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise[None], format="s16", layout="mono")
        frame.rate = rate_hz
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return written.read_bytes()


class Upload:
    """A file that is sent piece by piece; the last fifth of it is held back until ``go_on``."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.go_on = asyncio.Event()
        self.n_sent_bytes = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        held = len(self._content) * 4 // 5
        for start in range(0, len(self._content), _PIECE_BYTES):
            if start + _PIECE_BYTES > held:
                await self.go_on.wait()
            piece = self._content[start : start + _PIECE_BYTES]
            self.n_sent_bytes += len(piece)
            yield piece


async def _whole(sound: ArrivingRecording) -> bytes:
    media = await sound.sanitized()
    if not isinstance(media, SanitizedFile):
        return media.content
    media.file.seek(0)
    content = media.file.read()
    assert len(content) == media.n_bytes
    return content


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("wav", "pcm_s16le", {}),
        ("mp3", "libmp3lame", {}),
        ("flac", "flac", {}),
        ("ogg", "libopus", {}),
        ("webm", "libopus", {}),
        ("adts", "aac", {}),
        ("mp4", "aac", {"movflags": "faststart"}),
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ],
)
async def test_sound_is_there_before_the_end_of_the_file_and_is_what_the_whole_file_gives(
    sanitizer: SandboxedSanitizer, tmp_path: Path, form: str, codec: str, options: dict[str, str]
) -> None:
    content = _recording(tmp_path, form, codec, **options)
    upload = Upload(content)
    async with (
        asyncio.timeout(30),
        sanitizer.receiving(upload.pieces(), declared_mime_type=None) as recording,
    ):
        sound = recording.pieces()
        early = [await anext(sound)]
        assert upload.n_sent_bytes < len(content)
        upload.go_on.set()
        heard = b"".join([*early, *[piece async for piece in sound]])
        whole = await _whole(recording)
    assert len(heard) / 32_000 == pytest.approx(_SECONDS, abs=0.1)
    at_once = await sanitizer.sanitize(content, declared_mime_type=None, expect=MediaKind.AUDIO)
    assert whole == at_once.content


async def test_a_recording_whose_index_comes_last_is_decoded_when_it_is_there(
    sanitizer: SandboxedSanitizer, tmp_path: Path
) -> None:
    content = _recording(tmp_path, "mp4", "aac")
    upload = Upload(content)
    upload.go_on.set()
    async with sanitizer.receiving(upload.pieces(), declared_mime_type="audio/mp4") as recording:
        assert [piece async for piece in recording.pieces()] == []
        whole = await _whole(recording)
    at_once = await sanitizer.sanitize(content, declared_mime_type=None, expect=MediaKind.AUDIO)
    assert whole == at_once.content


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (wav(bytes(4_000_000), rate_hz=96_000), MediaTooLarge),  # bytes
        (wav(bytes(32_000 * 60)), MediaTooLarge),  # seconds
        (wav(bytes(300_000), rate_hz=1), BrokenMedia),
        (b"fLaC" + bytes(100_000), BrokenMedia),
        (b"", BrokenMedia),
        (picture("PNG"), UnsupportedMedia),
        (b"#!/bin/sh" + bytes(5000), UnsupportedMedia),
    ],
)
async def test_what_is_refused_whole_is_refused_on_its_way(
    sanitizer: SandboxedSanitizer, content: bytes, error: type[PolymodalError]
) -> None:
    upload = Upload(content)
    upload.go_on.set()
    with pytest.raises(error):
        async with sanitizer.receiving(upload.pieces(), declared_mime_type=None) as recording:
            await recording.sanitized()


async def test_a_lying_type_is_refused_before_the_file_is_there(
    sanitizer: SandboxedSanitizer,
) -> None:
    upload = Upload(wav(bytes(320_000)))
    with pytest.raises(UnsupportedMedia, match="audio/mpeg"):
        async with sanitizer.receiving(
            upload.pieces(), declared_mime_type="audio/mpeg"
        ) as recording:
            await recording.sanitized()


async def test_leaving_ends_the_decoder_and_so_does_a_client_that_left(
    sanitizer: SandboxedSanitizer,
) -> None:
    content = wav(bytes(32_000 * 20))
    async with sanitizer.receiving(Upload(content).pieces(), declared_mime_type=None) as recording:
        await anext(recording.pieces())
        assert len(_decoders()) == 1
    assert _decoders() == []

    async def leaving() -> AsyncGenerator[bytes, None]:
        yield content[: len(content) // 2]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        async with sanitizer.receiving(leaving(), declared_mime_type=None) as recording:
            await recording.sanitized()
    assert _decoders() == []


async def test_uploads_beyond_the_decoders_are_taken_all_the_same(tmp_path: Path) -> None:
    content = _recording(tmp_path, "ogg", "libopus")
    async with SandboxedSanitizer(_LIMITS, worker_env=_WORKER_ENV, max_arriving=1) as sanitizer:
        slow, other = Upload(content), Upload(content)
        other.go_on.set()
        async with sanitizer.receiving(slow.pieces(), declared_mime_type=None) as first:
            await anext(first.pieces())
            async with sanitizer.receiving(other.pieces(), declared_mime_type=None) as second:
                assert [piece async for piece in second.pieces()] == []
                whole = await _whole(second)
            slow.go_on.set()
            assert await _whole(first) == whole


@pytest.mark.parametrize("file", HOSTILE_RECORDINGS, ids=lambda file: file.name)
async def test_a_hostile_recording_is_refused_or_cleaned_on_its_way(file: HostileFile) -> None:
    upload = Upload(file.make())
    upload.go_on.set()
    limits = replace(_LIMITS, max_audio_s=_HOSTILE_LIMIT_S)
    try:
        async with (
            SandboxedSanitizer(limits, worker_env=_WORKER_ENV) as sanitizer,
            sanitizer.receiving(upload.pieces(), declared_mime_type=file.declared) as recording,
        ):
            whole = await _whole(recording)
        assert whole.startswith(b"fLaC")
        assert file.outcome != "refused"
        assert not [mark for mark in file.gone if mark in whole]
    except (BrokenMedia, MediaTooLarge, UnsupportedMedia):
        assert file.outcome != "cleaned"
    assert _decoders() == []


async def test_memory_does_not_grow_with_the_recording() -> None:
    limits = MediaLimits(max_upload_bytes=100_000_000, max_audio_s=3600)
    second = np.random.default_rng(1).normal(0, 4000, 16_000).astype("<i2").tobytes()
    peaks: list[int] = []

    async def arriving(n_seconds: int) -> AsyncGenerator[bytes, None]:
        # One second more than comes, so that the decoder waits for it.
        yield wav(b"", claimed=(n_seconds + 1) * len(second))
        for _ in range(n_seconds):
            yield second
        _peak_bytes(_decoders()[0].pid, peaks)
        _peak_bytes(os.getpid(), peaks)

    async with SandboxedSanitizer(limits, worker_env=_WORKER_ENV) as sanitizer:
        for n_seconds in (60, 1500):
            async with sanitizer.receiving(
                arriving(n_seconds), declared_mime_type=None
            ) as recording:
                n_bytes = sum([len(piece) async for piece in recording.pieces()])
                media = await recording.sanitized()
            assert n_bytes == n_seconds * len(second)
            assert media.duration_s == n_seconds
    decoder, ours, decoder_of_long, ours_of_long = peaks
    # The long one has 48 MB of samples.
    assert decoder_of_long - decoder < 4_000_000
    assert ours_of_long - ours < 8_000_000


def _peak_bytes(pid: int, peaks: list[int]) -> None:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peaks.append(int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024)


def _decoders() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "serve.media.arriving_worker" in child.cmdline()
    ]
