"""A video over HTTP: uploaded, played from anywhere, asked about, and its timeline."""

from __future__ import annotations

import base64
from typing import Any

from openai import AsyncOpenAI

from tests.fixtures.clips import clip, colours
from tests.fixtures.ingress import Ingress
from tests.fixtures.scripted import MODEL


async def _uploaded(door: Ingress) -> dict[str, Any]:
    film = clip([(1.0, colours()[0])], metadata={"title": "Secret"})
    sent = await door.http.post("/api/v1/assets", files={"file": ("a.mp4", film, "video/mp4")})
    assert sent.status_code == 200, sent.text
    view: dict[str, Any] = sent.json()
    return view


async def test_a_video_can_be_played_from_any_moment(door: Ingress) -> None:
    view = await _uploaded(door)
    assert (view["kind"], view["mime_type"]) == ("video", "video/mp4")
    assert (view["width_px"], view["height_px"]) == (320, 180)
    whole = await door.http.get(view["content_url"])
    assert whole.headers["accept-ranges"] == "bytes"
    assert b"Secret" not in whole.content
    part = await door.http.get(view["content_url"], headers={"range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole.content[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    beyond = await door.http.get(view["content_url"], headers={"range": "bytes=9999999-"})
    assert beyond.status_code == 416


async def test_a_question_about_a_video_leaves_its_timeline(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    asset_id = (await _uploaded(door))["id"]
    timeline = f"/api/v1/assets/{asset_id}/perception"
    assert (await door.http.get(timeline)).status_code == 404
    answer = await sdk.responses.create(
        model=MODEL,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "file_id": asset_id},
                    {"type": "input_text", "text": "When does the rabbit appear?"},
                ],
            }
        ],
    )
    assert answer.output_text == "Hello there"
    seen = (await door.http.get(timeline)).json()
    assert seen["kind"] == "video"
    assert [shot["description"] for shot in seen["shots"]] == ["A rabbit."]
    assert seen["sound"] is None


async def test_a_video_may_come_inside_the_question(door: Ingress, sdk: AsyncOpenAI) -> None:
    film = base64.b64encode(clip([(0.4, colours()[0])], container="webm", codec="libvpx")).decode()
    answer = await sdk.responses.create(
        model=MODEL,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "file_data": f"data:video/webm;base64,{film}"},
                    {"type": "input_text", "text": "What is this?"},
                ],
            }
        ],
    )
    assert answer.output_text == "Hello there"
    [kept] = (await door.http.get("/api/v1/assets")).json()["data"]
    assert (kept["kind"], kept["mime_type"]) == ("video", "video/webm")
