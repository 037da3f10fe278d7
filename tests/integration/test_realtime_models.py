"""A live conversation with the real ears and the real voice."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.audio_encoder import AudioEncoderReplica
from deployments.hearing.voice import SileroVoiceDetector
from deployments.speech_generator import SpeechGeneratorReplica
from serve.domain.catalogue import ServedModel, ServedModels
from serve.domain.media import MediaLimits
from serve.domain.messages import TranscriptionOptions
from serve.domain.records import Caller
from serve.media.pcm import Resampler, Samples, from_s16, to_s16
from serve.registry.catalog import CPU_CATALOG
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.talking import listening, silent, talking

pytestmark = pytest.mark.models

_SAID = (
    "and mr john dashwood had then leisure to consider how much there might be prudently in his "
    "power to do for them"
)
_ANSWER = ("He wants to help ", "his sisters. ", "But he does not want ", "to pay for it.")


@asynccontextmanager
async def _speaking(
    running: Ingress, ears: AudioEncoderReplica, models_dir: Path
) -> AsyncIterator[str]:
    """The application with real ears and voice, on a socket."""
    spec = CPU_CATALOG.get("hibari")
    voice = await asyncio.to_thread(SpeechGeneratorReplica, [spec], models_dir)
    speaker = ServedModel(
        name=spec.name, role=spec.role.value, revision=spec.revision, voices=spec.voices
    )
    others = (m for m in running.ports.models.models if m.role != speaker.role)
    silero = models_dir / "whisper-base" / "hearing" / "silero_vad.onnx"
    async with listening(running.app) as address:
        running.app.state.ports = replace(
            running.ports,
            transcriber=ears,
            voice_detector=SileroVoiceDetector(lambda: silero),
            speech=voice,
            models=ServedModels((*others, speaker)),
        )
        yield address


def _samples(wav: bytes) -> Samples:
    with wave.open(io.BytesIO(wav)) as recording:
        return from_s16(recording.readframes(recording.getnframes()))


def _words(text: str) -> list[str]:
    bare = "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ")
    return bare.split()


async def test_what_is_said_is_heard_and_the_answer_can_be_understood(
    database: Database,
    redis_url: str,
    tmp_path: Path,
    accounts: PostgresAccounts,
    ada: Caller,
    audio_encoder: AudioEncoderReplica,
    models_dir: Path,
    voice_wav: bytes,
) -> None:
    sound = to_s16(Resampler(16_000, 24_000).push(_samples(voice_wav)))
    limits = MediaLimits(max_upload_bytes=2**22, max_image_px=2**20, max_audio_s=60)
    opened = ingress(database, redis_url, tmp_path, accounts, ada, media_limits=limits)
    async with opened as running, _speaking(running, audio_encoder, models_dir) as address:
        running.generator.words = _ANSWER
        audio = {"input": {"transcription": {}}, "output": {"voice": "alloy"}}
        async with talking(address, running.secret, update={"audio": audio}) as talk:
            await talk.says(silent(300) + sound + silent(900))
            await talk.until("response.done")
        heard = talk.all("conversation.item.input_audio_transcription.completed")
        assert [_words(event.transcript) for event in heard] == [_SAID.split()]
        assert len(talk.all("input_audio_buffer.speech_started")) == 1
        said = from_s16(talk.sound())
        assert 2.0 < len(said) / 24_000 < 10.0
        assert np.abs(said).max() > 0.05
        answer = to_s16(Resampler(24_000, 16_000).push(said))
        understood = await audio_encoder.transcribe(answer, TranscriptionOptions(language="en"))
        assert _words(understood.text) == _words("".join(_ANSWER))


async def test_a_turn_is_heard_as_well_as_a_recording(
    audio_encoder: AudioEncoderReplica, voice_wav: bytes
) -> None:
    samples = _samples(voice_wav)
    options = TranscriptionOptions()
    whole = await audio_encoder.transcribe(to_s16(samples), options)
    assert (_words(whole.text), whole.language) == (_SAID.split(), "en")
    long = np.concatenate([samples] * 4)
    said = await audio_encoder.transcribe(to_s16(long), options)
    assert _words(said.text) == _SAID.split() * 4
    assert (await audio_encoder.transcribe(bytes(32_000), options)).text == ""
