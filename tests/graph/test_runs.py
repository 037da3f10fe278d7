"""A response from begin to settle, on a real database and a real log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from serve.cli.up import settle_leftovers
from serve.domain.asks import Ask
from serve.domain.errors import (
    Conflict,
    ContextLengthExceeded,
    EngineDead,
    NodeTimeout,
    NotFound,
)
from serve.domain.media import MediaKind, MediaRef, SanitizedMedia
from serve.domain.messages import Failed, Finished, FinishReason, StageFinished, TextDelta
from serve.domain.records import Caller, Item, ResponseStatus
from serve.storage.local_objects import LocalObjectStore
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.pool import Database
from serve.storage.postgres.responses import PostgresResponses
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache
from serve.storage.redis.stream_log import RedisStreamLog
from tests.fixtures.scripted import MODEL, ScriptedEyes, ScriptedGenerator, supervised


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[RedisStreamLog]:
    async with await RedisStreamLog.open(redis_url) as opened:
        yield opened


@pytest.fixture
async def cache(redis_url: str, tmp_path: Path) -> AsyncIterator[StoredPerceptionCache]:
    client = connect(redis_url)
    yield StoredPerceptionCache(client, LocalObjectStore(tmp_path))
    await client.aclose()


def _ask(
    *parts: dict[str, str],
    conversation_id: str | None = None,
    previous_response_id: str | None = None,
    stored: bool = True,
) -> Ask:
    content = list(parts) or [{"type": "input_text", "text": "Hi"}]
    item_id = f"msg_{blake3(repr((parts, conversation_id)).encode()).hexdigest()[:12]}"
    body = {
        "id": item_id,
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": content,
    }
    return Ask(
        model=MODEL,
        input_items=(Item(id=item_id, body=body),),
        conversation_id=conversation_id,
        previous_response_id=previous_response_id,
        stored=stored,
    )


async def _picture(database: Database, owner: Caller, content: bytes = b"one") -> MediaRef:
    media = SanitizedMedia(kind=MediaKind.IMAGE, mime_type="image/png", content=content)
    digest = blake3(content).hexdigest()
    return await PostgresAssets(database).add(owner, media, filename="", content_hash=digest)


async def test_a_run_ends_with_a_committed_answer(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    async with supervised(database, log, cache, ScriptedGenerator(log)) as runs:
        run = await runs.start(ada, _ask())
        told = [entry async for entry in runs.follow(run.record.id)]
        # At once, without waiting for the run: whoever sees the end finds the answer committed.
        kept = await PostgresResponses(database).get(ada, run.record.id)
        assert kept.status is ResponseStatus.COMPLETED
        assert kept.log == tuple(told)
        assert [entry.seq for entry in told] == list(range(len(told)))
        assert kept.output_items[0].body["content"][0]["text"] == "Hello there"
        assert kept.usage.output_tokens == 2
        assert {span.name for span in kept.trace} >= {"admit", "generate", "prefill", "decode"}


async def test_an_unstored_answer_leaves_no_row(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    async with supervised(database, log, cache, ScriptedGenerator(log)) as runs:
        run = await runs.start(ada, _ask(stored=False))
        assert (await run.finished()).status is ResponseStatus.COMPLETED
        with pytest.raises(NotFound):
            await PostgresResponses(database).get(ada, run.record.id)


async def test_a_refused_ask_leaves_nothing_in_the_conversation(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    conversations = PostgresConversations(database)
    conversation = await conversations.create(ada, title="", metadata={}, items=())
    refusal = ContextLengthExceeded("9 tokens, the window has 8", got=9, limit=8)
    generator = ScriptedGenerator(log, words=(), error=refusal)
    async with supervised(database, log, cache, generator) as runs:
        run = await runs.start(ada, _ask(conversation_id=conversation.id))
        with pytest.raises(ContextLengthExceeded):
            await run.finished()
        assert await conversations.all_items(ada, conversation.id) == ()
        with pytest.raises(NotFound):
            await PostgresResponses(database).get(ada, run.record.id)
        # The conversation is free again.
        generator.error, generator.words = None, ("Yes",)
        await (await runs.start(ada, _ask(conversation_id=conversation.id))).finished()
        items = await conversations.all_items(ada, conversation.id)
        assert [item.body["role"] for item in items] == ["user", "assistant"]
        assert (await conversations.get(ada, conversation.id)).title == "Hi"


async def test_a_dead_engine_keeps_what_was_written(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(log, words=("Half",), error=EngineDead("gone"))
    async with supervised(database, log, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        with pytest.raises(EngineDead):
            await run.finished()
        kept = await PostgresResponses(database).get(ada, run.record.id)
        assert kept.status is ResponseStatus.FAILED
        assert kept.error_code == "engine_unavailable"
        assert kept.output_items[0].body["content"][0]["text"] == "Half"
        assert isinstance(kept.log[-1].event, Failed)


async def test_an_answer_over_its_time_fails_as_such(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(log, hangs=True)
    async with supervised(database, log, cache, generator, timeout_s=0.5) as runs:
        run = await runs.start(ada, _ask())
        with pytest.raises(NodeTimeout):
            await run.finished()
    assert generator.was_cancelled


async def test_another_ingress_can_cancel(
    database: Database,
    log: RedisStreamLog,
    cache: StoredPerceptionCache,
    ada: Caller,
    eve: Caller,
) -> None:
    generator = ScriptedGenerator(log, hangs=True)
    async with (
        supervised(database, log, cache, generator) as here,
        supervised(database, log, cache, ScriptedGenerator(log)) as there,
    ):
        run = await here.start(ada, _ask())
        await generator.began.wait()
        with pytest.raises(NotFound):
            await there.cancel(eve, run.record.id)
        record = await there.cancel(ada, run.record.id)
        assert (await run.finished()).status is ResponseStatus.CANCELLED
        assert record.status.is_final
        assert generator.was_cancelled
        last = (await log.read(run.record.id))[-1].event
        assert isinstance(last, Finished)
        assert last.reason is FinishReason.CANCELLED


async def test_a_stopping_server_settles_what_it_was_making(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(log, hangs=True)
    async with supervised(database, log, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        await generator.began.wait()
    kept = await PostgresResponses(database).get(ada, run.record.id)
    assert kept.status is ResponseStatus.FAILED
    with pytest.raises(EngineDead):
        await runs.start(ada, _ask())


async def test_a_conversation_answers_one_turn_at_a_time(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    conversation = await PostgresConversations(database).create(
        ada, title="", metadata={}, items=()
    )
    generator = ScriptedGenerator(log, hangs=True)
    async with supervised(database, log, cache, generator) as runs:
        run = await runs.start(ada, _ask(conversation_id=conversation.id))
        with pytest.raises(Conflict):
            await runs.start(
                ada,
                _ask(
                    {"type": "input_text", "text": "And?"},
                    conversation_id=conversation.id,
                ),
            )
        run.abandon()
        assert (await run.finished()).status is ResponseStatus.CANCELLED


async def test_the_same_picture_is_encoded_once(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller, eve: Caller
) -> None:
    picture = await _picture(database, ada)
    part = {"type": "input_image", "file_id": picture.asset_id}
    eyes = ScriptedEyes(delay_s=0.2)
    async with supervised(database, log, cache, ScriptedGenerator(log), eyes=eyes) as runs:
        both = [await runs.start(ada, _ask(part)) for _ in range(2)]
        for run in both:
            await run.finished()
        assert eyes.n_encodes == 1
    # Another process, later: the cache is shared and survives.
    others = ScriptedEyes()
    async with supervised(database, log, cache, ScriptedGenerator(log), eyes=others) as runs:
        run = await runs.start(ada, _ask(part))
        entries = (await run.finished()).log
        [looked] = [e.event for e in entries if isinstance(e.event, StageFinished)]
        assert looked.cache == "hit"
        assert others.n_encodes == 0
        # Never across owners: a hit would tell what another one has.
        theirs = await _picture(database, eve)
        await (
            await runs.start(eve, _ask({"type": "input_image", "file_id": theirs.asset_id}))
        ).finished()
        assert others.n_encodes == 1


async def test_later_turns_see_what_earlier_turns_attached(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    picture = await _picture(database, ada)
    generator = ScriptedGenerator(log)
    async with supervised(database, log, cache, generator) as runs:
        first = await runs.start(ada, _ask({"type": "input_image", "file_id": picture.asset_id}))
        await first.finished()
        await (await runs.start(ada, _ask(previous_response_id=first.record.id))).finished()
        messages = generator.requests[-1].messages
        assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
        # Deleting the picture does not break the conversation.
        await PostgresAssets(database).delete(ada, picture.asset_id)
        await (await runs.start(ada, _ask(previous_response_id=first.record.id))).finished()


async def test_many_readers_of_one_run_read_the_same(
    database: Database, log: RedisStreamLog, cache: StoredPerceptionCache, ada: Caller
) -> None:
    words = tuple(f" {n}" for n in range(50))
    async with supervised(database, log, cache, ScriptedGenerator(log, words=words)) as runs:
        run = await runs.start(ada, _ask())

        async def read() -> str:
            return "".join(
                [
                    entry.event.text
                    async for entry in runs.follow(run.record.id)
                    if isinstance(entry.event, TextDelta)
                ]
            )

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read()) for _ in range(5)]
        assert {reader.result() for reader in readers} == {"".join(words)}


async def test_what_a_killed_server_left_open_is_settled_at_the_next_start(
    database: Database,
    migrated_dsn: str,
    log: RedisStreamLog,
    cache: StoredPerceptionCache,
    ada: Caller,
) -> None:
    conversations = PostgresConversations(database)
    conversation = await conversations.create(ada, title="", metadata={}, items=())
    generator = ScriptedGenerator(log, hangs=True)
    async with supervised(database, log, cache, generator) as runs:
        run = await runs.start(ada, _ask(conversation_id=conversation.id))
        await generator.began.wait()
        # Nothing of this process gets to run after a kill -9; the row is as it is now.
        assert await settle_leftovers(migrated_dsn) == (run.record.id,)
        kept = await PostgresResponses(database).get(ada, run.record.id)
        assert (kept.status, kept.error_code) == (ResponseStatus.FAILED, "engine_unavailable")
        assert await PostgresResponses(database).active(ada, conversation.id) is None
