"""The vector index against a real Chroma server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from serve.domain.errors import InvalidRequest, StoreUnavailable
from serve.storage.chroma import ChromaVectorIndex


@pytest.fixture
async def index(chroma_url: str) -> AsyncIterator[ChromaVectorIndex]:
    async with ChromaVectorIndex(chroma_url) as index:
        yield index


@pytest.fixture
def encoder() -> str:
    return f"encoder@{secrets.token_hex(20)}"


async def test_the_nearest_come_first_with_their_cosine_similarity(
    index: ChromaVectorIndex, encoder: str
) -> None:
    for asset_id, vector in {
        "asset_right": (1.0, 0.0),
        "asset_diagonal": (2.0, 2.0),
        "asset_up": (0.0, 1.0),
        "asset_left": (-1.0, 0.0),
    }.items():
        await index.upsert(encoder, "user_a", asset_id, vector)
    found = await index.nearest(encoder, "user_a", (3.0, 0.0), 3)
    assert [asset_id for asset_id, _ in found] == ["asset_right", "asset_diagonal", "asset_up"]
    assert [similarity for _, similarity in found] == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-5)


async def test_nobody_finds_what_belongs_to_somebody_else(
    index: ChromaVectorIndex, encoder: str
) -> None:
    await index.upsert(encoder, "user_a", "asset_a", (1.0, 0.0))
    await index.upsert(encoder, "user_b", "asset_b", (1.0, 0.0))
    assert [id_ for id_, _ in await index.nearest(encoder, "user_b", (1.0, 0.0), 10)] == ["asset_b"]


async def test_revisions_of_an_encoder_do_not_mix(index: ChromaVectorIndex, encoder: str) -> None:
    await index.upsert(encoder, "user_a", "asset_a", (1.0, 0.0))
    assert await index.nearest(f"{encoder}-next", "user_a", (1.0, 0.0), 10) == ()


async def test_upserting_again_replaces_and_deleting_removes(
    index: ChromaVectorIndex, encoder: str
) -> None:
    await index.upsert(encoder, "user_a", "asset_a", (1.0, 0.0))
    await index.upsert(encoder, "user_a", "asset_a", (0.0, 1.0))
    [(asset_id, similarity)] = await index.nearest(encoder, "user_a", (0.0, 1.0), 10)
    assert asset_id == "asset_a"
    assert similarity == pytest.approx(1.0)
    await index.delete(encoder, "user_a", "asset_a")
    await index.delete(encoder, "user_a", "asset_a")
    await index.delete(encoder, "user_nobody", "asset_a")
    assert await index.nearest(encoder, "user_a", (0.0, 1.0), 10) == ()


async def test_a_vector_of_another_length_is_refused(
    index: ChromaVectorIndex, encoder: str
) -> None:
    await index.upsert(encoder, "user_a", "asset_a", (1.0, 0.0))
    with pytest.raises(InvalidRequest):
        await index.upsert(encoder, "user_a", "asset_b", (1.0, 0.0, 0.0))


async def test_another_replica_sees_the_same(
    index: ChromaVectorIndex, chroma_url: str, encoder: str
) -> None:
    await index.upsert(encoder, "user_a", "asset_a", (1.0, 0.0))
    async with ChromaVectorIndex(chroma_url) as other:
        await other.upsert(encoder, "user_a", "asset_b", (0.0, 1.0))
    assert len(await index.nearest(encoder, "user_a", (1.0, 0.0), 10)) == 2


async def test_ping_tells_whether_the_server_answers(index: ChromaVectorIndex) -> None:
    await index.ping()
    async with ChromaVectorIndex("http://127.0.0.1:1") as absent:
        with pytest.raises(StoreUnavailable):
            await absent.ping()
        with pytest.raises(StoreUnavailable):
            await absent.nearest("encoder", "user_a", (1.0,), 1)
