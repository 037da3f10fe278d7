"""Speech through the running system, by the stock SDK: said, streamed, and understood again."""

from __future__ import annotations

import base64
import io

import av
import pytest
from openai import OpenAI

from tests.fixtures.running import QUICK, Running
from tests.fixtures.words import word_error_rate

pytestmark = pytest.mark.e2e

_TEXT = (
    "The weather in the mountains changed quickly this morning. We packed warm clothes and plenty "
    "of water."
)


@pytest.fixture(scope="module")
def client(running: Running) -> OpenAI:
    return running.openai()


def test_what_is_said_is_understood_again(client: OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=_TEXT, instructions="Cheerfully."
    ) as answer:
        pieces = list(answer.iter_bytes())
    assert answer.headers["content-type"] == "audio/mpeg"
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=("speech.mp3", b"".join(pieces)), language="en"
    )
    assert word_error_rate(_TEXT, heard.text) < 0.15


def test_the_better_voice_can_be_chosen(client: OpenAI) -> None:
    spoken = client.audio.speech.create(
        model="tts-1-hd", voice="onyx", input="Good evening.", response_format="flac"
    )
    with av.open(io.BytesIO(spoken.content)) as file:
        seconds = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    assert 0.5 < seconds < 5


def test_an_answer_is_written_and_spoken(client: OpenAI, running: Running) -> None:
    stream = client.chat.completions.create(
        model=QUICK,
        messages=[{"role": "user", "content": "Say hello and tell me about the sea."}],
        max_completion_tokens=40,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "pcm16"},
        stream=True,
    )
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    parts = [delta.audio for delta in deltas if delta.audio]
    transcript = "".join(part.transcript or "" for part in parts)
    sound = b"".join(base64.b64decode(part.data or "") for part in parts)
    assert transcript
    assert len(sound) > 24_000
    (asset_id,) = [part.id for part in parts if part.id]
    with running.http() as http:
        kept = http.get(f"/api/v1/assets/{asset_id}/content").raise_for_status()
    with av.open(io.BytesIO(kept.content)) as file:
        n_samples = sum(frame.samples for frame in file.decode(audio=0))
    assert n_samples == len(sound) // 2


def test_voices_are_listed_with_their_models(running: Running) -> None:
    with running.http() as http:
        voices = http.get("/api/v1/voices").raise_for_status().json()["data"]
    assert {voice["model"] for voice in voices} == {"hibari", "kokoro-82m"}
    assert voices[0]["id"] == "heart"
