"""Vectors in a Chroma server, one collection per encoder revision and owner.

Spoken to over its HTTP interface (v2) directly: the client package would cost every ingress
37 MB and 2.4 s of imports for the five calls below, and brings telemetry and embedding functions
that we would have to turn off. By urllib3 in threads, because Ray has it loaded anyway
(docs/adr/0015).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, Self, TypeVar

import orjson
import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError

from serve.domain.errors import InvalidRequest, NotFound, StoreUnavailable

_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_MAX_CACHED_IDS = 10_000
# Threads of their own: while the server stands still, nobody else should wait for one.
_MAX_AT_ONCE: Final = 8
_ASSET = "asset"
_HEADERS: Final = {"content-type": "application/json"}

M = TypeVar("M", bound=BaseModel)


class _Collection(BaseModel):
    id: str


class _Answer(BaseModel):
    """The first list level is the query; we always send one."""

    ids: list[list[str]]
    distances: list[list[float]]


class ChromaVectorIndex:
    """``VectorIndex`` on a Chroma server.

    A tenant is a collection, not a filter: a filter that keeps one percent of 100 000 vectors
    made a query thirty times slower.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        """Connects when first needed. Call ``aclose``, or use it as a context manager."""
        self._url = url.rstrip("/")
        self._client = urllib3.PoolManager(
            maxsize=_MAX_AT_ONCE, timeout=timeout_s, retries=False, headers=_HEADERS
        )
        self._threads = ThreadPoolExecutor(_MAX_AT_ONCE, thread_name_prefix="chroma")
        self._ids: dict[str, str] = {}

    async def aclose(self) -> None:
        """Drop the connections; whoever still waits for an answer gets none."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def upsert(
        self,
        collection: str,
        owner_id: str,
        asset_id: str,
        vector: Sequence[float],
        *,
        parts: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """See ``VectorIndex``. Raises ``InvalidRequest`` for a vector of another length."""
        vectors = {asset_id: vector}
        vectors |= {f"{asset_id}#{name}": part for name, part in (parts or {}).items()}
        body: dict[str, object] = {
            "ids": list(vectors),
            "embeddings": [list(each) for each in vectors.values()],
            "metadatas": [{_ASSET: asset_id} for _ in vectors],
        }
        name = _collection_name(collection, owner_id)
        try:
            await self._post(f"{await self._create(name)}/upsert", body)
        except NotFound:
            # The server lost the collection since we learned its id.
            self._ids.pop(name, None)
            await self._post(f"{await self._create(name)}/upsert", body)

    async def nearest(
        self, collection: str, owner_id: str, vector: Sequence[float], n: int
    ) -> tuple[tuple[str, float], ...]:
        """See ``VectorIndex``; empty when this owner has nothing there."""
        name = _collection_name(collection, owner_id)
        body = {"query_embeddings": [list(vector)], "n_results": n, "include": ["distances"]}
        try:
            content = await self._post(f"{await self._find(name)}/query", body)
        except NotFound:
            self._ids.pop(name, None)
            return ()
        answer = _parsed(_Answer, content)
        return tuple(
            (asset_id, 1.0 - distance)
            for asset_id, distance in zip(answer.ids[0], answer.distances[0], strict=True)
        )

    async def delete(self, collection: str, owner_id: str, asset_id: str) -> None:
        """Remove with all parts; absent is fine."""
        name = _collection_name(collection, owner_id)
        try:
            found = await self._find(name)
            await self._post(f"{found}/delete", {"where": {_ASSET: asset_id}})
        except NotFound:
            self._ids.pop(name, None)

    async def ping(self) -> None:
        """See ``VectorIndex``."""
        await self._request("GET", "/api/v2/heartbeat")

    async def _create(self, name: str) -> str:
        if name not in self._ids:
            body = {
                "name": name,
                "get_or_create": True,
                "configuration": {"hnsw": {"space": "cosine"}},
            }
            self._remember(name, await self._request("POST", _COLLECTIONS, body))
        return self._ids[name]

    async def _find(self, name: str) -> str:
        if name not in self._ids:
            self._remember(name, await self._request("GET", f"{_COLLECTIONS}/{name}"))
        return self._ids[name]

    def _remember(self, name: str, content: bytes) -> None:
        if len(self._ids) >= _MAX_CACHED_IDS:
            self._ids.pop(next(iter(self._ids)))
        self._ids[name] = _parsed(_Collection, content).id

    async def _post(self, path: str, body: dict[str, object]) -> bytes:
        return await self._request("POST", f"{_COLLECTIONS}/{path}", body)

    async def _request(self, method: str, path: str, body: object = None) -> bytes:
        content = None if body is None else orjson.dumps(body)
        loop = asyncio.get_running_loop()
        try:
            response = await loop.run_in_executor(
                self._threads,
                lambda: self._client.request(method, self._url + path, body=content),
            )
        except HTTPError as exc:
            raise StoreUnavailable(
                "the vector index does not answer; try again", reason=type(exc).__name__
            ) from exc
        if response.status == HTTPStatus.NOT_FOUND:
            raise NotFound("no such collection")
        if response.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            detail = response.data[:200].decode(errors="replace")
            raise InvalidRequest("the vector index refused this vector", detail=detail)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise StoreUnavailable(
                "the vector index does not answer; try again", status=response.status
            )
        return response.data


def _parsed(model: type[M], content: bytes) -> M:
    try:
        return model.model_validate_json(content)
    except ValidationError as exc:
        raise StoreUnavailable("the vector index gave an answer we do not understand") from exc


def _collection_name(collection: str, owner_id: str) -> str:
    # Hashed: names allow few characters, and need not tell who has a collection.
    digest = hashlib.sha256(f"{len(collection)}:{collection}{owner_id}".encode()).hexdigest()
    return f"pm-{digest[:56]}"
