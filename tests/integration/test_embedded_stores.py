from __future__ import annotations

import http.client

import asyncpg
import pytest
import redis.asyncio

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
