"""What tests of the wired graph share: a bus, a cache, an ingress on real stores, the stock SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from openai import AsyncOpenAI

from serve.domain.ports import Accounts
from serve.domain.records import Caller
from serve.storage.local_objects import LocalObjectStore
from serve.storage.postgres.pool import Database
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.scripted import Bus, open_bus


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    """How processes hear of each other."""
    async with open_bus(redis_url) as opened:
        yield opened


@pytest.fixture
async def cache(redis_url: str, tmp_path: Path) -> AsyncIterator[StoredPerceptionCache]:
    """Perceptions of this test alone."""
    client = connect(redis_url)
    yield StoredPerceptionCache(client, LocalObjectStore(tmp_path))
    await client.aclose()


@pytest.fixture
async def door(
    database: Database, redis_url: str, tmp_path: Path, accounts: Accounts, ada: Caller
) -> AsyncIterator[Ingress]:
    """The HTTP application on real stores, with scripted models behind it."""
    async with ingress(database, redis_url, tmp_path, accounts, ada) as opened:
        yield opened


@pytest.fixture
def sdk(door: Ingress) -> AsyncOpenAI:
    """The stock SDK on the same connection, refusing whatever breaks OpenAI's schema."""
    key = door.http.headers["authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(
        api_key=key,
        base_url="http://ingress/v1",
        http_client=cast("Any", door.http),
        max_retries=0,
        _strict_response_validation=True,
    )
