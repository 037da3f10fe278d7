"""A log as bytes: the quick way says what the fold says, and resuming leaves out what was seen."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from serve.domain.errors import StoreUnavailable
from serve.domain.messages import Failed, LogEntry, LogEvent, Queued, TextDelta
from serve.ingress.streaming import ChatFrames, Frames, LineMessages, ResponseFrames
from serve.protocol.chat import ChatChunks
from serve.protocol.events import STAGE_EVENT, ResponseEvents
from tests.fixtures.logs import asked_record, logs


def _entries(log: list[LogEvent]) -> list[LogEntry]:
    return [LogEntry(seq, event) for seq, event in enumerate(log)]


def _whole(frames: Frames, log: list[LogEvent], *, batch_size: int = 1000) -> bytes:
    entries = _entries(log)
    batches = [entries[at : at + batch_size] for at in range(0, len(entries), batch_size)]
    return frames.opening() + b"".join(map(frames.batch, batches)) + frames.closing()


def _parsed(stream: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of every event, as a client of server-sent events reads them."""
    found: list[tuple[str, dict[str, Any]]] = []
    for block in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


def _responses(after: int = -1) -> ResponseFrames:
    return ResponseFrames(ResponseEvents(asked_record()), after=after)


def _chat(*, include_usage: bool = True) -> ChatFrames:
    return ChatFrames(ChatChunks(asked_record(), include_usage=include_usage))


@given(logs())
def test_the_stream_is_what_the_fold_says_less_the_stages(log: list[LogEvent]) -> None:
    fold = ResponseEvents(asked_record())
    events = [*fold.opening(), *(told for event in log for told in fold.apply(event))]
    numbered = [(event["type"], event) for event in events if event["type"] != STAGE_EVENT]
    assert _parsed(_whole(_responses(), log)) == numbered


@given(logs(), st.integers(1, 5))
def test_how_the_log_comes_in_batches_makes_no_difference(
    log: list[LogEvent], batch_size: int
) -> None:
    for frames in (_responses, _chat):
        assert _whole(frames(), log, batch_size=batch_size) == _whole(frames(), log)


@given(logs(), st.data())
def test_resuming_gives_exactly_what_comes_after(log: list[LogEvent], data: st.DataObject) -> None:
    whole = _parsed(_whole(_responses(), log))
    after = data.draw(st.integers(-1, len(whole)))
    assert _parsed(_whole(_responses(after), log)) == whole[after + 1 :]


@given(logs())
def test_chat_streams_are_chunks_the_stock_sdk_accepts(log: list[LogEvent]) -> None:
    stream = _whole(_chat(), log)
    assert stream.endswith(b"data: [DONE]\n\n")
    chunks = [data for _, data in _parsed(stream.removesuffix(b"data: [DONE]\n\n"))]
    if isinstance(log[-1], Failed):
        assert chunks.pop()["error"]["code"] == "engine_unavailable"
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    text = "".join(event.text for event in log if isinstance(event, TextDelta))
    told = [choice["delta"].get("content") or "" for c in chunks for choice in c["choices"]]
    assert "".join(told) == text


@given(logs(), st.data())
def test_the_browsers_line_has_the_same_events_and_the_stages(
    log: list[LogEvent], data: st.DataObject
) -> None:
    fold = ResponseEvents(asked_record())
    events = [*fold.opening(), *(told for event in log for told in fold.apply(event))]
    after = data.draw(st.integers(-1, events[-1]["sequence_number"]))
    line = LineMessages(ResponseEvents(asked_record()), "c1", "resp_abc", after=after)
    messages = [json.loads(text) for text in [*line.opening(), *line.batch(_entries(log))]]
    for message in messages:
        assert message.keys() == {"type", "client_id", "response_id", "event"}
    # Which stages of this moment the reader knows already, it alone can tell.
    missing = [event for event in events if event["sequence_number"] + _is_stage(event) > after]
    assert [message["event"] for message in messages] == missing


def _is_stage(event: dict[str, Any]) -> bool:
    return bool(event["type"] == STAGE_EVENT)


def test_a_place_in_line_is_a_comment_that_clients_skip() -> None:
    stream = _responses().batch([LogEntry(0, Queued(3, 12.4, 1.0))])
    assert stream == b": queued place=3 eta_s=12\n\n"
    assert _chat().batch([LogEntry(0, Queued(3, 12.4, 1.0))]) == stream


def test_a_log_that_cannot_be_read_on_is_told_and_costs_no_number() -> None:
    frames = _responses()
    frames.opening()
    [(name, told)] = _parsed(frames.broken(StoreUnavailable("try again")))
    assert name == told["type"] == "error"
    assert told["sequence_number"] == 1
    assert told["code"] == StoreUnavailable.code
    [(_, chunk)] = _parsed(_chat().broken(StoreUnavailable("try again")))
    assert chunk["error"]["code"] == StoreUnavailable.code
