"""Speech over HTTP: what a client gets, and what happens when it or the voice fails."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import av
import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from serve.domain.errors import EngineDead
from tests.fixtures.ingress import Ingress, post_and_watch

_TEXT = "One is said. Two is said. Three is said."


def _duration_s(content: bytes, form: str) -> float:
    bare = form == "pcm"
    options = {"sample_rate": "24000", "ch_layout": "mono"} if bare else {}
    file = io.BytesIO(content)
    with av.open(file, format="s16le" if bare else None, options=options) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_every_format_can_be_played(door: Ingress, sdk: AsyncOpenAI, form: Any) -> None:
    async with sdk.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=_TEXT, response_format=form, speed=1.5
    ) as answer:
        content = await answer.read()
    assert answer.headers["content-type"].startswith("audio/")
    assert _duration_s(content, form) == pytest.approx(0.3, abs=0.1)
    request = door.voice.requests[0]
    assert (request.model, request.voice, request.speed) == ("scripted-voice", "hum", 1.5)


async def test_events_carry_the_file_and_its_usage(door: Ingress) -> None:
    answer = await door.http.post(
        "/v1/audio/speech",
        json={
            "model": "scripted-voice",
            "voice": {"id": "hum"},
            "input": _TEXT,
            "response_format": "wav",
            "stream_format": "sse",
            "instructions": "Whisper.",
        },
    )
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
    assert [event["type"] for event in events] == ["speech.audio.delta"] * 3 + ["speech.audio.done"]
    content = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert _duration_s(content, "wav") == pytest.approx(0.3)
    n_chars = len(_TEXT)
    usage = {"input_tokens": n_chars, "output_tokens": 6, "total_tokens": n_chars + 6}
    assert events[-1]["usage"] == usage


@pytest.mark.parametrize(
    ("wrong", "error", "param"),
    [
        ({"model": "tts-9"}, NotFoundError, "model"),
        ({"voice": "nobody"}, BadRequestError, "voice"),
        ({"speed": 5.0}, BadRequestError, "speed"),
        ({"input": ""}, BadRequestError, "input"),
        ({"input": "x" * 4097}, BadRequestError, "input"),
        ({"response_format": "midi"}, BadRequestError, "response_format"),
    ],
)
async def test_what_cannot_be_said_is_refused(
    sdk: AsyncOpenAI, wrong: dict[str, Any], error: type[BadRequestError], param: str
) -> None:
    body: dict[str, Any] = {"model": "tts-1", "voice": "hum", "input": _TEXT, **wrong}
    with pytest.raises(error) as refused:
        await sdk.audio.speech.create(**body)
    assert refused.value.param == param
    if param == "voice":
        assert "hum, alloy" in refused.value.message


async def test_a_voice_that_dies_before_the_first_sound_is_an_error_status(door: Ingress) -> None:
    door.voice.error = EngineDead("the speech generator is restarting; try again")
    door.voice.n_before_error = 0
    answer = await door.http.post("/v1/audio/speech", json={"model": "tts-1", "input": _TEXT})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_unavailable"


async def test_a_voice_that_dies_later_breaks_the_connection(door: Ingress) -> None:
    door.voice.error = EngineDead("the speech generator is restarting; try again")
    with pytest.raises(RuntimeError, match="response already started"):
        await door.http.post("/v1/audio/speech", json={"model": "tts-1", "input": _TEXT})
    assert door.voice.n_said == 1


async def test_events_say_that_a_voice_died(door: Ingress) -> None:
    door.voice.error = EngineDead("the speech generator is restarting; try again")
    body = {"model": "tts-1", "input": _TEXT, "stream_format": "sse"}
    answer = await door.http.post("/v1/audio/speech", json=body)
    last = json.loads(answer.text.strip().splitlines()[-1][6:])
    assert (last["type"], last["error"]["code"]) == ("error", "engine_unavailable")


async def test_a_client_that_leaves_ends_the_speech(door: Ingress) -> None:
    """The first sentence arrives while the second is not yet being said."""
    door.voice.hold = asyncio.Event()
    body = {"model": "tts-1", "input": _TEXT, "response_format": "pcm"}
    await post_and_watch(door, "/v1/audio/speech", body, lambda _: True)
    assert door.voice.was_closed.is_set()
    assert door.voice.n_said == 1


async def test_voices_and_models_are_listed(door: Ingress) -> None:
    listed = (await door.http.get("/api/v1/voices")).json()["data"]
    assert [(voice["id"], voice["aliases"]) for voice in listed] == [("hum", ["alloy"])]
    model = (await door.http.get("/v1/models/tts-1")).json()
    assert (model["id"], model["role"]) == ("scripted-voice", "speech_generator")


async def test_nobody_speaks_without_a_key(door: Ingress) -> None:
    body = {"model": "tts-1", "input": _TEXT}
    headers = {"authorization": "Bearer pm_wrong"}
    answer = await door.http.post("/v1/audio/speech", json=body, headers=headers)
    assert answer.status_code == httpx.codes.UNAUTHORIZED
