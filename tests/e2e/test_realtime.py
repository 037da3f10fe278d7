"""A spoken question to the running product, by the stock SDK: heard, answered, said, recorded."""

from __future__ import annotations

import asyncio

import pytest

from tests.fixtures.running import DEFAULT, Running
from tests.fixtures.talking import silent, talking

pytestmark = [pytest.mark.e2e, pytest.mark.models]

_QUESTION = "Hello, what is the capital city of France?"


def _question(running: Running) -> bytes:
    """The question said by the product itself: 16-bit mono at 24 kHz."""
    reply = running.openai().audio.speech.create(
        model="tts-1", voice="alloy", input=_QUESTION, response_format="pcm"
    )
    return reply.content


async def test_a_spoken_question_is_answered_aloud(running: Running) -> None:
    sound = _question(running)
    secret = running.openai().realtime.client_secrets.create(
        session={
            "type": "realtime",
            "model": "gpt-realtime",
            "instructions": "Answer in one short sentence.",
            "max_output_tokens": 40,
            "audio": {"input": {"transcription": {"model": "whisper-1"}}},
        }
    )
    address = running.url.removeprefix("http://")
    async with talking(address, secret.value, model=DEFAULT) as talk:
        await talk.says(silent(300) + sound + silent(1000))
        done = (await talk.until("response.done")).response
        item_id = talk.all("input_audio_buffer.committed")[0].item_id
        recording = None
        # It is kept beside the answer, which does not wait for it.
        for _ in range(60):
            await talk.connection.conversation.item.retrieve(item_id=item_id)
            item = (await talk.until("conversation.item.retrieved")).item
            recording = getattr(item.content[0], "file_id", None)
            if recording:
                break
            await asyncio.sleep(0.25)
    heard = talk.all("conversation.item.input_audio_transcription.completed")[0]
    assert heard.transcript == _QUESTION
    assert done.status == "completed"
    assert "Paris" in talk.transcript()
    assert len(talk.sound()) > 24_000
    with running.http() as http:
        kept = http.get(f"/api/v1/assets/{recording}")
        assert kept.json().get("kind") == "audio", (recording, kept.text)
        trace = http.get(f"/api/v1/requests/{done.id}/trace").json()
    assert {"transcribe", "generate"} <= {span["name"] for span in trace["spans"]}
