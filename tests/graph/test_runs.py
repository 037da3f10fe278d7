"""A response from begin to settle, on a real database and a real log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from blake3 import blake3

from serve.domain.asks import Ask
from serve.domain.errors import (
    Conflict,
    ContextLengthExceeded,
    EngineDead,
    NodeTimeout,
    NotFound,
    PolymodalError,
    StoreUnavailable,
)
from serve.domain.journal import Adopted, Ended, Restarted
from serve.domain.media import MediaKind, MediaRef, SanitizedMedia
from serve.domain.messages import Failed, Finished, FinishReason, StageFinished, TextDelta
from serve.domain.ports import LiveResponse
from serve.domain.records import Caller, Item, JsonObject, ResponseRecord, ResponseStatus
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.pool import Database
from serve.storage.postgres.responses import PostgresResponses
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.scripted import (
    MODEL,
    SILENT_S,
    Bus,
    ScriptedEyes,
    ScriptedGenerator,
    open_bus,
    supervised,
)


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


def _text(record: ResponseRecord) -> str:
    text: str = record.output_items[0].body["content"][0]["text"]
    return text


async def _picture(database: Database, owner: Caller, content: bytes = b"one") -> MediaRef:
    media = SanitizedMedia(kind=MediaKind.IMAGE, mime_type="image/png", content=content)
    digest = blake3(content).hexdigest()
    return await PostgresAssets(database).add(owner, media, filename="", content_hash=digest)


async def test_a_run_ends_with_a_committed_answer(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    async with supervised(database, bus, cache, ScriptedGenerator(bus.journal)) as runs:
        run = await runs.start(ada, _ask())
        told = [entry async for batch in runs.follow(run.record.id) for entry in batch]
        # At once, without waiting for the run: whoever sees the end finds the answer committed.
        kept = await PostgresResponses(database).get(ada, run.record.id)
        assert kept.status is ResponseStatus.COMPLETED
        assert kept.log == tuple(told)
        assert [entry.seq for entry in told] == list(range(len(told)))
        assert kept.output_items[0].body["content"][0]["text"] == "Hello there"
        assert kept.usage.output_tokens == 2
        assert {span.name for span in kept.trace} >= {"admit", "generate", "prefill", "decode"}


async def test_an_unstored_answer_leaves_no_row(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    async with supervised(database, bus, cache, ScriptedGenerator(bus.journal)) as runs:
        run = await runs.start(ada, _ask(stored=False))
        assert (await run.finished()).status is ResponseStatus.COMPLETED
        with pytest.raises(NotFound):
            await PostgresResponses(database).get(ada, run.record.id)


async def test_a_refused_ask_leaves_nothing_in_the_conversation(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    conversations = PostgresConversations(database)
    conversation = await conversations.create(ada, title="", metadata={}, items=())
    refusal = ContextLengthExceeded("9 tokens, the window has 8", got=9, limit=8)
    generator = ScriptedGenerator(bus.journal, words=(), errors=[refusal])
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask(conversation_id=conversation.id))
        with pytest.raises(ContextLengthExceeded):
            await run.finished()
        assert await conversations.all_items(ada, conversation.id) == ()
        with pytest.raises(NotFound):
            await PostgresResponses(database).get(ada, run.record.id)
        # The conversation is free again.
        generator.words = ("Yes",)
        await (await runs.start(ada, _ask(conversation_id=conversation.id))).finished()
        items = await conversations.all_items(ada, conversation.id)
        assert [item.body["role"] for item in items] == ["user", "assistant"]
        assert (await conversations.get(ada, conversation.id)).title == "Hi"


async def test_an_answer_outlives_its_engine(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    words = ("One", " two", " three", " four")
    generator = ScriptedGenerator(
        bus.journal, words=words, errors=[EngineDead("gone"), EngineDead("gone too")]
    )
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        final = await run.finished()
    assert final.status is ResponseStatus.COMPLETED
    assert _text(final) == "".join(words)
    assert [request.epoch for request in generator.requests] == [1, 2, 3]
    assert [request.emitted_ids for request in generator.requests] == [(), (0,), (0, 1)]


async def test_a_generator_that_was_given_up_is_not_heard_any_more(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(bus.journal, words=("A", " b"), errors=[EngineDead("gone")])
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        await generator.called_again.wait()
        # The dead one was only slow: what it says now was said by another one already.
        await generator.write(generator.requests[0], 1, TextDelta(" zombie", (9,)))
        assert _text(await run.finished()) == "A b"


async def test_an_engine_that_dies_of_the_request_is_not_offered_it_for_ever(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    errors: list[PolymodalError] = [EngineDead("gone") for _ in range(100)]
    generator = ScriptedGenerator(bus.journal, words=("Half",), errors=errors)
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        with pytest.raises(EngineDead):
            await run.finished()
        kept = await PostgresResponses(database).get(ada, run.record.id)
    assert len(generator.requests) < 10
    assert kept.status is ResponseStatus.FAILED
    assert kept.error_code == "engine_unavailable"
    assert _text(kept) == "Half"
    assert isinstance(kept.log[-1].event, Failed)


async def test_a_generator_that_falls_silent_is_given_up(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    stuck = asyncio.Event()
    generator = ScriptedGenerator(bus.journal, notices=bus.notices, hold=stuck)
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        await generator.began.wait()
        await asyncio.sleep(3 * SILENT_S)  # it beats, so it may take its time
        assert len(generator.requests) == 1
        generator.notices, generator.hold = None, None
        assert _text(await run.finished()) == "Hello there"
    assert [request.emitted_ids for request in generator.requests] == [(), (0,)]


async def test_an_answer_over_its_time_fails_as_such(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(bus.journal, hold=asyncio.Event())
    async with supervised(database, bus, cache, generator, timeout_s=2.0) as runs:
        run = await runs.start(ada, _ask())
        with pytest.raises(NodeTimeout):
            await run.finished()
    assert generator.was_cancelled


async def test_another_ingress_can_cancel(
    database: Database,
    bus: Bus,
    cache: StoredPerceptionCache,
    ada: Caller,
    eve: Caller,
) -> None:
    generator = ScriptedGenerator(bus.journal, hold=asyncio.Event())
    async with (
        supervised(database, bus, cache, generator) as here,
        supervised(database, bus, cache, ScriptedGenerator(bus.journal)) as there,
    ):
        run = await here.start(ada, _ask())
        await generator.began.wait()
        with pytest.raises(NotFound):
            await there.cancel(eve, run.record.id)
        record = await there.cancel(ada, run.record.id)
        assert (await run.finished()).status is ResponseStatus.CANCELLED
        assert record.status.is_final
        assert generator.was_cancelled
        last = record.log[-1].event
        assert isinstance(last, Finished)
        assert last.reason is FinishReason.CANCELLED


async def test_an_answer_outlives_its_supervisor(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller, redis_url: str
) -> None:
    """The generator works on, and one of those who are left settles what it writes."""
    generator = ScriptedGenerator(bus.journal, notices=bus.notices, hold=asyncio.Event())
    others = [ScriptedGenerator(bus.journal) for _ in range(2)]
    async with (
        open_bus(redis_url) as second_bus,
        open_bus(redis_url) as third_bus,
        supervised(database, second_bus, cache, others[0]) as second,
        supervised(database, third_bus, cache, others[1]),
    ):
        async with supervised(database, bus, cache, generator) as first:
            run = await first.start(ada, _ask())
            await generator.began.wait()
        with pytest.raises(EngineDead):
            await first.start(ada, _ask())
        with pytest.raises(EngineDead):
            await run.finished()
        generator.hold.set() if generator.hold else None
        told = [entry async for batch in second.follow(run.record.id) for entry in batch]
        kept = await PostgresResponses(database).get(ada, run.record.id)
    assert kept.status is ResponseStatus.COMPLETED
    assert _text(kept) == "Hello there"
    assert kept.log == tuple(told)
    assert [entry.seq for entry in told] == list(range(len(told)))
    assert [len(other.requests) for other in others] == [0, 0]


async def test_an_answer_outlives_supervisor_and_engine_at_once(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller, redis_url: str
) -> None:
    lost = ScriptedGenerator(bus.journal, hold=asyncio.Event())
    others = [ScriptedGenerator(bus.journal) for _ in range(2)]
    conversation = await PostgresConversations(database).create(
        ada, title="", metadata={}, items=()
    )
    async with supervised(database, bus, cache, lost) as first:
        run = await first.start(ada, _ask(conversation_id=conversation.id))
        await lost.began.wait()
    async with (
        open_bus(redis_url) as second_bus,
        open_bus(redis_url) as third_bus,
        supervised(database, second_bus, cache, others[0]) as second,
        supervised(database, third_bus, cache, others[1]),
    ):
        told = [entry async for batch in second.follow(run.record.id) for entry in batch]
        kept = await PostgresResponses(database).get(ada, run.record.id)
        assert await PostgresResponses(database).active(ada, conversation.id) is None
    [request] = [request for other in others for request in other.requests]
    assert request.emitted_ids == (0,)
    assert [message.role for message in request.messages] == ["user"]
    assert _text(kept) == "Hello there"
    assert kept.log == tuple(told)


async def test_a_waking_supervisor_finds_its_work_done(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller, redis_url: str
) -> None:
    """Another one adopted it while this one slept; who waits here still gets the end."""
    mine = ScriptedGenerator(bus.journal, hold=asyncio.Event())
    async with (
        open_bus(redis_url) as other_bus,
        supervised(database, bus, cache, mine) as here,
    ):
        run = await here.start(ada, _ask())
        await mine.began.wait()
        await other_bus.journal.append([Adopted(run.record.id, 2, "ing_other")])
        await other_bus.journal.append([Restarted(run.record.id, 2, 2)])
        last = Failed("engine_unavailable", "gone", 1.0)
        await other_bus.journal.append([Ended(run.record.id, 2, last)])
        assert (await run.finished()).id == run.record.id
    assert not mine.was_cancelled


async def test_a_database_that_is_away_delays_the_end_only(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    class Away(PostgresResponses):
        n_refused = 0

        async def settle(self, record: ResponseRecord) -> ResponseRecord:
            if self.n_refused < 2:
                self.n_refused += 1
                raise StoreUnavailable("PostgreSQL is away")
            return await super().settle(record)

    away = Away(database)
    generator = ScriptedGenerator(bus.journal)
    async with supervised(database, bus, cache, generator, responses=away) as runs:
        run = await runs.start(ada, _ask())
        assert (await run.finished()).status is ResponseStatus.COMPLETED
    assert away.n_refused == 2
    assert _text(await PostgresResponses(database).get(ada, run.record.id)) == "Hello there"


async def test_a_commit_whose_answer_was_lost_is_kept_as_a_promise(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    class Deaf(PostgresResponses):
        async def begin(
            self, caller: Caller, record: ResponseRecord, *, supervisor: str, plan: JsonObject
        ) -> None:
            await super().begin(caller, record, supervisor=supervisor, plan=plan)
            raise StoreUnavailable("the connection broke after the commit")

    generator = ScriptedGenerator(bus.journal)
    async with supervised(database, bus, cache, generator, responses=Deaf(database)) as runs:
        with pytest.raises(StoreUnavailable):
            await runs.start(ada, replace(_ask(), response_id="resp_promised"))
        told = [entry async for batch in runs.follow("resp_promised") for entry in batch]
        kept = await PostgresResponses(database).get(ada, "resp_promised")
    assert kept.log == tuple(told)
    assert _text(kept) == "Hello there"


async def test_what_cannot_be_committed_is_not_made(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(bus.journal, hold=asyncio.Event())
    async with supervised(database, bus, cache, generator) as runs:
        with pytest.raises(NotFound):
            await runs.start(ada, _ask(conversation_id="conv_of_nobody"))
        run = await runs.start(ada, replace(_ask(), response_id="resp_mine"))
        await generator.began.wait()
        with pytest.raises(Conflict):
            await runs.start(ada, replace(_ask(), response_id="resp_mine"))
        run.abandon()
        await run.finished()


async def test_a_conversation_answers_one_turn_at_a_time(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    conversation = await PostgresConversations(database).create(
        ada, title="", metadata={}, items=()
    )
    generator = ScriptedGenerator(bus.journal, hold=asyncio.Event())
    async with supervised(database, bus, cache, generator) as runs:
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


async def test_a_response_is_cancelled_while_it_is_being_opened(
    database: Database,
    bus: Bus,
    cache: StoredPerceptionCache,
    ada: Caller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = ScriptedGenerator(bus.journal)
    is_opening, may_open = asyncio.Event(), asyncio.Event()
    at_once = bus.journal.open

    @asynccontextmanager
    async def late(response_id: str, *, is_new: bool = False) -> AsyncIterator[LiveResponse]:
        is_opening.set()
        await may_open.wait()
        async with at_once(response_id, is_new=is_new) as live:
            yield live

    monkeypatch.setattr(bus.journal, "open", late)
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask())
        await is_opening.wait()
        run.abandon()
        may_open.set()
        assert (await run.finished()).status is ResponseStatus.CANCELLED
    assert generator.requests == []


async def test_the_same_picture_is_encoded_once(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller, eve: Caller
) -> None:
    picture = await _picture(database, ada)
    part = {"type": "input_image", "file_id": picture.asset_id}
    eyes = ScriptedEyes(delay_s=0.2)
    async with supervised(database, bus, cache, ScriptedGenerator(bus.journal), eyes=eyes) as runs:
        both = [await runs.start(ada, _ask(part)) for _ in range(2)]
        for run in both:
            await run.finished()
        assert eyes.n_encodes == 1
    # Another process, later: the cache is shared and survives.
    others = ScriptedEyes()
    async with supervised(
        database, bus, cache, ScriptedGenerator(bus.journal), eyes=others
    ) as runs:
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
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    picture = await _picture(database, ada)
    generator = ScriptedGenerator(bus.journal)
    async with supervised(database, bus, cache, generator) as runs:
        first = await runs.start(ada, _ask({"type": "input_image", "file_id": picture.asset_id}))
        await first.finished()
        await (await runs.start(ada, _ask(previous_response_id=first.record.id))).finished()
        messages = generator.requests[-1].messages
        assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
        # Deleting the picture does not break the conversation.
        await PostgresAssets(database).delete(ada, picture.asset_id)
        await (await runs.start(ada, _ask(previous_response_id=first.record.id))).finished()


async def test_many_readers_of_one_run_read_the_same(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    words = tuple(f" {n}" for n in range(50))
    async with supervised(
        database, bus, cache, ScriptedGenerator(bus.journal, words=words)
    ) as runs:
        run = await runs.start(ada, _ask())

        async def read() -> str:
            return "".join(
                [
                    entry.event.text
                    async for batch in runs.follow(run.record.id)
                    for entry in batch
                    if isinstance(entry.event, TextDelta)
                ]
            )

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read()) for _ in range(5)]
        assert {reader.result() for reader in readers} == {"".join(words)}
