"""Videos and other jobs over HTTP, through the stock SDK where it has words for them."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Final

import av
import PIL.Image
import pytest
from blake3 import blake3
from openai import AsyncOpenAI, BadRequestError, ConflictError, NotFoundError
from openai.types import Video

from serve.domain.errors import BrokenMedia, EngineDead
from serve.domain.media import MediaKind, SanitizedMedia
from serve.domain.moderation import ContentPolicy, ModerationRules
from serve.domain.ports import Accounts
from serve.domain.records import Caller, JsonObject
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import FILMER, Ingress, ScriptedModerator, ingress
from tests.fixtures.painting import one_colour

# The SDK says that OpenAI's own service ends; ours goes on.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

_SIZE: Final = "1280x720"


async def _made(sdk: AsyncOpenAI, prompt: str = "a red heart", **more: object) -> Video:
    return await sdk.videos.create_and_poll(
        prompt=prompt, size=_SIZE, poll_interval_ms=20, extra_body={"seed": 7, **more}
    )


def _picture() -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), (255, 0, 0)).save(out, "PNG")
    return out.getvalue()


async def test_a_video_is_made_watched_and_fetched(door: Ingress, sdk: AsyncOpenAI) -> None:
    video = await _made(sdk)
    assert (video.status, video.progress, video.model) == ("completed", 100, FILMER)
    assert (video.seconds, video.size, video.prompt) == ("4", _SIZE, "a red heart")
    request = door.filmer.requests[0]
    assert (request.n_frames, request.frames_per_s, request.seed) == (48, 12, 7)
    clip = (await sdk.videos.download_content(video.id)).content
    with av.open(io.BytesIO(clip)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    poster = await sdk.videos.download_content(video.id, variant="thumbnail")
    assert PIL.Image.open(io.BytesIO(poster.content)).format == "PNG"
    with pytest.raises(BadRequestError):
        await sdk.videos.download_content(video.id, variant="spritesheet")
    # It is an asset like any other, which knows how it was made.
    [asset] = (await door.http.get("/api/v1/assets")).json()["data"]
    assert (asset["kind"], asset["mime_type"]) == ("video", "video/mp4")


async def test_videos_are_listed_remixed_and_deleted(door: Ingress, sdk: AsyncOpenAI) -> None:
    first = await _made(sdk)
    second = await sdk.videos.remix(first.id, prompt="a blue heart")
    second = await sdk.videos.poll(second.id, poll_interval_ms=20)
    assert (second.remixed_from_video_id, second.prompt) == (first.id, "a blue heart")
    assert [request.seed for request in door.filmer.requests] == [7, 7]
    assert [video.id async for video in sdk.videos.list(limit=1)] == [second.id, first.id]
    assert [video.id async for video in sdk.videos.list(order="asc")] == [first.id, second.id]
    gone = await sdk.videos.delete(first.id)
    assert gone.deleted
    for vanished in (sdk.videos.retrieve, sdk.videos.download_content):
        with pytest.raises(NotFoundError):
            await vanished(first.id)


async def test_a_picture_can_be_where_a_video_begins(door: Ingress, sdk: AsyncOpenAI) -> None:
    uploaded = await sdk.videos.create(
        prompt="it moves", input_reference=("a.png", _picture()), size=_SIZE
    )
    await sdk.videos.poll(uploaded.id, poll_interval_ms=20)
    source = door.filmer.requests[0].source
    assert source is not None
    named = await sdk.videos.create(
        prompt="it moves",
        size=_SIZE,
        # The SDK takes files only, whatever its types say.
        extra_body={"input_reference[file_id]": source.asset_id},
    )
    await sdk.videos.poll(named.id, poll_interval_ms=20)
    assert door.filmer.requests[1].source == source
    video = (await door.http.get("/api/v1/assets")).json()["data"][0]
    [parent] = (await door.ports.assets.get(_owner(source.owner_id), video["id"])).making.parents  # type: ignore[union-attr]
    assert parent == source.asset_id


async def test_a_video_that_is_not_ready_says_so(door: Ingress, sdk: AsyncOpenAI) -> None:
    door.filmer.hold = asyncio.Event()
    video = await sdk.videos.create(prompt="slow", size=_SIZE)
    await door.filmer.has_begun.wait()
    with pytest.raises(ConflictError):
        await sdk.videos.download_content(video.id)
    with pytest.raises(ConflictError):
        await sdk.videos.remix(video.id, prompt="other")
    door.filmer.hold.set()
    assert (await sdk.videos.poll(video.id, poll_interval_ms=20)).status == "completed"


async def test_cancelling_closes_the_filmers_stream(door: Ingress, sdk: AsyncOpenAI) -> None:
    door.filmer.hold = asyncio.Event()
    video = await sdk.videos.create(prompt="never", size=_SIZE)
    await door.filmer.has_begun.wait()
    answer = await door.http.post(f"/api/v1/jobs/{video.id}/cancel")
    assert answer.json()["status"] == "cancelled"
    await door.filmer.was_closed.wait()
    ended = await sdk.videos.retrieve(video.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error.code == "cancelled"


async def test_a_filmer_that_dies_is_asked_again_and_one_that_refuses_is_not(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    door.filmer.errors = [EngineDead("gone")]
    assert (await _made(sdk)).status == "completed"
    keys = {request.checkpoint_key for request in door.filmer.requests}
    assert len(door.filmer.requests) == 2
    assert len(keys) == 1
    door.filmer.errors = [BrokenMedia("no picture")]
    failed = await _made(sdk)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "broken_media")


async def test_wrong_wishes_are_refused_before_anything_begins(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    for wrong in (
        {"size": "big"},
        {"seconds": "0"},
        {"seconds": "four"},
        {"seconds": "13"},
        {"seed": "-1"},
        {"prompt": ""},
    ):
        with pytest.raises(BadRequestError):
            await sdk.videos.create(prompt="a heart", extra_body=wrong)
    with pytest.raises(NotFoundError):
        await sdk.videos.create(prompt="a heart", model="sora-9")
    assert (await door.http.get("/api/v1/jobs")).json()["data"] == []


async def test_a_clip_that_shows_what_is_forbidden_is_not_kept(
    database: Database, redis_url: str, tmp_path: Path, accounts: Accounts, ada: Caller
) -> None:
    moderator = ScriptedModerator(texts={"vile": {"hate": 1.0}}, pictures={"sexual": 1.0})
    policy = ContentPolicy(
        moderator=moderator,
        text_rules=ModerationRules.parse("hate=refuse:0.5"),
        picture_rules=ModerationRules.parse("sexual=refuse:0.8"),
    )
    async with ingress(database, redis_url, tmp_path, accounts, ada, moderation=policy) as door:
        asked = await door.http.post("/v1/videos", data={"prompt": "vile"})
        assert asked.status_code == 400
        job_id = (await door.http.post("/v1/videos", data={"prompt": "kind"})).json()["id"]
        [*_, last] = await _events(door, job_id)
        assert (last["type"], last["code"]) == ("job.failed", "content_policy_violation")
        # Its second look is of the colour behind that of its seed.
        moderator.the_picture = one_colour(16, 16, 8)
        asked = await door.http.post("/v1/videos", data={"prompt": "kind", "seed": "7"})
        [*_, last] = await _events(door, asked.json()["id"])
        assert last["code"] == "content_policy_violation"
        assert "video at 0:01" in last["message"]
        assert (await door.http.get("/api/v1/assets")).json()["data"] == []


async def _events(door: Ingress, job_id: str, last_event_id: str | None = None) -> list[JsonObject]:
    headers = {} if last_event_id is None else {"last-event-id": last_event_id}
    answer = await door.http.get(f"/api/v1/jobs/{job_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for frame in filter(None, answer.text.split("\n\n")):
        lines = dict(line.split(": ", 1) for line in frame.splitlines() if line[:1] != ":")
        if not lines:
            continue
        event = json.loads(lines["data"])
        assert lines["id"] == str(event["sequence_number"])
        assert lines["event"] == event["type"]
        events.append(event)
    return events


async def test_events_can_be_read_on_behind_the_last_one_seen(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    video = await _made(sdk)
    told = await _events(door, video.id)
    assert [event["sequence_number"] for event in told] == list(range(1, len(told) + 1))
    assert told[-1]["type"] == "job.completed"
    assert told[-1]["asset_id"].startswith("asset_")
    assert await _events(door, video.id, "2") == told[2:]
    assert await _events(door, video.id, str(len(told))) == []
    refused = await door.http.get(f"/api/v1/jobs/{video.id}/events", headers={"last-event-id": "x"})
    assert refused.status_code == 400
    missing = await door.http.get("/api/v1/jobs/job_of_nobody/events")
    assert missing.status_code == 404


async def test_an_asset_is_perceived_and_transcribed_as_a_job(
    door: Ingress, database: Database, ada: Caller
) -> None:
    assets = PostgresAssets(database)
    ids = {}
    for kind in (MediaKind.AUDIO, MediaKind.IMAGE):
        content = kind.value.encode()
        media = SanitizedMedia(kind=kind, mime_type="", content=content)
        digest = blake3(content).hexdigest()
        ids[kind] = (await assets.add(ada, media, filename="", content_hash=digest)).asset_id
    heard = {"kind": "transcription", "asset_id": ids[MediaKind.AUDIO], "language": "de"}
    job = (await door.http.post("/api/v1/jobs", json=heard)).raise_for_status().json()
    await _events(door, job["id"])
    done = (await door.http.get(job["events_url"].removesuffix("/events"))).json()
    assert (done["status"], done["result"]["language"]) == ("completed", "de")
    seen = {"kind": "perception", "asset_id": ids[MediaKind.IMAGE]}
    job = (await door.http.post("/api/v1/jobs", json=seen)).json()
    [*_, last] = await _events(door, job["id"])
    assert last["description"].startswith("Picture")
    listed = (await door.http.get("/api/v1/jobs", params={"kind": "perception"})).json()
    assert [each["id"] for each in listed["data"]] == [job["id"]]
    for wrong, status in (
        ({"kind": "transcription", "asset_id": ids[MediaKind.IMAGE]}, 400),
        ({"kind": "perception", "asset_id": "asset_of_nobody"}, 404),
        ({"kind": "flying", "asset_id": ids[MediaKind.IMAGE]}, 400),
    ):
        assert (await door.http.post("/api/v1/jobs", json=wrong)).status_code == status
    assert (await door.http.get(f"/v1/videos/{job['id']}")).status_code == 404
    assert (await door.http.delete(f"/api/v1/jobs/{job['id']}")).status_code == 204
    assert (await door.http.get(f"/api/v1/jobs/{job['id']}")).status_code == 404


def _owner(user_id: str) -> Caller:
    return Caller(user_id=user_id, scopes=frozenset())
