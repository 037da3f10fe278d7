"""The perception cache against a real Valkey and a local folder."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from serve.domain.errors import StoreUnavailable
from serve.domain.messages import (
    AudioPerception,
    Box,
    DetectedObject,
    ImagePerception,
    Label,
    Perception,
    Shot,
    TextLine,
    TranscriptSegment,
    VideoPerception,
)
from serve.domain.perception import perception_key
from serve.domain.ports import ObjectStore
from serve.storage.objects import open_object_store
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache

PICTURE = ImagePerception(
    labels=(Label("tabby", 0.75),),
    objects=(DetectedObject("cat", 0.5, Box(1, 2, 30, 40)),),
    text_lines=(TextLine("Grüße 猫", 0.25, Box(0, 0, 10, 5)),),
    description="a cat",
    vector=(0.6, 0.8),
    encode_s=0.125,
)
RECORDING = AudioPerception(
    segments=(TranscriptSegment(0.0, 1.5, " Hello."),),
    language="en",
    language_probability=0.875,
    sound_tags=(Label("Speech", 0.5),),
    vector=(1.0, 0.0),
    duration_s=2.0,
    speech_s=1.5,
    encode_s=0.25,
)

FILM = VideoPerception(
    shots=(
        Shot(
            start_s=0.0,
            end_s=1.5,
            frame_s=0.25,
            description="a cat",
            labels=PICTURE.labels,
            objects=PICTURE.objects,
            text_lines=PICTURE.text_lines,
            vector=(0.6, 0.8),
        ),
    ),
    sound=RECORDING,
    vector=(1.0, 0.0),
    duration_s=1.5,
    encode_s=0.5,
)
SILENT_FILM = replace(FILM, sound=None)


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with open_object_store((tmp_path / "objects").as_uri()) as store:
        yield store


@pytest.fixture
async def cache(redis_url: str, objects: ObjectStore) -> AsyncIterator[StoredPerceptionCache]:
    async with connect(redis_url) as client:
        yield StoredPerceptionCache(client, objects)


@pytest.fixture
def key() -> str:
    return perception_key("user_a", secrets.token_hex(32), "encoder@1")


@pytest.mark.parametrize(
    "perception",
    [PICTURE, RECORDING, FILM, SILENT_FILM],
    ids=["picture", "recording", "film", "silent film"],
)
async def test_what_was_perceived_once_is_known(
    cache: StoredPerceptionCache, key: str, perception: Perception
) -> None:
    assert await cache.get(key) is None
    await cache.put(key, perception)
    assert await cache.get(key) == perception


async def test_it_survives_the_loss_of_redis_and_is_indexed_again(
    cache: StoredPerceptionCache, objects: ObjectStore, redis_url: str, key: str
) -> None:
    await cache.put(key, PICTURE)
    async with connect(redis_url) as client:
        await client.delete(f"pm:perception:{key}")
        assert await cache.get(key) == PICTURE
        assert await client.exists(f"pm:perception:{key}")
    async with connect("redis://127.0.0.1:1") as absent:
        without_redis = StoredPerceptionCache(absent, objects)
        assert await without_redis.get(key) == PICTURE
        await without_redis.put(key, PICTURE)


async def test_a_damaged_index_entry_is_read_from_the_objects_instead(
    cache: StoredPerceptionCache, redis_url: str, key: str
) -> None:
    await cache.put(key, PICTURE)
    async with connect(redis_url) as client:
        await client.set(f"pm:perception:{key}", b'{"half": ')
    assert await cache.get(key) == PICTURE


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1, 2]", b"\xff\x00", b'{"kind": "smell"}'])
async def test_a_damaged_object_is_a_miss(
    cache: StoredPerceptionCache, objects: ObjectStore, key: str, damage: bytes
) -> None:
    await objects.put(f"perceptions/{key[:2]}/{key}.json", damage, mime_type="application/json")
    assert await cache.get(key) is None
    await cache.put(key, PICTURE)
    assert await cache.get(key) == PICTURE


async def test_an_object_store_that_does_not_answer_is_a_miss_to_readers_not_to_writers(
    redis_url: str, tmp_path: Path, key: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    async with (
        connect(redis_url) as client,
        open_object_store((tmp_path / "file" / "objects").as_uri()) as broken,
    ):
        cache = StoredPerceptionCache(client, broken)
        assert await cache.get(key) is None
        with pytest.raises(StoreUnavailable):
            await cache.put(key, PICTURE)
