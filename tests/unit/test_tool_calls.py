"""Finding tool calls in text that arrives in arbitrary pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.generation.tool_calls import FoundCall, Piece, PlainText, ToolCallParser

_TOOLS = frozenset({"get_weather", "get_time"})
_CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
_FOUND = FoundCall("get_weather", '{"city": "Paris"}')


def _parse(text: str, cuts: list[int] | None = None) -> list[Piece]:
    parser = ToolCallParser(_TOOLS)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    pieces: list[Piece] = []
    for start, end in itertools.pairwise(places):
        pieces += parser.feed(text[start:end])
    return _joined(pieces + parser.close())


def _joined(pieces: list[Piece]) -> list[Piece]:
    joined: list[Piece] = []
    for piece in pieces:
        if joined and isinstance(piece, PlainText) and isinstance(joined[-1], PlainText):
            joined[-1] = PlainText(joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return joined


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (f"<tool_call>\n{_CALL}\n</tool_call>", [_FOUND]),
        (f"<tool_call>{_CALL}", [_FOUND]),
        (
            f"I will look.\n<tool_call>\n{_CALL}\n</tool_call>\nDone.",
            [PlainText("I will look."), _FOUND, PlainText("\nDone.")],
        ),
        (f"<tool_call>\n{_CALL}\n</tool_call>\n<tool_call>\n{_CALL}\n</tool_call>", [_FOUND] * 2),
        (f"<tool_call>\n{_CALL}\n{_CALL}\n</tool_call>", [_FOUND] * 2),
        (f"<tools>\n{_CALL}\n</tools>", [_FOUND]),
        (f"```json\n{_CALL}\n```", [_FOUND]),
        (f"```\n{_CALL}\n```", [_FOUND]),
        (f"Here you go:\n```json\n{_CALL}\n```", [PlainText("Here you go:"), _FOUND]),
        (_CALL, [_FOUND]),
        (f"{_CALL}\n{_CALL}", [_FOUND] * 2),
        (_CALL.replace("arguments", "parameters"), [_FOUND]),
        ('<tool_call>{"name": "get_time"}</tool_call>', [FoundCall("get_time", "{}")]),
    ],
)
def test_a_call_is_found_wherever_models_put_it(text: str, pieces: list[Piece]) -> None:
    assert _parse(text) == pieces


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n{not json}\n</tool_call> after",
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "get_time", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "get_time", "arguments": {"x": NaN}}</tool_call>',
        "<tool_call>\n" + _CALL[:-3],
        '```json\n{"city": "Paris"}\n```',
        "```python\nprint({})\n```",
        "```json\n" + _CALL.replace("get_weather", "other") + "\n```",
        '{"city": "Paris", "arguments": {}}',
        f"The call would be {_CALL}",
        "a < b and <tool",
        "  \n text with space around \n ",
        "",
    ],
)
def test_what_is_no_call_stays_the_text_it_was(text: str) -> None:
    assert _parse(text) == ([PlainText(text)] if text else [])


@given(
    text=st.lists(
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(
                ["<tool_call>", "</tool_call>", "<tools>", "```", "```json\n", "\n", " ", "{", "<"]
            ),
            st.just(_CALL),
            st.just(f"<tool_call>\n{_CALL}\n</tool_call>"),
        ),
        max_size=8,
    ).map("".join),
    cuts=st.lists(st.integers(min_value=0, max_value=1000), max_size=30),
)
def test_how_the_text_is_cut_changes_nothing(text: str, cuts: list[int]) -> None:
    assert _parse(text, cuts) == _parse(text)


@given(
    text=st.text(),
    cuts=st.lists(st.integers(min_value=0, max_value=1000), max_size=10),
)
def test_text_without_calls_comes_out_unchanged(text: str, cuts: list[int]) -> None:
    assert _parse(text, cuts) == ([PlainText(text)] if text else [])


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    before=st.text(alphabet="abc .,\n", max_size=20),
    arguments=st.lists(st.dictionaries(st.text(), _JSON, max_size=3), min_size=1, max_size=3),
    cuts=st.lists(st.integers(min_value=0, max_value=1000), max_size=30),
)
def test_every_call_arrives_with_its_arguments(
    before: str, arguments: list[dict[str, object]], cuts: list[int]
) -> None:
    calls = [json.dumps({"name": "get_time", "arguments": each}) for each in arguments]
    if any("</tool_call>" in call for call in calls):
        return
    text = before + "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
    found = [piece for piece in _parse(text, cuts) if isinstance(piece, FoundCall)]
    assert [json.loads(call.arguments) for call in found] == arguments


def test_text_before_a_call_is_not_held_back() -> None:
    parser = ToolCallParser(_TOOLS)
    assert parser.feed("Let me") == [PlainText("Let me")]
    assert parser.feed(" look <tool") == [PlainText(" look")]
    assert parser.feed("_call>") == []
