"""The fold from a response's log to OpenAI's events."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from serve.domain.messages import (
    Failed,
    Finished,
    FinishReason,
    LogEvent,
    Queued,
    TextDelta,
    Usage,
)
from serve.domain.records import JsonObject
from serve.protocol.events import STAGE_EVENT, ResponseEvents, settled_record
from tests.fixtures.logs import asked_record, logs

_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def _told(events: Iterable[LogEvent]) -> list[JsonObject]:
    fold = ResponseEvents(asked_record())
    told = list(fold.opening())
    for event in events:
        told.extend(fold.apply(event))
    return told


@given(logs())
def test_every_event_is_one_the_stock_sdk_accepts_and_numbers_have_no_gap(
    log: list[LogEvent],
) -> None:
    told = [event for event in _told(log) if event["type"] != STAGE_EVENT]
    for event in told:
        _EVENT.validate_python(event, strict=False)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


@given(logs())
def test_deltas_add_up_to_what_is_settled(log: list[LogEvent]) -> None:
    told = _told(log)
    settled = settled_record(asked_record(), log)
    by_item: dict[str, str] = {}
    for event in told:
        if event["type"].endswith(".delta"):
            by_item[event["item_id"]] = by_item.get(event["item_id"], "") + event["delta"]
    for item in settled.output_items:
        body = item.body
        whole = body["content"][0]["text"] if body["type"] == "message" else body["arguments"]
        assert whole == by_item.get(item.id, "")
    assert told[-1]["response"]["output"] == [item.body for item in settled.output_items]


@given(logs())
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


def test_a_place_in_line_is_a_stage_without_a_number_of_its_own() -> None:
    told = _told([Queued(3, 12.5, 1.0)])
    assert told[-1] == {
        "type": STAGE_EVENT,
        "sequence_number": 1,
        "stage": "queued",
        "place": 3,
        "eta_s": 12.5,
    }
