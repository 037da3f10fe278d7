"""Where somebody speaks in a stream of sound, what else sounds, and for how long that may go on."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.audio_encoder import AudioEncoderReplica
from deployments.hearing.speech import SpeechWindows, Window
from serve.domain.media import MediaKind
from serve.domain.messages import AudioPerception, Progress, TranscriptionOptions, TranscriptSegment
from serve.domain.ports import ObjectStore
from tests.fixtures.encoders import StoreMedia, wav

_RATE_HZ = 16_000
_FRAME_SAMPLES = 512


class Scripted:
    """``VoiceListener`` to whom somebody speaks whenever a sample is not zero."""

    def __init__(self) -> None:
        self._unheard = np.zeros(0, np.int16)

    def hear(self, pcm: bytes) -> Sequence[float]:
        self._unheard = np.concatenate([self._unheard, np.frombuffer(pcm, "<i2")])
        n_frames = len(self._unheard) // _FRAME_SAMPLES
        frames = self._unheard[: n_frames * _FRAME_SAMPLES].reshape(n_frames, -1)
        self._unheard = self._unheard[n_frames * _FRAME_SAMPLES :]
        return [0.9 if frame.any() else 0.1 for frame in frames]


def _sound(*stretches: tuple[float, bool]) -> NDArray[np.int16]:
    """Seconds, and whether somebody speaks."""
    return np.concatenate(
        [np.full(int(length_s * _RATE_HZ), int(speaks), np.int16) for length_s, speaks in stretches]
    )


def _windows(sound: NDArray[np.int16], *, piece: int = 5 * _RATE_HZ) -> list[Window]:
    windows = SpeechWindows(Scripted())
    found = [
        window
        for start in range(0, len(sound), piece)
        for window in windows.hear(sound[start : start + piece])
    ]
    return [*found, *windows.finish()]


@pytest.mark.parametrize("piece", [1_000, 16_000, 80_000, 10_000_000])
def test_windows_do_not_depend_on_how_the_sound_arrives(piece: int) -> None:
    sound = _sound((2, False), (3, True), (1, False), (4, True), (12, False), (2, True))
    found = [(round(w.start_s, 2), len(w.samples)) for w in _windows(sound, piece=piece)]
    assert [start_s for start_s, _ in found] == pytest.approx([1.8, 21.8], abs=0.05)
    assert found[0][1] / _RATE_HZ == pytest.approx(8.4, abs=0.1)


def test_stretches_that_fit_share_a_window() -> None:
    sound = _sound(*((8, True), (1, False)) * 6)
    windows = _windows(sound)
    assert [round(w.start_s) for w in windows] == [0, 27]
    assert all(len(w.samples) <= 29 * _RATE_HZ for w in windows)


def test_speech_without_a_pause_is_cut_where_nothing_is_lost() -> None:
    windows = _windows(_sound((100, True)))
    assert all(len(w.samples) <= 29 * _RATE_HZ for w in windows)
    assert sum(len(w.samples) for w in windows) == pytest.approx(100 * _RATE_HZ, abs=100)
    for before, after in itertools.pairwise(windows):
        end_s = before.start_s + len(before.samples) / _RATE_HZ
        assert after.start_s == pytest.approx(end_s, abs=0.001)


def test_clicks_are_no_speech() -> None:
    assert _windows(_sound((1, False), (0.1, True), (3, False))) == []


def test_what_was_said_is_had_when_silence_follows() -> None:
    windows = SpeechWindows(Scripted())
    assert list(windows.hear(_sound((3, True), (5, False)))) == []
    assert len(list(windows.hear(_sound((5, False))))) == 1


# --- the real models ----------------------------------------------------------------------------


def _pcm(wav_file: bytes) -> NDArray[np.int16]:
    return np.frombuffer(wav_file[44:], dtype="<i2")


@pytest.mark.models
async def test_listening_tells_progress_and_may_be_left(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia, voice_wav: bytes
) -> None:
    sound = np.concatenate([_pcm(voice_wav), np.zeros(30 * _RATE_HZ, np.int16)])
    media = await store_media(wav(sound / 32768), MediaKind.AUDIO, "audio/wav")
    async with aclosing(audio_encoder.listen(media, TranscriptionOptions())) as steps:
        async for step in steps:
            if isinstance(step, TranscriptSegment):
                break
    # The thread that listened is free for somebody else.
    kinds = [type(step) async for step in audio_encoder.listen(media, TranscriptionOptions())]
    assert kinds.count(Progress) >= 7
    assert kinds.index(TranscriptSegment) < len(kinds) - 4
    assert kinds[-1] is AudioPerception


@pytest.mark.models
async def test_sounds_come_and_go(
    audio_encoder: AudioEncoderReplica, store_media: StoreMedia, voice_wav: bytes
) -> None:
    times_s = np.arange(4 * _RATE_HZ) / _RATE_HZ
    tone = 0.5 * np.sin(2 * np.pi * 440 * times_s)
    silence = np.zeros(4 * _RATE_HZ)
    sound = np.concatenate([silence, tone, silence, _pcm(voice_wav) / 32768])
    media = await store_media(wav(sound), MediaKind.AUDIO, "audio/wav")
    heard = await audio_encoder.perceive(media, TranscriptionOptions())
    tones = [e for e in heard.sound_events if e.name in ("Dial tone", "Sine wave", "Telephone")]
    assert tones
    assert all(3 <= event.start_s <= 6 and 6 <= event.end_s <= 10 for event in tones)
    speech = next(event for event in heard.sound_events if event.name == "Speech")
    assert 11 <= speech.start_s <= 14
    assert speech.end_s == pytest.approx(heard.duration_s, abs=1.5)


@pytest.mark.models
async def test_memory_does_not_grow_with_the_recording(
    media_store: ObjectStore,
    media_folder: Path,
    models_dir: Path,
    store_media: StoreMedia,
    voice_wav: bytes,
) -> None:
    """Twelve minutes would be 46 MB of samples, and several times that on their way."""
    voice, pause = _pcm(voice_wav), np.zeros(12 * 60 * _RATE_HZ // 2, np.int16)
    long = _flac(np.concatenate([pause, voice, pause, voice]))
    media = await store_media(long, MediaKind.AUDIO, "audio/flac")
    short = await store_media(_flac(voice), MediaKind.AUDIO, "audio/flac")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.long_recording",
        str(models_dir),
        str(media_folder),
        media.storage_key,
        short.storage_key,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    told, _ = await process.communicate()
    heard = json.loads(told)
    assert heard["duration_s"] == pytest.approx(12 * 60 + 2 * len(voice) / _RATE_HZ, abs=0.1)
    starts_s = [start_s for start_s, text in heard["said"] if "Dashwood" in text]
    assert starts_s == [pytest.approx(360, abs=1.5), pytest.approx(727, abs=2)]
    assert heard["grown_bytes"] < 24 * 2**20


def _flac(samples: NDArray[np.int16]) -> bytes:
    """As the sanitiser stores recordings."""
    written = io.BytesIO()
    with av.open(written, "w", format="flac") as out:
        stream = out.add_stream("flac", rate=_RATE_HZ, layout="mono", format="s16")
        for start in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(
                samples[np.newaxis, start : start + 4096], format="s16", layout="mono"
            )
            frame.sample_rate = _RATE_HZ
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return written.getvalue()
