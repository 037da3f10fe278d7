from __future__ import annotations

import http.client
import os
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from serve.embedded.home import Home
from serve.embedded.postgres import PostgresStore
from serve.embedded.process import Identity
from tests.fixtures.stores import S3Server


async def test_postgres_has_the_vector_type_and_refuses_a_wrong_password(
    empty_postgres_dsn: str,
) -> None:
    connection = await asyncpg.connect(empty_postgres_dsn)
    await connection.execute("CREATE EXTENSION vector")
    assert await connection.fetchval("SELECT '[3,4]'::vector <-> '[0,0]'") == 5
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(empty_postgres_dsn, password="guess")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_postgres_keeps_its_data_when_root_must_run_it_another_way(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ways: tuple[Identity, ...] = ("nobody", "namespace", "nobody")
    with home.owned():
        for n_before, become in enumerate(ways):
            store = PostgresStore(home, become=become)
            store.start()
            try:
                store.wait_ready()
                connection = await asyncpg.connect(store.url)
                await connection.execute("CREATE TABLE IF NOT EXISTS start (n int)")
                assert await connection.fetchval("SELECT count(*) FROM start") == n_before
                await connection.execute("INSERT INTO start VALUES (1)")
                await connection.close()
            finally:
                store.stop(grace_s=10)


async def test_valkey_speaks_streams_and_refuses_strangers(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.xadd("embedded-test", {"a": "1"})
        assert await client.xlen("embedded-test") == 1
        await client.delete("embedded-test")
    host_and_port = redis_url.rpartition("@")[2]
    async with redis.asyncio.Redis.from_url(f"redis://{host_and_port}") as stranger:
        with pytest.raises(redis.AuthenticationError):
            await stranger.ping()


def test_chroma_answers(chroma_url: str) -> None:
    connection = http.client.HTTPConnection(chroma_url.removeprefix("http://"))
    connection.request("GET", "/api/v2/version")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b'"1.0.0"')
    connection.close()


def test_the_s3_server_has_the_bucket_that_its_settings_name(s3_server: S3Server) -> None:
    assert s3_server.environment["POLYMODAL_OBJECT_STORE_URL"] == f"s3://{s3_server.bucket}/media"
