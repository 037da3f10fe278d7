"""The fold from a response's log to OpenAI's events."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from serve.domain.messages import (
    Failed,
    Finished,
    FinishReason,
    LogEvent,
    Stage,
    StageFinished,
    StageStarted,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    Usage,
)
from serve.domain.records import JsonObject, ResponseRecord, ResponseStatus
from serve.protocol.events import STAGE_EVENT, ResponseEvents, settled_record
from serve.protocol.responses import CreateResponse, to_ask

_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def _record() -> ResponseRecord:
    ask = to_ask(CreateResponse(input="hello"), model="m", items=())
    return ResponseRecord(
        id="resp_abc",
        owner_id="user_1",
        model="m",
        status=ResponseStatus.IN_PROGRESS,
        created_at=datetime.now(UTC),
        request=ask.echo,
        input_items=(),
    )


def _told(events: Iterable[LogEvent]) -> list[JsonObject]:
    fold = ResponseEvents(_record())
    told = list(fold.opening())
    for event in events:
        told.extend(fold.apply(event))
    return told


_TEXT = st.builds(TextDelta, st.text(min_size=1, max_size=5))
_STAGE: st.SearchStrategy[LogEvent] = st.sampled_from(
    [StageStarted(Stage.LOOKING, "asset_1", 1.0), StageFinished(Stage.LOOKING, "asset_1", 2.0)]
)


@st.composite
def _logs(draw: st.DrawFn) -> list[LogEvent]:
    events: list[LogEvent] = list(draw(st.lists(_STAGE, max_size=2)))
    n_calls = 0
    for block in draw(st.lists(st.sampled_from(["text", "call"]), max_size=4)):
        if block == "text":
            events += draw(st.lists(_TEXT, min_size=1, max_size=3))
        else:
            events.append(ToolCallStarted(n_calls, f"call_{n_calls}", "look_up"))
            pieces = draw(st.lists(st.text(max_size=4), max_size=3))
            events += [ToolArgumentsDelta(n_calls, piece) for piece in pieces]
            n_calls += 1
    now = time.time()
    ends: list[LogEvent] = [
        Finished(reason, Usage(input_tokens=3, output_tokens=2), now) for reason in FinishReason
    ]
    ends.append(Failed("engine_unavailable", "gone", now))
    events.append(draw(st.sampled_from(ends)))
    return events


@given(_logs())
def test_every_event_is_one_the_stock_sdk_accepts_and_numbers_have_no_gap(
    log: list[LogEvent],
) -> None:
    told = [event for event in _told(log) if event["type"] != STAGE_EVENT]
    for event in told:
        _EVENT.validate_python(event, strict=False)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


@given(_logs())
def test_deltas_add_up_to_what_is_settled(log: list[LogEvent]) -> None:
    told = _told(log)
    settled = settled_record(_record(), log)
    by_item: dict[str, str] = {}
    for event in told:
        if event["type"].endswith(".delta"):
            by_item[event["item_id"]] = by_item.get(event["item_id"], "") + event["delta"]
    for item in settled.output_items:
        body = item.body
        whole = body["content"][0]["text"] if body["type"] == "message" else body["arguments"]
        assert whole == by_item.get(item.id, "")
    assert told[-1]["response"]["output"] == [item.body for item in settled.output_items]


@given(_logs())
def test_two_readers_of_one_log_are_told_the_same(log: list[LogEvent]) -> None:
    first, second = _told(log), _told(log)
    for event in (*first, *second):
        event.pop("response", None)
    assert first == second


def test_a_cut_answer_says_why() -> None:
    told = _told([TextDelta("so"), Finished(FinishReason.LENGTH, Usage(output_tokens=1), 1.0)])
    assert told[-1]["type"] == "response.incomplete"
    assert told[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_usage_is_on_the_last_event() -> None:
    usage = Usage(input_tokens=7, cached_tokens=2, output_tokens=5)
    told = _told([TextDelta("hi"), Finished(FinishReason.STOP, usage, 1.0)])
    assert told[-1]["response"]["usage"]["total_tokens"] == 12
    assert told[0]["response"]["usage"] is None


def test_a_failure_after_some_text_keeps_the_text() -> None:
    told = _told([TextDelta("half"), Failed("engine_unavailable", "gone", 1.0)])
    response = told[-1]["response"]
    assert told[-1]["type"] == "response.failed"
    assert response["output"][0]["content"][0]["text"] == "half"
    assert response["error"] == {"code": "server_error", "message": "gone"}
