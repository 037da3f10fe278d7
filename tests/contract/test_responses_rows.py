from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.ids import new_id
from serve.domain.messages import (
    Finished,
    FinishReason,
    LogEntry,
    Stage,
    StageStarted,
    TextDelta,
    TraceSpan,
    Usage,
)
from serve.domain.ports import Conversations, Responses
from serve.domain.records import (
    Caller,
    Item,
    JsonObject,
    Page,
    ResponseRecord,
    ResponseStatus,
)
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.pool import Database
from serve.storage.postgres.responses import PostgresResponses


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return PostgresConversations(database)


@pytest.fixture
def responses(database: Database) -> Responses:
    return PostgresResponses(database)


def message(role: str, text: str) -> Item:
    item_id = new_id("msg")
    return Item(id=item_id, body={"id": item_id, "role": role, "content": text})


def asked(caller: Caller, **changes: object) -> ResponseRecord:
    record = ResponseRecord(
        id=new_id("resp"),
        owner_id=caller.user_id,
        model="smol",
        status=ResponseStatus.IN_PROGRESS,
        created_at=datetime.now(UTC),
        request={"temperature": 0.5, "tools": []},
        input_items=(message("user", "What is this?"),),
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # the test's own words


async def begin(
    responses: Responses,
    caller: Caller,
    record: ResponseRecord,
    *,
    supervisor: str = "here",
    plan: JsonObject | None = None,
) -> None:
    await responses.begin(caller, record, supervisor=supervisor, plan=plan or {})


def answered(record: ResponseRecord, text: str = "A cat.") -> ResponseRecord:
    usage = Usage(input_tokens=12, cached_tokens=4, output_tokens=3)
    return replace(
        record,
        status=ResponseStatus.COMPLETED,
        output_items=(message("assistant", text),),
        completed_at=datetime.now(UTC),
        usage=usage,
        log=(
            LogEntry(0, StageStarted(Stage.WRITING, "", 1e-7)),
            LogEntry(1, TextDelta(text, (1, 2, 3))),
            LogEntry(2, Finished(FinishReason.STOP, usage, 1_763_800_000.0)),
        ),
        trace=(
            TraceSpan(
                name="generate", node="Generator", start_s=0.0, end_s=0.25, attributes={"n": 3}
            ),
        ),
    )


async def test_a_response_is_kept_from_its_beginning(responses: Responses, ada: Caller) -> None:
    record = asked(ada, background=True)
    await begin(responses, ada, record)
    assert await responses.get(ada, record.id) == record


async def test_a_settled_response_comes_back_whole(responses: Responses, ada: Caller) -> None:
    record = asked(ada)
    await begin(responses, ada, record)
    done = answered(record)
    await responses.settle(done)
    assert await responses.get(ada, record.id) == done


async def test_settling_twice_changes_nothing(responses: Responses, ada: Caller) -> None:
    record = asked(ada)
    await begin(responses, ada, record)
    done = answered(record)
    assert await responses.settle(done) == done
    late = replace(record, status=ResponseStatus.FAILED, error_code="late")
    assert await responses.settle(late) == done
    assert await responses.get(ada, record.id) == done


async def test_failure_is_kept_with_its_reason(responses: Responses, ada: Caller) -> None:
    record = asked(ada)
    await begin(responses, ada, record)
    failed = replace(
        record,
        status=ResponseStatus.FAILED,
        error_code="engine_unavailable",
        error_message="gone",
        incomplete_reason="max_output_tokens",
    )
    await responses.settle(failed)
    assert await responses.get(ada, record.id) == failed


async def test_others_see_and_change_nothing(
    responses: Responses, conversations: Conversations, ada: Caller, eve: Caller
) -> None:
    talk = await conversations.create(ada, title="", metadata={}, items=())
    record = asked(ada, conversation_id=talk.id)
    await begin(responses, ada, record)
    for wrong in (record.id, "resp_none", "\x00"):
        for refused in (
            responses.get(eve, wrong),
            responses.delete(eve, wrong),
            responses.chain(eve, wrong),
        ):
            with pytest.raises(NotFound):
                await refused
    with pytest.raises(NotFound):
        await responses.active(eve, talk.id)
    with pytest.raises(NotFound):
        await begin(responses, eve, asked(eve, conversation_id=talk.id))
    await responses.settle(replace(answered(record), owner_id=eve.user_id))
    assert await responses.get(ada, record.id) == record
    assert [item.id for item in await conversations.all_items(ada, talk.id)] == [
        record.input_items[0].id
    ]


async def test_an_id_is_taken_once(responses: Responses, ada: Caller) -> None:
    record = asked(ada)
    await begin(responses, ada, record)
    with pytest.raises(Conflict):
        await begin(responses, ada, record)


async def test_an_unstored_response_vanishes_when_settled(
    responses: Responses, conversations: Conversations, ada: Caller
) -> None:
    talk = await conversations.create(ada, title="", metadata={}, items=())
    record = asked(ada, stored=False, conversation_id=talk.id)
    await begin(responses, ada, record)
    assert await responses.get(ada, record.id) == record
    done = answered(record)
    await responses.settle(done)
    with pytest.raises(NotFound):
        await responses.get(ada, record.id)
    assert await conversations.all_items(ada, talk.id) == (
        *record.input_items,
        *done.output_items,
    )
    await responses.settle(done)


async def test_turns_join_the_conversation_in_order(
    responses: Responses, conversations: Conversations, ada: Caller
) -> None:
    greeting = message("assistant", "Hello")
    talk = await conversations.create(ada, title="", metadata={}, items=(greeting,))
    record = asked(ada, conversation_id=talk.id)
    assert await responses.active(ada, talk.id) is None
    await begin(responses, ada, record)
    assert await responses.active(ada, talk.id) == record.id
    asked_item = replace(record.input_items[0], response_id=record.id)
    assert await conversations.all_items(ada, talk.id) == (greeting, asked_item)
    done = answered(record)
    await responses.settle(done)
    await responses.settle(done)
    assert await responses.active(ada, talk.id) is None
    answer = replace(done.output_items[0], response_id=record.id)
    assert await conversations.all_items(ada, talk.id) == (greeting, asked_item, answer)
    (listed,) = await conversations.list(ada, Page())
    assert listed.updated_at > talk.updated_at


async def test_a_conversation_has_one_response_in_flight(
    responses: Responses, conversations: Conversations, ada: Caller
) -> None:
    talk = await conversations.create(ada, title="", metadata={}, items=())
    contenders = [asked(ada, conversation_id=talk.id) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(begin(responses, ada, record) for record in contenders), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
    assert len(await conversations.all_items(ada, talk.id)) == 1
    winner = contenders[outcomes.index(None)]
    await responses.settle(answered(winner))
    await begin(responses, ada, asked(ada, conversation_id=talk.id))


async def test_settling_and_beginning_at_once_never_lock_each_other_out(
    responses: Responses, conversations: Conversations, ada: Caller
) -> None:
    talk = await conversations.create(ada, title="", metadata={}, items=())
    current = asked(ada, conversation_id=talk.id)
    await begin(responses, ada, current)
    for _ in range(10):
        following = asked(ada, conversation_id=talk.id)
        _, begun = await asyncio.gather(
            responses.settle(answered(current)),
            begin(responses, ada, following),
            return_exceptions=True,
        )
        assert begun is None or isinstance(begun, Conflict)
        if begun is not None:
            await begin(responses, ada, following)
        current = following


async def test_deleting_a_response_leaves_what_was_said(
    responses: Responses, conversations: Conversations, ada: Caller
) -> None:
    talk = await conversations.create(ada, title="", metadata={}, items=())
    record = asked(ada, conversation_id=talk.id)
    await begin(responses, ada, record)
    done = answered(record)
    await responses.settle(done)
    await responses.delete(ada, record.id)
    with pytest.raises(NotFound):
        await responses.delete(ada, record.id)
    assert await conversations.all_items(ada, talk.id) == (
        *record.input_items,
        *done.output_items,
    )


async def test_deleting_a_conversation_deletes_its_responses_even_unfinished(
    responses: Responses, conversations: Conversations, ada: Caller
) -> None:
    talk = await conversations.create(ada, title="", metadata={}, items=())
    record = asked(ada, conversation_id=talk.id)
    await begin(responses, ada, record)
    await conversations.delete(ada, talk.id)
    await responses.settle(answered(record))
    with pytest.raises(NotFound):
        await responses.get(ada, record.id)


async def chained(responses: Responses, caller: Caller, n: int) -> list[ResponseRecord]:
    records: list[ResponseRecord] = []
    for _ in range(n):
        before = records[-1].id if records else None
        record = asked(caller, previous_response_id=before)
        await begin(responses, caller, record)
        done = answered(record)
        await responses.settle(done)
        records.append(done)
    return records


async def test_a_chain_is_read_oldest_first_without_logs(responses: Responses, ada: Caller) -> None:
    records = await chained(responses, ada, 3)
    assert list(await responses.chain(ada, records[-1].id)) == [
        replace(record, log=(), trace=()) for record in records
    ]
    assert len(await responses.chain(ada, records[0].id)) == 1


async def test_a_broken_chain_is_refused_not_shortened(responses: Responses, ada: Caller) -> None:
    first, _, last = await chained(responses, ada, 3)
    await responses.delete(ada, first.id)
    with pytest.raises(NotFound) as refused:
        await responses.chain(ada, last.id)
    assert refused.value.param == "previous_response_id"


async def test_a_chain_never_leads_to_another_owner(
    responses: Responses, ada: Caller, eve: Caller
) -> None:
    (hers,) = await chained(responses, ada, 1)
    thief = asked(eve, previous_response_id=hers.id)
    await begin(responses, eve, thief)
    with pytest.raises(NotFound):
        await responses.chain(eve, thief.id)


async def test_an_endless_chain_is_refused(database: Database, ada: Caller) -> None:
    short = PostgresResponses(database, max_chain=3)
    records = await chained(short, ada, 4)
    assert len(await short.chain(ada, records[2].id)) == 3
    with pytest.raises(InvalidRequest):
        await short.chain(ada, records[3].id)
    circle = asked(ada)
    await begin(short, ada, replace(circle, previous_response_id=circle.id))
    with pytest.raises(InvalidRequest):
        await short.chain(ada, circle.id)


async def test_what_a_dead_supervisor_left_open_is_found_with_its_plan(
    responses: Responses, ada: Caller
) -> None:
    left_open, running, finished = asked(ada), asked(ada), asked(ada)
    await begin(responses, ada, left_open, supervisor="dead", plan={"tool_choice": "auto"})
    await begin(responses, ada, running, supervisor="alive")
    await begin(responses, ada, finished, supervisor="dead")
    await responses.settle(answered(finished))
    found = [each for each in await responses.unfinished(["alive"]) if each.supervisor == "dead"]
    assert [each.record.id for each in found] == [left_open.id]
    assert found[0].plan == {"tool_choice": "auto"}
    await responses.take_over(left_open.id, "alive")
    await responses.take_over(finished.id, "alive")
    assert left_open.id not in {each.record.id for each in await responses.unfinished(["alive"])}


async def test_a_queued_response_starts_once(responses: Responses, ada: Caller) -> None:
    record = asked(ada, status=ResponseStatus.QUEUED)
    await begin(responses, ada, record)
    assert (await responses.get(ada, record.id)).status is ResponseStatus.QUEUED
    await responses.started(record.id)
    assert (await responses.get(ada, record.id)).status is ResponseStatus.IN_PROGRESS
    await responses.settle(answered(record))
    await responses.started(record.id)
    assert (await responses.get(ada, record.id)).status is ResponseStatus.COMPLETED


async def test_any_answer_can_be_kept(responses: Responses, ada: Caller) -> None:
    record = asked(ada)
    await begin(responses, ada, record)
    await responses.settle(replace(answered(record, "a\x00b"), error_message="c\x00d"))
    kept = await responses.get(ada, record.id)
    assert kept.output_items[0].body["content"] == "a\ufffdb"
    assert kept.log[1].event == TextDelta("a\ufffdb", (1, 2, 3))
    assert kept.error_message == "c\ufffdd"
