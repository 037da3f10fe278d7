"""The stock OpenAI SDK, in strict mode, against the running product."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI
from openai.types.responses import Response
from PIL import Image

from tests.fixtures.running import DEFAULT, LONG_TASK, QUICK, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]

_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["city", "population"],
    "additionalProperties": False,
}
_WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(running: Running) -> OpenAI:
    return running.openai()


def _never_seen(photo: Path) -> str:
    """The photograph with one pixel of its own, as a data URL: no cache can know it."""
    picture = Image.open(photo).convert("RGB")
    picture.putpixel((0, 0), tuple(os.urandom(3)))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def _never_heard(recording: Path) -> bytes:
    """The recording with other last samples."""
    return recording.read_bytes()[:-16] + os.urandom(16)


def test_models_lists_the_default_generator_first(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == DEFAULT
    assert client.models.retrieve("whisper-1").id in names


def test_a_response_is_answered_stored_and_read_again(client: OpenAI) -> None:
    response = client.responses.create(
        model=DEFAULT,
        input="What is the capital of France? Answer with one word.",
        temperature=0,
        max_output_tokens=10,
        metadata={"purpose": "test"},
    )
    assert "Paris" in response.output_text
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    again = client.responses.retrieve(response.id)
    assert again.output_text == response.output_text
    assert again.metadata == {"purpose": "test"}
    [item] = client.responses.input_items.list(response.id).data
    assert item.type == "message"
    client.responses.delete(response.id)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(response.id)


def test_a_stream_tells_the_same_as_the_stored_answer(client: OpenAI) -> None:
    text = ""
    numbers: list[int] = []
    kinds: list[str] = []
    final: Response | None = None
    with client.responses.create(
        model=QUICK, input="Count from one to five.", max_output_tokens=30, stream=True
    ) as stream:
        for event in stream:
            kinds.append(event.type)
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type in ("response.completed", "response.incomplete"):
                final = event.response
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert numbers == list(range(len(numbers)))
    assert final is not None
    assert text == final.output_text == client.responses.retrieve(final.id).output_text
    assert final.usage is not None
    assert final.usage.output_tokens > 0


def test_a_finished_stream_is_replayed_from_any_event(client: OpenAI) -> None:
    with client.responses.create(
        model=QUICK, input="Say hello.", max_output_tokens=12, stream=True
    ) as stream:
        told: list[dict[str, Any]] = [event.to_dict() for event in stream]
    response_id = told[0]["response"]["id"]
    for after in (0, len(told) // 2, len(told) - 2):
        with client.responses.retrieve(response_id, stream=True, starting_after=after) as rest:
            assert [event.to_dict()["type"] for event in rest] == [
                event["type"] for event in told[after + 1 :]
            ]


def test_turns_remember_each_other_by_previous_response(client: OpenAI) -> None:
    first = client.responses.create(
        model=DEFAULT, input="My name is Ottilie. Remember it.", max_output_tokens=30
    )
    second = client.responses.create(
        model=DEFAULT,
        input="What is my name? Answer with the name only.",
        previous_response_id=first.id,
        temperature=0,
        max_output_tokens=12,
    )
    assert "Ottilie" in second.output_text


def test_turns_remember_each_other_by_conversation(client: OpenAI) -> None:
    conversation = client.conversations.create(metadata={"topic": "names"})

    def say(text: str) -> str:
        response = client.responses.create(
            model=DEFAULT,
            input=text,
            conversation=conversation.id,
            temperature=0,
            max_output_tokens=20,
        )
        return response.output_text

    say("My dog is called Balthasar.")
    assert "Balthasar" in say("What is my dog called? The name only.")
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.type for item in items] == ["message"] * 4
    client.conversations.delete(conversation.id)
    with pytest.raises(NotFoundError):
        client.conversations.retrieve(conversation.id)


def test_a_picture_and_a_voice_note_are_perceived_and_answered(
    client: OpenAI, running: Running, cat_photo: Path, voice_note: Path
) -> None:
    conversation = client.conversations.create()
    content: Any = [
        {"type": "input_text", "text": "Which animal is in the picture? Answer in a few words."},
        {"type": "input_image", "image_url": _never_seen(cat_photo)},
        {
            "type": "input_audio",
            "input_audio": {
                "data": base64.b64encode(_never_heard(voice_note)).decode(),
                "format": "wav",
            },
        },
    ]
    response = client.responses.create(
        model=DEFAULT,
        conversation=conversation.id,
        input=[{"role": "user", "content": content}],
        temperature=0,
        max_output_tokens=40,
    )
    assert "cat" in response.output_text.lower()
    with running.http() as http:
        first = http.get(f"/api/v1/requests/{response.id}/trace").json()
        looks = {span["name"]: span for span in first["spans"]}
        assert looks["look"]["attributes"]["cache"] == "miss"
        assert looks["listen"]["attributes"]["cache"] == "miss"
        assert {"store", "admit", "generate", "prefill", "decode"} <= set(looks)

        # The same file in another conversation is not encoded again.
        other = client.responses.create(
            model=DEFAULT,
            input=[{"role": "user", "content": content[:2]}],
            max_output_tokens=5,
        )
        second = http.get(f"/api/v1/requests/{other.id}/trace").json()
        [look] = [span for span in second["spans"] if span["name"] == "look"]
        assert look["attributes"]["cache"] == "hit"
        assert 'kind="image"' in http.get("/metrics").text

    items = client.conversations.items.list(conversation.id, order="asc").data
    parts = items[0].to_dict()["content"]
    assert isinstance(parts, list)
    assert [part["type"] for part in parts] == ["input_text", "input_image", "input_file"]
    with running.http() as http:
        seen = http.get(f"/api/v1/assets/{parts[1]['file_id']}/perception").json()
        heard = http.get(f"/api/v1/assets/{parts[2]['file_id']}/perception").json()
    assert "cat" in json.dumps(seen["labels"] + seen["objects"])
    assert heard["language"] == "en"
    assert heard["transcript"]


def test_chat_completions_stream_and_whole(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Say hello."}]
    whole = client.chat.completions.create(
        model=QUICK,
        messages=messages,
        temperature=0,
        max_tokens=16,
    )
    pieces, usage = [], None
    for chunk in client.chat.completions.create(
        model=QUICK,
        messages=messages,
        temperature=0,
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    ):
        usage = chunk.usage or usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert usage == whole.usage


def test_chat_takes_an_asset_by_id(client: OpenAI, running: Running, cat_photo: Path) -> None:
    with running.http() as http:
        asset = http.post("/api/v1/assets", files={"file": cat_photo.read_bytes()}).json()
    completion = client.chat.completions.create(
        model=DEFAULT,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Which animal is this? One word."},
                    {"type": "image_url", "image_url": {"url": asset["id"]}},
                ],
            }
        ],
        temperature=0,
        max_tokens=12,
    )
    assert "cat" in (completion.choices[0].message.content or "").lower()


def test_json_schema_output_satisfies_the_schema(client: OpenAI) -> None:
    response = client.responses.create(
        model=DEFAULT,
        input="Berlin has 3.7 million inhabitants. Give me that as JSON.",
        text={"format": {"type": "json_schema", "name": "city", "schema": _SCHEMA}},
        max_output_tokens=60,
    )
    answer = json.loads(response.output_text)
    assert set(answer) == {"city", "population"}
    assert isinstance(answer["population"], int)


def test_a_required_tool_is_called_and_its_output_used(client: OpenAI) -> None:
    tool: Any = {"type": "function", "name": "get_weather", "parameters": _WEATHER, "strict": True}
    first = client.responses.create(
        model=DEFAULT,
        input="What is the weather in Oslo?",
        tools=[tool],
        tool_choice="required",
        temperature=0,
        max_output_tokens=80,
    )
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"]
    second = client.responses.create(
        model=DEFAULT,
        previous_response_id=first.id,
        input=[
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": '{"sky": "snow", "celsius": -4}',
            },
            {"role": "user", "content": "So how is the weather? Answer in one sentence."},
        ],
        tools=[tool],
        tool_choice="none",
        temperature=0,
        max_output_tokens=60,
    )
    assert "snow" in second.output_text.lower() or "-4" in second.output_text


def test_embeddings_are_unit_vectors_that_mean_something(client: OpenAI) -> None:
    texts = ["a cat on a sofa", "a kitten on a couch", "quarterly tax report"]
    # The SDK asks for base64 when not told otherwise, which its own strict mode then refuses.
    created = client.embeddings.create(model="minilm-l6-v2", input=texts, encoding_format="float")
    vectors = [row.embedding for row in created.data]
    packed = OpenAI(base_url=client.base_url, api_key=client.api_key).embeddings.create(
        model="minilm-l6-v2", input=texts
    )
    assert packed.data[0].embedding == pytest.approx(vectors[0], abs=1e-6)

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(vectors[0], vectors[0]) == pytest.approx(1, abs=1e-3)
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]) + 0.3


def test_a_recording_is_transcribed(client: OpenAI, voice_note: Path) -> None:
    plain = client.audio.transcriptions.create(model="whisper-1", file=voice_note)
    timed = client.audio.transcriptions.create(
        model="whisper-1", file=voice_note, response_format="verbose_json"
    )
    assert plain.text == timed.text
    assert timed.segments
    assert timed.segments[-1].end <= timed.duration + 0.5


def test_a_background_response_is_polled_and_cancelled(client: OpenAI) -> None:
    response = client.responses.create(
        model=DEFAULT,
        input=LONG_TASK,
        max_output_tokens=1000,
        background=True,
    )
    assert response.status == "in_progress"
    assert client.responses.retrieve(response.id).status == "in_progress"
    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"


def test_leaving_a_stream_cancels_the_answer(client: OpenAI, running: Running) -> None:
    with client.responses.create(
        model=DEFAULT, input=LONG_TASK, max_output_tokens=1000, stream=True
    ) as stream:
        opening = next(iter(stream))
        assert opening.type == "response.created"
        next(event for event in stream if event.type == "response.output_text.delta")
    assert _settles_as(client, opening.response.id) == "cancelled"


def test_leaving_a_whole_answer_cancels_it_too(client: OpenAI, running: Running) -> None:
    conversation = client.conversations.create()
    with running.http() as http, pytest.raises(httpx.ReadTimeout):
        http.post(
            "/v1/responses",
            json={
                "model": DEFAULT,
                "input": LONG_TASK,
                "conversation": conversation.id,
                "max_output_tokens": 1000,
            },
            timeout=1,
        )
    with running.http() as http:
        deadline = time.monotonic() + 20
        path = f"/api/v1/conversations/{conversation.id}/active"
        while http.get(path).json()["response_id"] is not None:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _settles_as(client: OpenAI, response_id: str) -> str | None:
    deadline = time.monotonic() + 20
    while True:
        status = client.responses.retrieve(response_id).status
        if status != "in_progress" or time.monotonic() > deadline:
            return status
        time.sleep(0.2)


def test_a_request_goes_straight_to_its_generator(client: OpenAI, running: Running) -> None:
    direct = re.compile(r'^polymodal_generator_calls_total\{way="direct"\} (\S+)$', re.MULTILINE)
    client.chat.completions.create(
        model=QUICK, messages=[{"role": "user", "content": "Hi."}], max_tokens=4
    )
    with running.http() as http:
        counted = direct.search(http.get("/metrics").text)
    assert counted is not None
    assert float(counted[1]) >= 1
