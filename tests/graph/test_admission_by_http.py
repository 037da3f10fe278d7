"""What a client sees of admission, and what a refused request leaves behind: nothing."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from graphs.online.admission import AdmissionDesk
from serve.domain.admission import QueueBounds
from serve.domain.asks import Ask
from serve.domain.journal import Beat
from serve.domain.records import Caller
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import ingress
from tests.fixtures.scripted import MODEL


def one_generator(kind: str) -> tuple[Beat, ...]:
    beat = Beat(
        process_id="gen",
        kind="generator",
        model=MODEL,
        host="h",
        pid=1,
        started_ticks=1,
        load={"capacity_tokens": 10_000.0, "max_running": 1.0},
    )
    return (beat,) if kind == "generator" else ()


@pytest.fixture
def desk() -> AdmissionDesk:
    """One may run, one may wait."""
    bounds = QueueBounds(waiting=1, waiting_per_owner=1, wait_s=600)
    return AdmissionDesk(bounds, my_id="me", alive=one_generator)


@pytest.fixture
def photo(cat_photo: Path) -> bytes:
    return cat_photo.read_bytes()


def picture(content: bytes) -> list[dict[str, object]]:
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    part = {"type": "input_image", "image_url": url}
    return [{"role": "user", "content": [part]}]


async def test_a_refusal_says_when_to_come_back_and_stores_nothing(
    database: Database,
    redis_url: str,
    tmp_path: Path,
    accounts: PostgresAccounts,
    ada: Caller,
    photo: bytes,
    desk: AdmissionDesk,
) -> None:
    ask = Ask(model=MODEL, input_items=())
    desk.admit(ada, ask), desk.admit(ada, ask)
    async with ingress(database, redis_url, tmp_path, accounts, ada, admission=desk) as here:
        body = {"model": MODEL, "input": picture(photo)}
        refused = await here.http.post("/v1/responses", json=body)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-ratelimit-limit-tokens"] == "10000"
    assert int(refused.headers["x-ratelimit-remaining-tokens"]) < 10_000
    assert refused.headers["x-ratelimit-reset-tokens"].endswith("s")
    assert "x-ratelimit-remaining-requests" in refused.headers
    assert await database.rows("SELECT id FROM assets") == []
    assert await database.rows("SELECT id FROM responses") == []


async def test_an_admitted_request_gives_its_place_back_however_it_ends(
    database: Database,
    redis_url: str,
    tmp_path: Path,
    accounts: PostgresAccounts,
    ada: Caller,
    desk: AdmissionDesk,
) -> None:
    async with ingress(database, redis_url, tmp_path, accounts, ada, admission=desk) as here:
        for body, status in (
            ({"model": MODEL, "input": "Hi"}, 200),
            ({"model": MODEL, "input": "Hi", "previous_response_id": "resp_none"}, 404),
            ({"model": MODEL, "input": picture(b"no picture")}, 415),
        ):
            reply = await here.http.post("/v1/responses", json=body)
            assert reply.status_code == status
            assert reply.headers["x-ratelimit-limit-tokens"] == "10000"
            assert desk.load()[f"granted {MODEL}"] == 0


async def test_who_waits_is_told_the_place_and_then_answered(
    database: Database,
    redis_url: str,
    tmp_path: Path,
    accounts: PostgresAccounts,
    ada: Caller,
    desk: AdmissionDesk,
) -> None:
    busy = desk.admit(ada, Ask(model=MODEL, input_items=()))
    async with ingress(database, redis_url, tmp_path, accounts, ada, admission=desk) as here:
        body = {"model": MODEL, "input": "Hi", "background": True}
        begun = (await here.http.post("/v1/responses", json=body)).json()
        assert begun["status"] == "queued"
        busy.release()
        told = await here.http.get(f"/v1/responses/{begun['id']}?stream=true")
    assert ": queued place=1 eta_s=" in told.text
    assert "response.completed" in told.text
