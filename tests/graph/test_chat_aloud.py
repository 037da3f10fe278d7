"""Chat Completions that are spoken, by the stock SDK, on real stores."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import av
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError

from serve.domain.errors import ContextLengthExceeded, EngineDead
from serve.domain.ports import Accounts
from serve.domain.records import Caller
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import Ingress, ingress, post_and_watch

_WORDS = ("One", " is", " said.", " Two", " is", " said.")
_HUM_S = 0.1
_ASK: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "Count."}],
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "pcm16"},
}


@pytest.fixture
async def door(
    database: Database, redis_url: str, tmp_path: Path, accounts: Accounts, ada: Caller
) -> AsyncIterator[Ingress]:
    async with ingress(database, redis_url, tmp_path, accounts, ada) as opened:
        opened.generator.words = _WORDS
        yield opened


@pytest.fixture
def sdk(door: Ingress) -> AsyncOpenAI:
    key = door.http.headers["authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(
        api_key=key, base_url="http://ingress/v1", http_client=cast("Any", door.http), max_retries=0
    )


async def test_a_whole_answer_comes_with_its_sound(
    door: Ingress, sdk: AsyncOpenAI, ada: Caller
) -> None:
    answer = await sdk.chat.completions.create(
        **{**_ASK, "audio": {"voice": {"id": "hum"}, "format": "wav"}}
    )
    message = answer.choices[0].message
    assert message.content is None
    assert message.audio is not None
    assert message.audio.transcript == "".join(_WORDS)
    with av.open(io.BytesIO(base64.b64decode(message.audio.data))) as file:
        n_samples = sum(frame.samples for frame in file.decode(audio=0))
    assert n_samples == 2 * _HUM_S * 24_000
    kept = await door.ports.assets.get(ada, message.audio.id)
    assert kept.making is not None
    assert kept.making.model == "scripted-voice"
    assert kept.making.recipe == {
        "text": "".join(_WORDS),
        "voice": "hum",
        "speed": 1.0,
        "response_id": answer.id.replace("chatcmpl_", "resp_"),
    }


async def test_a_streamed_answer_brings_transcript_and_sound(
    door: Ingress, sdk: AsyncOpenAI, ada: Caller
) -> None:
    ask = {**_ASK, "stream": True, "stream_options": {"include_usage": True}}
    stream = await sdk.chat.completions.create(**ask)
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    parts = [delta.audio for delta in deltas if delta.audio]
    assert "".join(part.transcript or "" for part in parts) == "".join(_WORDS)
    sound = b"".join(base64.b64decode(part.data or "") for part in parts)
    assert len(sound) == 2 * _HUM_S * 24_000 * 2
    assert parts[-1].expires_at
    kept = await door.ports.assets.get(ada, parts[-2].id or "")
    assert kept.mime_type == "audio/wav"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None


async def test_the_first_sentence_sounds_before_the_second_is_written(door: Ingress) -> None:
    door.generator.words = ("One is said. Two", " is said.")
    hold = door.generator.hold = asyncio.Event()

    def go_on_at_first_sound(frames: bytes) -> bool:
        if b'"data":' in frames:
            hold.set()
        return False

    body = {**_ASK, "stream": True}
    reply = await post_and_watch(door, "/v1/chat/completions", body, go_on_at_first_sound)
    assert reply.count(b'"data":') == 2
    assert reply.endswith(b"data: [DONE]\n\n")


async def test_a_spoken_answer_can_be_referred_to(door: Ingress, sdk: AsyncOpenAI) -> None:
    first = (await sdk.chat.completions.create(**_ASK)).choices[0].message
    assert first.audio is not None
    messages = [
        *_ASK["messages"],
        {"role": "assistant", "audio": {"id": first.audio.id}},
        {"role": "user", "content": "Go on."},
    ]
    await sdk.chat.completions.create(**{**_ASK, "messages": messages})
    asked = door.generator.requests[-1].messages
    assert any("One is said." in str(message.parts) for message in asked)
    messages[1] = {"role": "assistant", "audio": {"id": "asset_nobody"}}
    with pytest.raises(NotFoundError):
        await sdk.chat.completions.create(**{**_ASK, "messages": messages})


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"audio": None}, "audio"),
        ({"audio": {"voice": "nobody", "format": "wav"}}, "audio.voice"),
        ({"audio": {"voice": "hum", "format": "mp3"}, "stream": True}, "audio.format"),
    ],
)
async def test_what_cannot_be_spoken_is_refused_before_it_is_written(
    door: Ingress, sdk: AsyncOpenAI, wrong: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await sdk.chat.completions.create(**{**_ASK, **wrong})
    assert refused.value.param == param
    assert door.generator.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_run_is_refused_with_its_status(
    door: Ingress, sdk: AsyncOpenAI, *, stream: bool
) -> None:
    door.generator.errors = [ContextLengthExceeded("too long; shorten it")]
    door.generator.n_before_error = 0
    with pytest.raises(BadRequestError, match="shorten"):
        await sdk.chat.completions.create(**_ASK, stream=stream)


async def test_a_voice_that_dies_is_told(door: Ingress, sdk: AsyncOpenAI) -> None:
    door.voice.error = EngineDead("the speech generator is restarting; try again")
    door.voice.n_before_error = 0
    with pytest.raises(InternalServerError):
        await sdk.chat.completions.create(**_ASK)
    stream = await sdk.chat.completions.create(**_ASK, stream=True)
    with pytest.raises(APIError, match="restarting"):
        _ = [chunk async for chunk in stream]


async def test_nothing_to_say_is_no_sound(door: Ingress, sdk: AsyncOpenAI) -> None:
    door.generator.words = ("🎉",)
    answer = await sdk.chat.completions.create(**_ASK)
    assert answer.choices[0].message.content == "🎉"
    assert answer.choices[0].message.audio is None
    stream = await sdk.chat.completions.create(**_ASK, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_client_that_leaves_while_it_is_said_stops_the_voice(door: Ingress) -> None:
    door.voice.hold = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        leaves = asyncio.Event()
        path = "/v1/chat/completions"
        reply = group.create_task(post_and_watch(door, path, _ASK, leaves=leaves))
        await door.voice.began.wait()
        leaves.set()
    assert reply.result() == b""
    assert door.voice.was_closed.is_set()
    assert door.voice.n_said == 1


async def test_a_client_that_leaves_stops_the_run(door: Ingress) -> None:
    door.generator.hold = asyncio.Event()
    await post_and_watch(door, "/v1/chat/completions", {**_ASK, "stream": True}, lambda _: True)
    async with asyncio.timeout(20):
        await door.generator.cancelled.wait()
