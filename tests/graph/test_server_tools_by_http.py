"""What tools of the server make within a response, as clients of the stock SDK see it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import PIL.Image
from openai import AsyncOpenAI
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseImageGenCallPartialImageEvent,
    ResponseStreamEvent,
)
from openai.types.responses.tool_param import ImageGeneration

from serve.domain.messages import ToolCall
from serve.domain.moderation import ContentPolicy, ModerationRules
from serve.domain.ports import Accounts
from serve.domain.records import Caller
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import Ingress, ScriptedModerator, ingress
from tests.fixtures.scripted import MODEL


def _calls(name: str, arguments: str) -> ToolCall:
    return ToolCall(call_id="call_1", name=name, arguments=arguments)


async def _draw(sdk: AsyncOpenAI, tool: ImageGeneration) -> list[ResponseStreamEvent]:
    stream = await sdk.responses.create(
        model=MODEL, input="Draw a ship.", tools=[tool], stream=True
    )
    return [event async for event in stream]


def _partial(events: list[ResponseStreamEvent]) -> list[ResponseImageGenCallPartialImageEvent]:
    return [each for each in events if isinstance(each, ResponseImageGenCallPartialImageEvent)]


async def test_a_drawing_shows_itself_on_its_way_to_whoever_reads_whenever(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    door.generator.call = _calls("image_generation", '{"prompt":"a ship"}')
    events = await _draw(
        sdk, {"type": "image_generation", "partial_images": 2, "size": "1024x1536"}
    )
    kinds = [event.type.removeprefix("response.image_generation_call.") for event in events]
    first = kinds.index("in_progress")
    assert kinds[first:][:5] == [
        "in_progress",
        "generating",
        "partial_image",
        "partial_image",
        "completed",
    ]
    previews = _partial(events)
    assert [preview.partial_image_index for preview in previews] == [0, 1]
    pictures = [
        PIL.Image.open(io.BytesIO(base64.b64decode(preview.partial_image_b64)))
        for preview in previews
    ]
    assert [(each.format, each.size) for each in pictures] == [("WEBP", (1024, 1536))] * 2
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent)
    for after in (0, previews[0].sequence_number):
        again = await sdk.responses.retrieve(last.response.id, stream=True, starting_after=after)
        assert [event async for event in again] == events[after + 1 :]


async def test_no_preview_is_sent_that_was_not_asked_for(door: Ingress, sdk: AsyncOpenAI) -> None:
    door.generator.call = _calls("image_generation", '{"prompt":"a ship"}')
    assert not _partial(await _draw(sdk, {"type": "image_generation"}))


async def test_what_tools_made_says_how_and_for_which_answer(
    door: Ingress, sdk: AsyncOpenAI, ada: Caller
) -> None:
    door.generator.call = _calls("image_generation", '{"prompt":"a ship"}')
    drawn = await sdk.responses.create(
        model=MODEL, input="Draw a ship.", tools=[{"type": "image_generation"}]
    )
    door.generator.call = _calls("speech", '{"text":"Ahoy."}')
    spoken = await sdk.responses.create(
        model=MODEL, input="Speak.", tools=[{"type": "custom", "name": "speech"}]
    )
    recipes = []
    for answer in (drawn, spoken):
        asset_id = answer.output[1].model_dump()["asset_id"]
        media = await door.ports.assets.get(ada, asset_id)
        assert media.making is not None
        recipes.append(media.making.recipe)
    [request] = door.painter.requests
    size = f"{request.width_px}x{request.height_px}"
    assert recipes == [
        {
            "prompt": "a ship",
            "seed": request.seed,
            "steps": 4,
            "size": size,
            "response_id": drawn.id,
        },
        {"text": "Ahoy.", "voice": "hum", "speed": 1.0, "response_id": spoken.id},
    ]


async def test_what_may_not_be_said_is_not_said_by_the_model_either(
    database: Database, redis_url: str, tmp_path: Path, accounts: Accounts, ada: Caller
) -> None:
    policy = ContentPolicy(
        moderator=ScriptedModerator(texts={"vile": {"hate": 1.0}}),
        text_rules=ModerationRules.parse("hate=refuse:0.5"),
        picture_rules=ModerationRules.parse("off"),
    )
    async with ingress(database, redis_url, tmp_path, accounts, ada, moderation=policy) as door:
        door.generator.call = _calls("speech", '{"text":"vile"}')
        tools = [{"type": "custom", "name": "speech"}]
        body = {"model": MODEL, "input": "Speak.", "tools": tools}
        answer = (await door.http.post("/v1/responses", json=body)).json()
        [call] = [item for item in answer["output"] if item["type"] == "custom_tool_call"]
        assert (answer["status"], call["status"]) == ("completed", "failed")
        assert not door.voice.requests
        assert (await door.http.get("/api/v1/assets")).json()["data"] == []
