"""One effect and one reply per Idempotency-Key, whoever dies, waits, leaves or asks twice."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from serve.domain.errors import EngineDead, Overloaded, StoreUnavailable
from serve.domain.ports import Accounts
from serve.domain.records import Caller, JsonObject, Page, ResponseRecord
from serve.ingress.idempotency import REPLAYED
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.idempotency import PostgresIdempotencyKeys
from serve.storage.postgres.pool import Database
from serve.storage.postgres.responses import PostgresResponses
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.scripted import MODEL, AlwaysOpen

Start = Callable[..., Awaitable[Ingress]]
ASKED = {"model": MODEL, "input": "Hi"}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def start(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> AsyncIterator[Start]:
    """Starts ingress processes that share all stores."""
    wanted: asyncio.Queue[tuple[Caller, Any, asyncio.Future[Ingress]] | None] = asyncio.Queue()

    async def own() -> None:
        # What a task has opened it must close itself, and a fixture ends in another than the test.
        async with AsyncExitStack() as stack:
            while (order := await wanted.get()) is not None:
                caller, options, made = order
                opened = ingress(database, redis_url, tmp_path, accounts, caller, **options)
                made.set_result(await stack.enter_async_context(opened))

    async def started(caller: Caller = ada, **options: Any) -> Ingress:
        made: asyncio.Future[Ingress] = asyncio.get_running_loop().create_future()
        wanted.put_nowait((caller, options, made))
        return await made

    owner = asyncio.ensure_future(own())
    yield started
    wanted.put_nowait(None)
    async with asyncio.timeout(30):
        await owner


async def post(
    there: Ingress, path: str, body: JsonObject | None = None, *, key: str = "k", **more: Any
) -> httpx.Response:
    return await there.http.post(path, json=body, headers={"idempotency-key": key}, **more)


def is_replay(reply: httpx.Response) -> bool:
    return REPLAYED.decode() in reply.headers


def events_of(frames: str) -> list[Any]:
    """What a stream told, but for the ``[DONE]`` of chats."""
    told = [line[6:] for line in frames.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in told if line != "[DONE]"]


def text_of(frames: str) -> str:
    """The text of a Responses stream, every event numbered without gap or repeat."""
    events = events_of(frames)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


async def n_responses(database: Database) -> int:
    rows = await database.rows("SELECT id FROM responses")
    return len(rows)


# --- after the first one ----------------------------------------------------------------------


async def test_the_same_request_again_gets_the_same_reply(start: Start, database: Database) -> None:
    here, there = await start(), await start()
    first = await post(here, "/v1/responses", ASKED)
    again = await post(there, "/v1/responses", ASKED)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert await n_responses(database) == 1
    assert len(here.generator.requests) + len(there.generator.requests) == 1
    assert "x-ratelimit-remaining-requests" in again.headers


async def test_a_stream_comes_again_byte_for_byte(start: Start) -> None:
    here = await start()
    for path, body in (("/v1/responses", ASKED), ("/v1/chat/completions", CHAT)):
        streamed = {**body, "stream": True}
        first = await post(here, path, streamed, key=path)
        again = await post(here, path, streamed, key=path)
        assert first.content == again.content
        assert again.headers["content-type"].startswith("text/event-stream")
        assert is_replay(again)
    assert len(here.generator.requests) == 2


async def test_another_request_under_the_same_key_is_refused(start: Start) -> None:
    here = await start()
    await post(here, "/v1/responses", ASKED)
    for path, body in (
        ("/v1/responses", {**ASKED, "input": "Ho"}),
        ("/v1/responses?x=1", ASKED),
        ("/v1/embeddings", ASKED),
    ):
        refused = await post(here, path, body)
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "idempotency_key_reused"
    assert len(here.generator.requests) == 1


async def test_keys_of_two_people_are_two_keys(start: Start, eve: Caller) -> None:
    here, hers = await start(), await start(eve)
    first = await post(here, "/v1/responses", ASKED)
    other = await post(hers, "/v1/responses", {**ASKED, "input": "Ho"})
    assert other.status_code == 200
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "  ", "x" * 256, "tab\there", "\u00fc"])
async def test_what_cannot_be_a_key_is_refused(start: Start, key: str) -> None:
    here = await start()
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    refused = await here.http.post("/v1/responses", json=ASKED, headers=headers)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "Idempotency-Key"
    assert (await post(here, "/v1/responses", ASKED, key="x" * 255)).status_code == 200


async def test_two_different_keys_at_once_are_refused(start: Start) -> None:
    here = await start()
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    assert (await here.http.post("/v1/responses", json=ASKED, headers=headers)).status_code == 400


async def test_refusals_of_the_request_are_kept_too(start: Start) -> None:
    here = await start()
    wrong = {**ASKED, "temperature": 99}
    first = await post(here, "/v1/responses", wrong)
    again = await post(here, "/v1/responses", wrong)
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.content == first.content
    assert is_replay(again)


async def test_without_credentials_nothing_is_kept(start: Start, database: Database) -> None:
    here = await start()
    headers = {"idempotency-key": "k", "authorization": "Bearer nobody"}
    refused = await here.http.post("/v1/responses", json=ASKED, headers=headers)
    assert refused.status_code == 401
    assert await database.rows("SELECT key FROM idempotency_keys") == []


async def test_replays_count_as_requests(start: Start) -> None:
    here = await start(requests_per_minute=3)
    replies = [await post(here, "/v1/responses", ASKED) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert "retry-after" in replies[-1].headers


# --- every POST -------------------------------------------------------------------------------


async def test_every_post_takes_a_key(start: Start, ada: Caller, database: Database) -> None:
    here = await start()
    talks = PostgresConversations(database)
    begun = [await post(here, "/v1/conversations", {"items": []}, key="c") for _ in range(2)]
    talk = begun[0].json()["id"]
    assert begun[1].json()["id"] == talk
    item = {"type": "message", "role": "user", "content": "Hi"}
    for _ in range(2):
        added = await post(here, f"/v1/conversations/{talk}/items", {"items": [item]}, key="i")
        assert added.status_code == 200
    assert len(await talks.list(ada, Page())) == 1
    assert len(await talks.all_items(ada, talk)) == 1
    asked = {"input": ["a", "b"]}
    embedded = [await post(here, "/v1/embeddings", asked, key="e") for _ in range(2)]
    assert embedded[0].content == embedded[1].content
    assert here.encoder.n_calls == 1


async def test_an_upload_takes_a_key_if_its_bytes_are_the_same(
    start: Start, database: Database
) -> None:
    here = await start()
    recording = io.BytesIO()
    with wave.open(recording, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    request = here.http.build_request(
        "POST",
        "/api/v1/assets",
        files={"file": ("a.wav", recording.getvalue())},
        headers={"idempotency-key": "k"},
    )
    content = await request.aread()
    replies = [
        await here.http.post("/api/v1/assets", content=content, headers=request.headers)
        for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].content == replies[1].content
    assert is_replay(replies[1])
    assert len(await database.rows("SELECT id FROM assets")) == 1


async def test_a_secret_is_not_kept_for_a_second_reply(
    start: Start, accounts: Accounts, ada: Caller, database: Database
) -> None:
    here = await start()
    user = await accounts.get_user(ada.user_id)
    secret, session = await accounts.start_session(user=user, ttl_s=60)
    del here.http.headers["authorization"]
    headers = {
        "cookie": f"polymodal_session={secret}",
        "x-csrf-token": session.csrf_token,
        "idempotency-key": "k",
    }
    body = {"name": "mine", "scopes": ["read"]}
    made = await here.http.post("/api/v1/keys", json=body, headers=headers)
    again = await here.http.post("/api/v1/keys", json=body, headers=headers)
    assert (made.status_code, again.status_code) == (200, 409)
    assert "secret" in again.json()["error"]["message"]
    names = [key.name for key in await accounts.list_keys(ada)]
    assert names.count("mine") == 1
    (row,) = await database.rows("SELECT body FROM idempotency_keys")
    assert row["body"] is None


# --- while the first one runs -----------------------------------------------------------------


async def test_of_many_at_once_one_is_carried_out(start: Start, database: Database) -> None:
    here, there = await start(), await start()
    replies = await asyncio.gather(
        *(post(each, "/v1/responses", ASKED) for each in (here, there) for _ in range(5))
    )
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert sum(not is_replay(reply) for reply in replies) == 1
    assert await n_responses(database) == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/responses", ASKED), ("/v1/chat/completions", CHAT)]
)
async def test_a_second_stream_joins_the_first_from_its_beginning(
    start: Start, database: Database, path: str, body: JsonObject
) -> None:
    found = asyncio.Event()

    class Watched(PostgresResponses):
        async def get(self, *asked: Any) -> ResponseRecord:
            record = await super().get(*asked)
            found.set()
            return record

    here, there = await start(), await start(responses=Watched(database))
    here.generator.hold = asyncio.Event()
    streamed = {**body, "stream": True}
    first = asyncio.ensure_future(post(here, path, streamed))
    await here.generator.began.wait()
    second = asyncio.ensure_future(post(there, path, streamed))
    await found.wait()
    here.generator.hold.set()
    replies = [await first, await second]
    # Parsed: the database keeps the keys of a JSON object in another order.
    assert events_of(replies[0].text) == events_of(replies[1].text)
    assert not is_replay(replies[1])
    assert len(here.generator.requests) + len(there.generator.requests) == 1
    assert (await post(there, path, streamed)).content == replies[0].content


async def test_who_waits_too_long_for_the_first_one_is_sent_away(start: Start) -> None:
    here = await start()
    here.generator.hold = asyncio.Event()
    first = asyncio.ensure_future(post(here, "/v1/responses", ASKED))
    await here.generator.began.wait()
    impatient(here)
    refused = await post(here, "/v1/responses", ASKED)
    assert refused.status_code == 409
    assert int(refused.headers["retry-after"]) >= 1
    here.generator.hold.set()
    assert (await first).status_code == 200
    assert is_replay(await post(here, "/v1/responses", ASKED))


def impatient(there: Ingress) -> None:
    """A second request there waits for nobody."""
    layer: Any = there.app.middleware_stack
    while not hasattr(layer, "_wait_s"):
        layer = getattr(layer, "_app", None) or layer.app
    layer._wait_s = 0


# --- when somebody dies or leaves -------------------------------------------------------------


async def test_a_client_that_leaves_finds_the_whole_answer_when_it_comes_back(
    start: Start,
) -> None:
    here = await start()
    here.generator.hold = asyncio.Event()
    streamed = {**ASKED, "stream": True}
    left = asyncio.ensure_future(_post_and_leave(here, "/v1/responses", streamed))
    await here.generator.began.wait()
    here.generator.hold.set()
    await left
    again = await post(here, "/v1/responses", streamed)
    assert text_of(again.text) == "Hello there"
    assert not here.generator.was_cancelled
    assert len(here.generator.requests) == 1


async def _post_and_leave(there: Ingress, path: str, body: JsonObject) -> None:
    """Send a request and hang up at once; returns when the server has no more to say."""
    request = there.http.build_request("POST", path, json=body, headers={"idempotency-key": "k"})
    messages: list[Message] = [
        {"type": "http.request", "body": request.content, "more_body": False}
    ]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        return

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": request.headers.raw,
        "client": None,
        "server": None,
    }
    scope["headers"] = [(name.lower(), value) for name, value in request.headers.raw]
    await there.app(scope, receive, send)


async def test_what_a_dead_process_had_committed_is_found_not_made_again(
    start: Start, database: Database
) -> None:
    """The first process claims, commits its response and dies before it can save the reply."""

    class Mute(PostgresIdempotencyKeys):
        async def save(self, *_saved: object) -> bool:
            raise StoreUnavailable("gone")

    here, there = await start(keys=Mute(database, lease_s=0)), await start()
    first = await post(here, "/v1/responses", ASKED)
    again = await post(there, "/v1/responses", ASKED)
    assert again.json() == first.json()
    assert await n_responses(database) == 1
    assert there.generator.requests == []
    assert is_replay(await post(there, "/v1/responses", ASKED))


async def test_what_a_dead_process_had_only_claimed_is_carried_out(
    start: Start, database: Database
) -> None:
    class Stopped(PostgresResponses):
        async def begin(self, *_begun: object, **_more: object) -> None:
            raise StoreUnavailable("gone")

    here = await start(
        keys=PostgresIdempotencyKeys(database, lease_s=0), responses=Stopped(database)
    )
    there = await start()
    assert (await post(here, "/v1/responses", ASKED)).status_code == 503
    again = await post(there, "/v1/responses", ASKED)
    assert again.status_code == 200
    assert await n_responses(database) == 1


async def test_a_process_that_wakes_after_it_was_given_up_makes_no_second_answer(
    start: Start, database: Database
) -> None:
    """It had claimed before it was stopped; in the meantime another one carried the request out."""
    there = await start()
    keys = PostgresIdempotencyKeys(database, lease_s=0)
    asleep, woken = asyncio.Event(), asyncio.Event()

    class Asleep(PostgresResponses):
        async def begin(self, *begun: Any, **more: Any) -> None:
            asleep.set()
            await woken.wait()
            await super().begin(*begun, **more)

    here = await start(keys=keys, responses=Asleep(database))
    first = asyncio.ensure_future(post(here, "/v1/responses", ASKED))
    await asleep.wait()
    again = await post(there, "/v1/responses", ASKED)
    woken.set()
    assert again.status_code == 200
    assert (await first).status_code == 409
    assert await n_responses(database) == 1
    assert (await post(there, "/v1/responses", ASKED)).content == again.content


async def test_a_failed_answer_may_be_asked_for_again(start: Start, database: Database) -> None:
    here = await start()
    here.generator.errors = [EngineDead("gone") for _ in range(6)]
    here.generator.n_before_error = 0
    failed = await post(here, "/v1/responses", ASKED)
    assert failed.status_code == 503
    again = await post(here, "/v1/responses", ASKED)
    assert again.status_code == 200
    assert again.json()["status"] == "completed"
    rows = await database.rows("SELECT status FROM responses WHERE status = 'completed'")
    assert len(rows) == 1


async def test_being_sent_away_leaves_the_key_free(start: Start, database: Database) -> None:
    class Full(AlwaysOpen):
        def admit(self, _caller: Caller, _ask: object) -> Any:
            raise Overloaded("full", retry_after_s=7)

    here, there = await start(admission=Full()), await start()
    refused = await post(here, "/v1/responses", ASKED)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert await database.rows("SELECT key FROM idempotency_keys") == []
    other = {**ASKED, "input": "Ho"}
    assert (await post(there, "/v1/responses", other)).status_code == 200


async def test_a_deleted_answer_is_not_given_out_by_its_key(start: Start) -> None:
    here = await start()
    first = await post(here, "/v1/responses", ASKED)
    assert (await here.http.delete(f"/v1/responses/{first.json()['id']}")).status_code == 200
    gone = await post(here, "/v1/responses", ASKED)
    assert gone.status_code == 409
    assert len(here.generator.requests) == 1


async def test_a_conversation_takes_a_turn_once(
    start: Start, ada: Caller, database: Database
) -> None:
    here, there = await start(), await start()
    talks = PostgresConversations(database)
    talk = await talks.create(ada, title="", metadata={}, items=())
    turn = {**ASKED, "conversation": talk.id}
    await asyncio.gather(*(post(each, "/v1/responses", turn) for each in (here, there, here)))
    roles = [item.body["role"] for item in await talks.all_items(ada, talk.id)]
    assert roles == ["user", "assistant"]


async def test_a_body_may_be_large(start: Start) -> None:
    """Beyond what is held in memory, and read by the route in pieces."""
    here = await start()
    large = {**ASKED, "input": "a" * (3 * 2**20)}
    replies = [await post(here, "/v1/responses", large) for _ in range(2)]
    assert replies[0].status_code == 200
    assert replies[1].content == replies[0].content
    too_large = {**ASKED, "input": "a" * (5 * 2**20)}
    assert (await post(here, "/v1/responses", too_large, key="l")).status_code == 413
