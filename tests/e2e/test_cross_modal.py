"""One answer across modalities, through the stock SDK in strict mode, on the default models."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, OpenAI
from openai.types.responses import (
    Response,
    ResponseCustomToolCall,
    ResponseFileSearchToolCall,
)
from openai.types.responses.response_output_item import ImageGenerationCall
from PIL import Image

from tests.fixtures.running import DEFAULT, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]


@pytest.fixture(scope="module")
def client(running: Running) -> OpenAI:
    return running.openai()


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    with running.http() as client:
        yield client


def _asset(item: ImageGenerationCall | ResponseCustomToolCall) -> str:
    return str((item.model_extra or {})["asset_id"])


def _spoken(client: OpenAI, http: httpx.Client, asset_id: str) -> str:
    sound = http.get(f"/api/v1/assets/{asset_id}/content")
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=("speech.flac", sound.content, "audio/flac")
    )
    return heard.text.lower()


def test_a_picture_is_drawn_on_the_way_to_the_answer(client: OpenAI, http: httpx.Client) -> None:
    kinds = []
    previews = []
    final: Response | None = None
    for event in client.responses.create(
        model=DEFAULT,
        input="Draw a red apple.",
        tools=[{"type": "image_generation", "partial_images": 2}],
        tool_choice={"type": "image_generation"},
        max_output_tokens=100,
        stream=True,
    ):
        kinds.append(event.type)
        if event.type == "response.image_generation_call.partial_image":
            previews.append(Image.open(io.BytesIO(base64.b64decode(event.partial_image_b64))))
        if event.type == "response.completed":
            final = event.response
    assert "response.image_generation_call.generating" in kinds
    assert [preview.size for preview in previews] == [(512, 512)] * 2
    assert final is not None
    drawn = final.output[0]
    assert isinstance(drawn, ImageGenerationCall)
    assert Image.open(io.BytesIO(base64.b64decode(drawn.result or ""))).size == (512, 512)
    assert final.output[-1].type == "message"
    # Asked for later, it is the same picture, with its history.
    again = client.responses.retrieve(final.id).output[0]
    assert isinstance(again, ImageGenerationCall)
    assert again.result == drawn.result
    made = http.get(f"/api/v1/assets/{_asset(drawn)}/provenance").json()
    assert made["valid"]
    trace = http.get(f"/api/v1/requests/{final.id}/trace").json()
    assert "image_generation" in {span["name"] for span in trace["spans"]}


def test_a_picture_is_described_aloud(client: OpenAI, http: httpx.Client, cat_photo: Path) -> None:
    photo = base64.b64encode(cat_photo.read_bytes()).decode()
    response = client.responses.create(
        model=DEFAULT,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Say aloud which animal this shows."},
                    {
                        "type": "input_image",
                        "image_url": f"data:image/jpeg;base64,{photo}",
                        "detail": "auto",
                    },
                ],
            }
        ],
        tools=[{"type": "custom", "name": "speech"}],
        tool_choice={"type": "custom", "name": "speech"},
        temperature=0,
        max_output_tokens=200,
    )
    spoken = response.output[0]
    assert isinstance(spoken, ResponseCustomToolCall)
    assert "cat" in _spoken(client, http, _asset(spoken))
    parents = http.get(f"/api/v1/assets/{_asset(spoken)}/lineage").json()["parents"]
    assert [parent["kind"] for parent in parents] == ["image"]


def test_the_library_is_searched_for_what_was_said(client: OpenAI, voice_note: Path) -> None:
    client.audio.transcriptions.create(
        model="whisper-1", file=(voice_note.name, voice_note.read_bytes(), "audio/wav")
    )
    response = client.responses.create(
        model=DEFAULT,
        input="Which of my recordings has somebody reading aloud?",
        tools=[{"type": "file_search", "vector_store_ids": ["library"]}],
        tool_choice={"type": "file_search"},
        max_output_tokens=100,
    )
    found = response.output[0]
    assert isinstance(found, ResponseFileSearchToolCall)
    assert found.results
    assert {result.filename for result in found.results} >= {voice_note.name}


def test_a_turn_can_be_sent_back_with_what_was_drawn(client: OpenAI) -> None:
    first = client.responses.create(
        model=DEFAULT,
        input="Draw a heart.",
        tools=[{"type": "image_generation"}],
        tool_choice={"type": "image_generation"},
        max_output_tokens=60,
    )
    response = client.responses.create(
        model=DEFAULT,
        previous_response_id=first.id,
        input="Thank you. What did you just draw?",
        max_output_tokens=60,
    )
    assert response.status in ("completed", "incomplete")


def test_a_tool_choice_without_its_tool_is_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="tool_choice names 'image_generation'"):
        client.responses.create(
            model=DEFAULT, input="Draw.", tool_choice={"type": "image_generation"}
        )
