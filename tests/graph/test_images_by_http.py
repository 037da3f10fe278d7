"""Pictures over HTTP: what a client gets, and what happens when it or the painter fails."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import MutableMapping
from typing import Any

import PIL.Image
import pytest
from openai import (
    APIStatusError,
    AsyncOpenAI,
    BadRequestError,
    NotFoundError,
    UnprocessableEntityError,
)

from serve.domain.errors import BrokenMedia, EngineDead
from serve.domain.records import Caller
from tests.fixtures.ingress import PAINTER, Ingress
from tests.fixtures.painting import one_colour

_GENERATIONS = "/v1/images/generations"


def _picture(b64_json: str | None) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(b64_json or "")))


def _mask(side_px: int, *, has_hole: bool = True) -> bytes:
    mask = PIL.Image.new("RGBA", (side_px, side_px), (0, 0, 0, 255))
    if has_hole:
        mask.paste((0, 0, 0, 0), (0, 0, side_px // 2, side_px))
    written = io.BytesIO()
    mask.save(written, "PNG")
    return written.getvalue()


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
async def test_pictures_come_in_the_format_and_size_that_were_asked_for(
    door: Ingress, sdk: AsyncOpenAI, form: Any
) -> None:
    answer = await sdk.images.generate(
        model="gpt-image-1",
        prompt="a red apple",
        n=2,
        size="256x256",
        output_format=form,
        background="transparent",
        extra_body={"seed": 7, "steps": 3, "guidance": 2.5, "negative_prompt": "a pear"},
    )
    assert answer.data
    pictures = [_picture(each.b64_json) for each in answer.data]
    assert [(each.format, each.size) for each in pictures] == [(form.upper(), (256, 256))] * 2
    assert (answer.size, answer.output_format, answer.background) == ("256x256", form, "opaque")
    seeds = sorted(request.seed for request in door.painter.requests)
    request = door.painter.requests[0]
    assert seeds == [7, 8]
    assert (request.model, request.prompt, request.steps) == (PAINTER, "a red apple", 3)
    assert (request.guidance, request.negative_prompt) == (2.5, "a pear")


async def test_every_picture_is_an_asset_that_says_how_it_was_made(
    door: Ingress, sdk: AsyncOpenAI, ada: Caller
) -> None:
    answer = await sdk.images.generate(prompt="a ship", extra_body={"seed": 3})
    assert answer.data
    item = answer.data[0].model_dump()
    media = await door.ports.assets.get(ada, item["asset_id"])
    assert media.making is not None
    assert (media.making.action, media.making.model) == ("c2pa.created", PAINTER)
    assert media.making.recipe == {"prompt": "a ship", "seed": 3, "steps": 4, "size": "512x512"}
    assert item["seed"] == 3
    kept = await door.ports.objects.get(media.storage_key)
    assert base64.b64decode(item["b64_json"]) == kept


async def test_an_address_leads_to_the_picture(door: Ingress, sdk: AsyncOpenAI) -> None:
    answer = await sdk.images.generate(model="dall-e-3", prompt="a ship", size="256x256")
    assert answer.data
    assert answer.data[0].b64_json is None
    fetched = await door.http.get(str(answer.data[0].url))
    assert PIL.Image.open(io.BytesIO(fetched.content)).size == (256, 256)


async def test_without_a_seed_pictures_differ(door: Ingress, sdk: AsyncOpenAI) -> None:
    for _ in range(2):
        await sdk.images.generate(prompt="a ship", size="256x256")
    first, second = door.painter.requests
    assert first.seed != second.seed


async def test_a_stream_shows_the_picture_on_its_way(door: Ingress, sdk: AsyncOpenAI) -> None:
    stream = await sdk.images.generate(prompt="a ship", stream=True, partial_images=2)
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [getattr(event, "partial_image_index", None) for event in events] == [0, 1, None]
    assert all(_picture(event.b64_json).size == (512, 512) for event in events)


async def test_an_edit_has_its_source_as_parent(
    door: Ingress, sdk: AsyncOpenAI, ada: Caller
) -> None:
    answer = await sdk.images.edit(
        image=("cat.png", one_colour(80, 80, 1)),
        mask=("mask.png", _mask(80)),
        prompt="a hat",
        extra_body={"strength": 0.5},
    )
    assert answer.data
    request = door.painter.requests[0]
    assert (request.width_px, request.height_px, request.strength) == (80, 80, 0.5)
    assert request.source is not None
    assert request.mask is not None
    made = await door.ports.assets.get(ada, answer.data[0].model_dump()["asset_id"])
    assert made.making is not None
    assert (made.making.action, made.making.parents) == ("c2pa.edited", (request.source.asset_id,))
    assert made.making.recipe["mask"] == request.mask.asset_id
    children = await door.ports.assets.children(ada, request.source.asset_id)
    assert [child.asset_id for child in children] == [made.asset_id]


async def test_edits_stream_under_their_own_names(door: Ingress, sdk: AsyncOpenAI) -> None:
    stream = await sdk.images.edit(
        image=[("cat.png", one_colour(80, 80, 1))],
        prompt="a hat",
        size="256x256",
        stream=True,
        partial_images=1,
    )
    kinds = [event.type async for event in stream]
    assert kinds == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"n": 11}, "n"),
        ({"n": 0}, "n"),
        ({"size": "large"}, "size"),
        ({"size": "0x5"}, "size"),
        ({"output_format": "gif"}, "output_format"),
        ({"stream": True, "n": 2}, "n"),
        ({"partial_images": 2}, "partial_images"),
        ({"stream": True, "partial_images": 4}, "partial_images"),
        ({"steps": 101}, "steps"),
        ({"seed": -1}, "seed"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_painted_is_refused_before_any_work(
    door: Ingress, wishes: dict[str, Any], param: str
) -> None:
    answer = await door.http.post(_GENERATIONS, json={"prompt": "a ship", **wishes})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not door.painter.requests


async def test_an_unknown_model_is_told_the_choices(sdk: AsyncOpenAI) -> None:
    with pytest.raises(NotFoundError, match=PAINTER):
        await sdk.images.generate(prompt="a ship", model="painter-9")


async def test_a_mask_of_another_size_is_refused(door: Ingress, sdk: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="40x40"):
        await sdk.images.edit(
            image=("cat.png", one_colour(80, 80, 1)), mask=("mask.png", _mask(40)), prompt="a hat"
        )
    assert not door.painter.requests


async def test_edits_take_exactly_one_picture(door: Ingress, sdk: AsyncOpenAI) -> None:
    cat = ("cat.png", one_colour(80, 80, 1))
    with pytest.raises(BadRequestError, match="2 pictures"):
        await sdk.images.edit(image=[cat, cat], prompt="a hat")
    answer = await door.http.post(
        "/v1/images/edits", data={"prompt": "a hat"}, files={"mask": _mask(8)}
    )
    assert answer.json()["error"]["param"] == "image"


async def test_wrong_fields_of_an_edit_are_named(door: Ingress) -> None:
    answer = await door.http.post(
        "/v1/images/edits",
        data={"prompt": "a hat", "strength": "2"},
        files={"image": one_colour(8, 8, 1)},
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "strength")


async def test_what_is_no_picture_cannot_be_edited(sdk: AsyncOpenAI) -> None:
    with pytest.raises(APIStatusError) as refused:
        await sdk.images.edit(image=("cat.png", b"not a picture"), prompt="a hat")
    assert refused.value.status_code in (415, 422)


async def test_a_painter_that_fails_is_told_with_its_status(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    door.painter.error, door.painter.fails_at_once = BrokenMedia("torn", param="image"), True
    with pytest.raises(UnprocessableEntityError, match="torn"):
        await sdk.images.generate(prompt="a ship", n=3)
    with pytest.raises(UnprocessableEntityError, match="torn"):
        await sdk.images.generate(prompt="a ship", stream=True, partial_images=1)


async def test_a_failure_behind_the_first_look_ends_the_stream_with_an_error(
    door: Ingress,
) -> None:
    door.painter.error = EngineDead("the image generator is restarting")
    answer = await door.http.post(
        _GENERATIONS, json={"prompt": "a ship", "stream": True, "partial_images": 1}
    )
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
    assert [event["type"] for event in events] == ["image_generation.partial_image", "error"]
    assert events[-1]["error"]["code"] == "engine_unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_painting(door: Ingress, stream: bool) -> None:
    door.painter.hold = asyncio.Event()
    body = json.dumps({"prompt": "a ship", "stream": stream, "partial_images": int(stream)})
    key = door.http.headers["authorization"]
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": _GENERATIONS,
        "raw_path": _GENERATIONS.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", key.encode()), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("ingress", 80),
        "state": {},
    }
    asked = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body.encode(), "more_body": False}
        await door.painter.has_begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        return

    async with asyncio.timeout(10):
        await door.app(scope, receive, send)
        await door.painter.was_closed.wait()
    assert len(door.painter.requests) == 1
