"""Recordings and microphones over HTTP, heard by the real models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError

from deployments.audio_encoder import AudioEncoderReplica
from deployments.hearing.voice import SileroVoiceDetector
from graphs.online.perceive import Perceiver
from serve.domain.catalogue import ServedModel, ServedModels
from serve.domain.media import MediaKind, MediaLimits, MediaRef
from serve.domain.messages import AudioPerception, Heard, TranscriptionOptions
from serve.domain.ports import Accounts
from serve.domain.records import Caller
from serve.storage.postgres.pool import Database
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.encoders import wav
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.scripted import NoIndex, ScriptedEyes, ScriptedReader, ScriptedWatcher

pytestmark = pytest.mark.models

_LIMITS = MediaLimits(max_upload_bytes=4 * 2**20, max_audio_s=60)
_SAID = "John Dashwood had then leisure to consider"


@dataclass
class Ears:
    """The real encoder, and what it was asked."""

    encoder: AudioEncoderReplica
    asked: list[TranscriptionOptions] = field(default_factory=list)

    async def listen(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Heard, None]:
        self.asked.append(options)
        async with aclosing(self.encoder.listen(media, options)) as steps:
            async for step in steps:
                yield step

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        return await self.encoder.perceive(media, options)


@pytest.fixture
def ears(audio_encoder: AudioEncoderReplica) -> Ears:
    return Ears(audio_encoder)


@pytest.fixture
async def door(
    database: Database,
    redis_url: str,
    media_folder: Path,
    models_dir: Path,
    accounts: Accounts,
    ada: Caller,
    ears: Ears,
) -> AsyncIterator[Ingress]:
    redis = connect(redis_url)
    async with ingress(
        database, redis_url, media_folder, accounts, ada, media_limits=_LIMITS
    ) as opened:
        ports = opened.ports
        hearing = models_dir / "whisper-base" / "hearing" / "silero_vad.onnx"
        opened.app.state.ports = replace(
            ports,
            perceiving=Perceiver(
                images=ScriptedEyes(),
                sounds=ears,
                videos=ScriptedWatcher(),
                documents=ScriptedReader(),
                cache=StoredPerceptionCache(redis, ports.objects),
                index=NoIndex(),
                revisions={kind: f"{kind}-1" for kind in MediaKind},
            ),
            transcriber=ears.encoder,
            voice_detector=SileroVoiceDetector(lambda: hearing),
            models=ServedModels(
                (
                    ServedModel(
                        name="whisper-base",
                        role="audio_encoder",
                        revision="1",
                        aliases=("whisper-1",),
                    ),
                )
            ),
        )
        yield opened
    await redis.aclose()


@pytest.fixture
def sdk(door: Ingress) -> AsyncOpenAI:
    """The stock SDK on the same connection."""
    return AsyncOpenAI(
        api_key=_key(door), base_url="http://ingress/v1", http_client=cast("Any", door.http)
    )


def _key(door: Ingress) -> str:
    return door.http.headers["authorization"].removeprefix("Bearer ")


async def test_a_transcript_streams_and_is_remembered(
    sdk: AsyncOpenAI, ears: Ears, voice_wav: bytes
) -> None:
    # A pause in which nobody speaks for long: what came before it is told before the end.
    twice = np.concatenate([_pcm(voice_wav), np.zeros(16_000 * 9, np.int16), _pcm(voice_wav)])
    file = ("talk.wav", wav(twice / 32768), "audio/wav")
    stream = await sdk.audio.transcriptions.create(model="whisper-1", file=file, stream=True)
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert len(deltas) >= 2
    assert "".join(deltas) == done.text
    assert done.text.count(_SAID) == 2
    again = await sdk.audio.transcriptions.create(model="whisper-1", file=file)
    assert again.text == done.text
    assert len(ears.asked) == 1


async def test_words_have_times_inside_their_recording(sdk: AsyncOpenAI, voice_wav: bytes) -> None:
    heard = await sdk.audio.transcriptions.create(
        model="whisper-1",
        file=("talk.wav", voice_wav),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert heard.language == "en"
    assert heard.words is not None
    assert heard.segments
    words = [word.word for word in heard.words]
    assert " ".join(words) == heard.text
    starts = [word.start for word in heard.words]
    assert starts == sorted(starts)
    assert heard.words[-1].end <= heard.duration


async def test_times_without_room_for_them_are_refused(sdk: AsyncOpenAI, voice_wav: bytes) -> None:
    with pytest.raises(BadRequestError, match="verbose_json"):
        await sdk.audio.transcriptions.create(
            model="whisper-1", file=("talk.wav", voice_wav), timestamp_granularities=["word"]
        )


async def test_an_unknown_language_is_refused_before_the_stream(
    sdk: AsyncOpenAI, voice_wav: bytes
) -> None:
    with pytest.raises(BadRequestError, match="'xxx'"):
        await sdk.audio.transcriptions.create(
            model="whisper-1", file=("talk.wav", voice_wav), language="xxx", stream=True
        )


# The SDK deprecates what it only knows whisper-1 to do.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_a_translation_asks_the_model_for_english(
    sdk: AsyncOpenAI, ears: Ears, voice_wav: bytes
) -> None:
    file = ("talk.wav", voice_wav)
    plain = await sdk.audio.translations.create(model="whisper-1", file=file)
    assert _SAID in plain.text
    assert ears.asked[0].translate
    whole = await sdk.audio.translations.create(
        model="whisper-1", file=file, response_format="verbose_json"
    )
    assert (whole.language, whole.text) == ("english", plain.text)
    assert whole.segments
    subtitles = await sdk.audio.translations.create(
        model="whisper-1", file=file, response_format="vtt"
    )
    assert str(subtitles).startswith("WEBVTT")
    assert len(ears.asked) == 1


# --- the microphone -----------------------------------------------------------------------------


class Microphone:
    """A WebSocket to the application, message by message."""

    def __init__(self) -> None:
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages: list[dict[str, Any]] = []
        self.code: int | None = None

    async def send(self, message: Any) -> None:
        match message["type"]:
            case "websocket.send":
                self.messages.append(json.loads(message["text"]))
            case "websocket.close":
                self.code = message["code"]
            case _:
                pass

    def say(self, pcm: bytes) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", "bytes": pcm})

    def stop(self) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", "text": '{"type": "stop"}'})

    def leave(self) -> None:
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


@asynccontextmanager
async def _microphone(
    door: Ingress, *, key: str | None = None, query: str = ""
) -> AsyncIterator[Microphone]:
    microphone = Microphone()
    bearer = f"Bearer {_key(door) if key is None else key}"
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "scheme": "ws",
        "path": "/api/v1/transcriptions/live",
        "raw_path": b"/api/v1/transcriptions/live",
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"ingress"), (b"authorization", bearer.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("ingress", 80),
        "subprotocols": [],
        "state": {},
    }
    microphone.to_app.put_nowait({"type": "websocket.connect"})
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(door.app(scope, microphone.to_app.get, microphone.send))
        yield microphone


def _pcm(wav_file: bytes) -> np.ndarray:
    """Behind the 44 bytes of a plain header, as our WAV files have."""
    return np.frombuffer(wav_file[44:], dtype="<i2")


async def test_a_microphone_is_written_down_while_it_runs(door: Ingress, voice_wav: bytes) -> None:
    silence = np.zeros(16_000, np.int16)
    sound = np.concatenate([_pcm(voice_wav), silence, _pcm(voice_wav)[: 16_000 * 3]])
    async with _microphone(door, query="language=en") as microphone:
        for start in range(0, len(sound), 3_200):
            microphone.say(sound[start : start + 3_200].tobytes())
            # As a microphone does, but faster: partial words need time to be heard in.
            await asyncio.sleep(0.05)
        microphone.stop()
    segments = microphone.of("segment")
    assert _SAID in " ".join(segment["text"] for segment in segments)
    assert all(segment["start_s"] < segment["end_s"] for segment in segments)
    assert segments == sorted(segments, key=lambda segment: segment["start_s"])
    assert segments[-1]["start_s"] > 7
    done = microphone.messages[-1]
    assert done["text"] == " ".join(segment["text"] for segment in segments)
    assert done["duration_s"] == pytest.approx(len(sound) / 16_000, abs=0.05)
    assert microphone.code == 1000


async def test_silence_and_noise_are_not_written_down(door: Ingress) -> None:
    noise = np.random.default_rng(1).normal(0, 300, 32_000).astype(np.int16)
    async with _microphone(door) as microphone:
        microphone.say(noise.tobytes())
        microphone.stop()
    assert [message["type"] for message in microphone.messages] == ["done"]


async def test_a_microphone_that_leaves_is_forgotten(door: Ingress, voice_wav: bytes) -> None:
    async with _microphone(door) as microphone:
        microphone.say(_pcm(voice_wav)[: 16_000 * 4].tobytes())
        microphone.leave()
    assert microphone.of("done") == []
    assert microphone.code is None


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"bytes": b"\x00\x00\x00"}, "whole 16-bit samples"),
        ({"bytes": bytes(2**20 + 2)}, "at most"),
        ({"text": "hello"}, "binary messages"),
    ],
)
async def test_what_is_no_sound_is_refused(
    door: Ingress, message: dict[str, Any], says: str
) -> None:
    async with _microphone(door) as microphone:
        microphone.to_app.put_nowait({"type": "websocket.receive", **message})
    assert says in microphone.messages[0]["error"]["message"]
    assert microphone.code == 4400


async def test_a_stranger_is_not_listened_to(door: Ingress) -> None:
    async with _microphone(door, key="sk-nobody") as microphone:
        pass
    assert microphone.messages[0]["error"]["code"] == "invalid_api_key"
    assert microphone.code == 4401


async def test_an_unknown_language_ends_the_dictation(door: Ingress, voice_wav: bytes) -> None:
    async with _microphone(door, query="language=xxx") as microphone:
        microphone.say(_pcm(voice_wav).tobytes())
        microphone.stop()
    assert "'xxx'" in microphone.messages[-1]["error"]["message"]
    assert microphone.code == 4400
