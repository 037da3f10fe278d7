from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.domain.messages import (
    AudioPerception,
    ImagePerception,
    LogEntry,
    Perception,
    TextDelta,
    TraceSpan,
)
from serve.storage.codec import (
    UnknownForm,
    decode_log_entry,
    decode_perception,
    encode_log_entry,
    encode_perception,
    log_entry_from_json,
    log_to_json,
    span_from_json,
    span_to_json,
)

# What JSON numbers of ours may be: orjson writes integers of 64 bits, and no NaN.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(min_value=-(2**63), max_value=2**64 - 1))

perceptions = st.one_of(st.from_type(ImagePerception), st.from_type(AudioPerception))


@given(st.from_type(LogEntry))
def test_every_log_entry_survives(entry: LogEntry) -> None:
    assert decode_log_entry(encode_log_entry(entry)) == entry


@given(st.lists(st.from_type(LogEntry), max_size=5))
def test_a_log_inside_other_json_survives(log: list[LogEntry]) -> None:
    parsed = orjson.loads(orjson.dumps({"log": log_to_json(log)}))
    assert [log_entry_from_json(entry) for entry in parsed["log"]] == log


@given(perceptions)
def test_every_perception_survives(perception: Perception) -> None:
    assert decode_perception(encode_perception(perception)) == perception


@given(st.from_type(TraceSpan))
def test_every_span_survives(span: TraceSpan) -> None:
    assert span_from_json(orjson.loads(orjson.dumps(span_to_json(span)))) == span


def test_a_token_costs_few_bytes() -> None:
    assert len(encode_log_entry(LogEntry(1234, TextDelta(" word", (4321,))))) < 40


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"null", b"[1]", b'[1,"Martian"]', b'[1,"TextDelta"]', b'[1,["x"]]'],
)
def test_damaged_entries_are_told_from_sound_ones(damaged: bytes) -> None:
    with pytest.raises(UnknownForm):
        decode_log_entry(damaged)


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
