"""What small requests take shortcuts for: the same answers as the long way."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from serve.domain.records import Caller, Scope
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.scripted import MODEL
from tests.fixtures.scripts import told_by

# What every ingress needs for its first answer and Ray Serve does not load by itself. Each costs
# memory in each of them for good: what few requests need is imported when one needs it.
_PACKAGES = {
    *("serve", "graphs", "deployments"),
    *("asyncpg", "redis", "hiredis", "prometheus_client", "blake3", "httptools", "websockets"),
    # Hash passwords.
    *("argon2", "_argon2_cffi_bindings", "_cffi_backend"),
    # Ray Serve has them; these are more modules of theirs. cryptography's version alone.
    *("cryptography", "numpy", "opentelemetry", "pydantic", "ray", "starlette", "uvicorn"),
}
_MOST_MODULES = 440

_PER_REQUEST = ("x-request-id", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")


@pytest.fixture
async def served(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> AsyncIterator[Ingress]:
    async with ingress(database, redis_url, tmp_path, accounts, ada) as running:
        yield running


def _lasting(reply: httpx.Response) -> dict[str, str]:
    return {name: text for name, text in reply.headers.items() if name not in _PER_REQUEST}


async def test_the_short_way_answers_like_the_long_one(served: Ingress) -> None:
    replies = [await served.http.get("/v1/models") for _ in range(8)]
    for reply in replies[1:]:
        assert reply.json() == replies[0].json()
        assert _lasting(reply) == _lasting(replies[0])
    assert replies[0].json()["data"][0]["id"] == MODEL
    limit = int(replies[0].headers["x-ratelimit-limit-requests"])
    assert all(int(reply.headers["x-ratelimit-remaining-requests"]) < limit for reply in replies)
    assert len({reply.headers["x-request-id"] for reply in replies}) == 8


async def test_the_short_way_is_not_for_those_who_may_not_read(
    served: Ingress, accounts: PostgresAccounts, ada: Caller
) -> None:
    secret, _ = await accounts.create_key(
        owner_id=ada.user_id, name="", scopes=frozenset({Scope.GENERATE}), ttl_s=None
    )
    for _ in range(5):
        headers = {"authorization": f"Bearer {secret}"}
        assert (await served.http.get("/v1/models", headers=headers)).status_code == 403
    for headers in ({"authorization": "Bearer pm-guess"}, {"authorization": "Basic x"}):
        assert (await served.http.get("/v1/models", headers=headers)).status_code == 401


async def test_a_key_that_is_revoked_opens_nothing_more(
    served: Ingress, accounts: PostgresAccounts, ada: Caller
) -> None:
    user = await accounts.get_user(ada.user_id)
    cookie, session = await accounts.start_session(user=user, ttl_s=60)
    browser = {"x-csrf-token": session.csrf_token, "cookie": f"polymodal_session={cookie}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(served.app), base_url="http://ingress", headers=browser
    ) as page:
        made = (await page.post("/api/v1/keys", json={"name": "k", "scopes": ["read"]})).json()
        key = {"authorization": f"Bearer {made['secret']}"}
        for _ in range(4):
            assert (await served.http.get("/v1/models", headers=key)).status_code == 200
        assert (await page.delete(f"/api/v1/keys/{made['id']}")).status_code == 204
        assert (await served.http.get("/v1/models", headers=key)).status_code == 401
        assert (await page.delete("/api/v1/session")).status_code == 204
        assert (await page.get("/api/v1/session", headers=browser)).status_code == 401


async def test_the_allowance_ends_on_both_ways(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> None:
    async with ingress(
        database, redis_url, tmp_path, accounts, ada, requests_per_minute=600
    ) as running:
        reply = await running.http.get("/v1/models")
        n_allowed = 0
        # Ends: it refills by ten a second, which is slower than we ask.
        while reply.status_code == 200:
            n_allowed += 1
            reply = await running.http.get("/v1/models")
    assert n_allowed >= 600
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) >= 1


async def test_every_reply_has_its_headers_once(served: Ingress) -> None:
    for path in ("/v1/models", f"/v1/models/{MODEL}", "/v1/models/none", "/healthz", "/v1/nothing"):
        reply = await served.http.get(path, headers={"x-request-id": "mine-12345"})
        names = [name for name, _ in reply.headers.multi_items()]
        assert len(names) == len(set(names))
        assert reply.headers["x-request-id"] == "mine-12345"
        assert reply.headers["x-content-type-options"] == "nosniff"
    page = await served.http.get("/metrics")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (await served.http.get("/-/healthz")).text == "success"


def test_an_ingress_has_loaded_nothing_that_only_some_requests_need() -> None:
    told = told_by("tests.graph.started_ingress")
    assert told["status"] == 200
    packages = {name.partition(".")[0] for name in told["loaded"]}
    assert packages - sys.stdlib_module_names <= _PACKAGES
    assert len(told["loaded"]) <= _MOST_MODULES
