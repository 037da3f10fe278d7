from __future__ import annotations

from typing import get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.domain.journal import JournalRecord, Notice, ResponseFold, Wrote
from serve.domain.messages import (
    AudioPerception,
    ImagePerception,
    LogEntry,
    LogEvent,
    Perception,
    TextDelta,
    ToolAnswered,
    TraceSpan,
)
from serve.storage.codec import (
    UnknownForm,
    apply_record_json,
    decode_notice,
    decode_perception,
    encode_notice,
    encode_perception,
    encode_records,
    log_entry_from_json,
    log_to_json,
    span_from_json,
    span_to_json,
)

# What JSON numbers of ours may be: orjson writes integers of 64 bits, and no NaN.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(min_value=-(2**63), max_value=2**64 - 1))

# Content is for clients only, never kept.
st.register_type_strategy(
    ToolAnswered,
    st.builds(
        ToolAnswered,
        st.text(),
        st.text(),
        st.from_type(float),
        st.text(),
        st.booleans(),
        st.just(""),
    ),
)

records: st.SearchStrategy[JournalRecord] = st.one_of(*map(st.from_type, get_args(JournalRecord)))
events: st.SearchStrategy[LogEvent] = st.one_of(*map(st.from_type, get_args(LogEvent)))
notices: st.SearchStrategy[Notice] = st.one_of(*map(st.from_type, get_args(Notice)))
perceptions = st.one_of(st.from_type(ImagePerception), st.from_type(AudioPerception))


@given(st.lists(st.from_type(LogEntry), max_size=5))
def test_a_log_inside_other_json_survives(log: list[LogEntry]) -> None:
    parsed = orjson.loads(orjson.dumps({"log": log_to_json(log)}))
    assert [log_entry_from_json(entry) for entry in parsed["log"]] == log


@given(st.lists(records, max_size=5))
def test_journal_records_do_to_a_fold_what_they_did_before(written: list[JournalRecord]) -> None:
    fold, same = ResponseFold("resp_1", epoch=2), ResponseFold("resp_1", epoch=2)
    for record, parsed in zip(written, orjson.loads(encode_records(written)), strict=True):
        assert parsed[1] == record.response_id
        assert apply_record_json(fold, parsed) is same.apply(record)
        assert fold == same


@given(st.lists(events, max_size=5))
def test_events_survive_in_the_journal(told: list[LogEvent]) -> None:
    fold = ResponseFold("resp_1")
    [parsed] = orjson.loads(encode_records([Wrote("resp_1", 1, 0, tuple(told))]))
    assert apply_record_json(fold, parsed)
    assert [entry.event for entry in fold.entries] == told


@given(notices)
def test_every_notice_survives(notice: Notice) -> None:
    assert decode_notice(encode_notice(notice)) == notice


@given(perceptions)
def test_every_perception_survives(perception: Perception) -> None:
    assert decode_perception(encode_perception(perception)) == perception


@given(st.from_type(TraceSpan))
def test_every_span_survives(span: TraceSpan) -> None:
    assert span_from_json(orjson.loads(orjson.dumps(span_to_json(span)))) == span


def test_a_token_costs_few_bytes() -> None:
    record = Wrote("resp_1", 1, 1234, (TextDelta(" word", (4321,)),))
    assert len(encode_records([record])) < 45


@pytest.mark.parametrize(
    "damaged",
    [[], [1], [1, "Martian"], [1, "TextDelta"], [1, ["x"]], None, {}],
)
def test_damaged_entries_are_told_from_sound_ones(damaged: object) -> None:
    with pytest.raises(UnknownForm):
        log_entry_from_json(damaged)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    "damaged",
    [[], ["X", "r"], ["T", "r"], ["T", "r", 1, "x", "y"], ["W", "r", 1, 0, [["Martian", 1, 2]]],
     ["W", "r", 1, 0, 7], ["R", "r"], ["A", "r", 1], ["E", "r", 1, ["no end", []]], {}, None],
)  # fmt: skip
def test_damaged_records_are_told_from_sound_ones(damaged: object) -> None:
    with pytest.raises(UnknownForm):
        apply_record_json(ResponseFold("r"), damaged)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"null", b"7", b'["Martian",1]', b'["Beat",1]',
                b'["CancelAsked",7]', b'["Superseded","r"]', b'["Beat","p","k","h",1,2,[],[]]'],
)  # fmt: skip
def test_damaged_notices_are_told_from_sound_ones(damaged: bytes) -> None:
    with pytest.raises(UnknownForm):
        decode_notice(damaged)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"null", b"{}", b'{"type":"Martian","fields":{}}',
     b'{"type":"ImagePerception","fields":{}}', b'{"type":"AudioPerception","fields":null}'],
)  # fmt: skip
def test_damaged_perceptions_are_told_from_sound_ones(damaged: bytes) -> None:
    with pytest.raises(UnknownForm):
        decode_perception(damaged)


def test_a_span_of_another_shape_is_refused() -> None:
    with pytest.raises(UnknownForm):
        span_from_json(["name", "node", 0.0])
