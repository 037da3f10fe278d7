"""One suite for every object store, on a local folder and on a real S3 server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from serve.domain.errors import InvalidRequest, NotFound, StoreUnavailable
from serve.domain.ports import ObjectStore
from serve.storage.objects import open_object_store
from tests.fixtures.stores import S3Server


@pytest.fixture(params=["local folder", "S3"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "S3":
        server: S3Server = request.getfixturevalue("s3_server")
        async with on_s3(server) as store:
            yield store
    else:
        async with open_object_store((tmp_path / "objects").as_uri()) as store:
            yield store


def on_s3(server: S3Server, secret: str | None = None) -> AbstractAsyncContextManager[ObjectStore]:
    return open_object_store(
        f"s3://{server.bucket}/some/prefix",
        s3_endpoint_url=server.endpoint_url,
        s3_access_key_id=server.access_key_id,
        s3_secret_access_key=secret or server.secret_access_key,
        s3_region=server.region,
    )


async def test_what_was_put_is_got_back(objects: ObjectStore) -> None:
    content = bytes(range(256)) * 4
    await objects.put("media/ab/picture.png", content, mime_type="image/png")
    assert await objects.get("media/ab/picture.png") == content
    assert await objects.exists("media/ab/picture.png")


async def test_an_open_file_is_put_from_its_beginning(objects: ObjectStore) -> None:
    content = bytes(range(256)) * 40_000
    with TemporaryFile() as file:
        file.write(content)
        await objects.put_file("media/ab/talk.flac", file, mime_type="audio/flac")
    assert await objects.get("media/ab/talk.flac") == content


async def test_an_empty_object_is_an_object(objects: ObjectStore) -> None:
    await objects.put("empty", b"", mime_type="text/plain")
    assert await objects.get("empty") == b""
    assert await objects.exists("empty")


async def test_putting_twice_keeps_the_last(objects: ObjectStore) -> None:
    await objects.put("twice", b"first, and longer", mime_type="text/plain")
    await objects.put("twice", b"second", mime_type="text/plain")
    assert await objects.get("twice") == b"second"


async def test_what_is_not_there_is_not_found(objects: ObjectStore) -> None:
    assert not await objects.exists("nowhere/absent")
    with pytest.raises(NotFound):
        await objects.get("nowhere/absent")


async def test_a_folder_of_objects_is_no_object(objects: ObjectStore) -> None:
    await objects.put("folder/inside", b"x", mime_type="text/plain")
    assert not await objects.exists("folder")
    with pytest.raises(NotFound):
        await objects.get("folder")


async def test_deleted_is_gone_and_deleting_again_is_fine(objects: ObjectStore) -> None:
    await objects.put("gone", b"x", mime_type="text/plain")
    await objects.delete("gone")
    await objects.delete("gone")
    assert not await objects.exists("gone")


async def test_a_large_object_survives_concurrent_writers_whole(objects: ObjectStore) -> None:
    versions = [bytes([letter]) * 7_000_000 for letter in b"abc"]
    async with asyncio.TaskGroup() as group:
        for version in versions:
            group.create_task(objects.put("large", version, mime_type="text/plain"))
    assert await objects.get("large") in versions


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", ".hidden", "a/.hidden", "A", "a b",
     "a\\b", "a\x00b", "é", "a" * 600],
)  # fmt: skip
async def test_a_key_that_could_mean_something_else_is_refused(
    objects: ObjectStore, key: str
) -> None:
    with pytest.raises(InvalidRequest):
        await objects.put(key, b"x", mime_type="text/plain")
    with pytest.raises(InvalidRequest):
        await objects.get(key)
    with pytest.raises(InvalidRequest):
        await objects.delete(key)


async def test_a_store_that_works_answers_ping(objects: ObjectStore) -> None:
    await objects.ping()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with open_object_store(
        "s3://bucket",
        s3_endpoint_url="http://127.0.0.1:1",
        s3_access_key_id="key",
        s3_secret_access_key="secret",
    ) as store:
        with pytest.raises(StoreUnavailable):
            await store.ping()


async def test_a_server_that_refuses_our_keys_is_unavailable(s3_server: S3Server) -> None:
    async with on_s3(s3_server, secret="wrong") as store:
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.get("anything")


async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with open_object_store((tmp_path / "file" / "objects").as_uri()) as store:
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.put("key", b"x", mime_type="text/plain")


async def test_other_kinds_of_store_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ftp"):
        async with open_object_store("ftp://somewhere"):
            pass
