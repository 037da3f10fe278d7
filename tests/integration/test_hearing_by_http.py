"""Recordings and microphones over HTTP, heard by the real models."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.fixtures.encoders import wav
from tests.fixtures.hearing import SAID, Ears, microphone_to, samples_of
from tests.fixtures.ingress import Ingress

pytestmark = pytest.mark.models


@pytest.fixture
def door(hearing_door: Ingress) -> Ingress:
    return hearing_door


@pytest.fixture
def sdk(door: Ingress) -> AsyncOpenAI:
    """The stock SDK on the same connection."""
    return AsyncOpenAI(
        api_key=door.secret, base_url="http://ingress/v1", http_client=cast("Any", door.http)
    )


async def test_a_transcript_streams_and_is_remembered(
    sdk: AsyncOpenAI, ears: Ears, voice_wav: bytes
) -> None:
    # A pause in which nobody speaks for long: what came before it is told before the end.
    twice = np.concatenate(
        [samples_of(voice_wav), np.zeros(16_000 * 9, np.int16), samples_of(voice_wav)]
    )
    file = ("talk.wav", wav(twice / 32768), "audio/wav")
    stream = await sdk.audio.transcriptions.create(model="whisper-1", file=file, stream=True)
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert len(deltas) >= 2
    assert "".join(deltas) == done.text
    assert done.text.count(SAID) == 2
    n_parts = ears.n_parts
    again = await sdk.audio.transcriptions.create(model="whisper-1", file=file)
    assert again.text == done.text
    assert (ears.n_parts, ears.asked) == (n_parts, [])


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
    assert SAID in plain.text
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


async def test_a_microphone_is_written_down_while_it_runs(door: Ingress, voice_wav: bytes) -> None:
    silence = np.zeros(16_000, np.int16)
    sound = np.concatenate([samples_of(voice_wav), silence, samples_of(voice_wav)[: 16_000 * 3]])
    async with microphone_to(door, query="language=en") as microphone:
        for start in range(0, len(sound), 3_200):
            microphone.say(sound[start : start + 3_200].tobytes())
            # As a microphone does, but faster: partial words need time to be heard in.
            await asyncio.sleep(0.05)
        microphone.stop()
    segments = microphone.of("segment")
    assert SAID in " ".join(segment["text"] for segment in segments)
    assert all(segment["start_s"] < segment["end_s"] for segment in segments)
    assert segments == sorted(segments, key=lambda segment: segment["start_s"])
    assert segments[-1]["start_s"] > 7
    done = microphone.messages[-1]
    assert done["text"] == " ".join(segment["text"] for segment in segments)
    assert done["duration_s"] == pytest.approx(len(sound) / 16_000, abs=0.05)
    assert microphone.code == 1000


async def test_silence_and_noise_are_not_written_down(door: Ingress) -> None:
    noise = np.random.default_rng(1).normal(0, 300, 32_000).astype(np.int16)
    async with microphone_to(door) as microphone:
        microphone.say(noise.tobytes())
        microphone.stop()
    assert [message["type"] for message in microphone.messages] == ["done"]


async def test_a_microphone_that_leaves_is_forgotten(door: Ingress, voice_wav: bytes) -> None:
    async with microphone_to(door) as microphone:
        microphone.say(samples_of(voice_wav)[: 16_000 * 4].tobytes())
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
    async with microphone_to(door) as microphone:
        microphone.to_app.put_nowait({"type": "websocket.receive", **message})
    assert says in microphone.messages[0]["error"]["message"]
    assert microphone.code == 4400


async def test_a_stranger_is_not_listened_to(door: Ingress) -> None:
    async with microphone_to(door, key="sk-nobody") as microphone:
        pass
    assert microphone.messages[0]["error"]["code"] == "invalid_api_key"
    assert microphone.code == 4401


async def test_an_unknown_language_ends_the_dictation(door: Ingress, voice_wav: bytes) -> None:
    async with microphone_to(door, query="language=xxx") as microphone:
        microphone.say(samples_of(voice_wav).tobytes())
        microphone.stop()
    assert "'xxx'" in microphone.messages[-1]["error"]["message"]
    assert microphone.code == 4400
