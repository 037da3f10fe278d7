"""Tokens to events: the same whatever the steps, and cut only where another may go on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from deployments.generation.assembly import AnswerAssembler, Detokenizer
from serve.domain.messages import LogEvent, TextDelta, ToolArgumentsDelta, ToolCallStarted
from tests.fixtures.checkpoints import write_tokenizer

_CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "日本"}}\n</tool_call>'
_PROMPT = "Say something."
_TEXTS = st.lists(
    st.sampled_from(["Hello ", "日本語", "🎉", "x" * 3, "STOP", "STO", "S", " \n", _CALL, "<tool"]),
    min_size=1,
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def assembler_of(
    tokenizer: Tokenizer,
    *,
    stop: tuple[str, ...] = (),
    tools: tuple[str, ...] = (),
    one_call: bool = False,
) -> AnswerAssembler:
    detokenizer = Detokenizer(tokenizer, tokenizer.encode(_PROMPT).ids)
    return AnswerAssembler(detokenizer, stop=stop, tools=tools, one_call=one_call)


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def text_of(events: list[LogEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def tokens_of(events: list[LogEvent]) -> list[int]:
    return [
        token
        for event in events
        if isinstance(event, TextDelta | ToolArgumentsDelta)
        for token in event.token_ids
    ]


def told(events: list[LogEvent]) -> list[tuple[str, ...]]:
    """What a client sees, whatever the pieces."""
    seen: list[tuple[str, ...]] = []
    for event in events:
        match event:
            case TextDelta(text):
                if seen and seen[-1][0] == "text":
                    seen[-1] = ("text", seen[-1][1] + text)
                else:
                    seen.append(("text", text))
            case ToolCallStarted(index, _, name):
                seen.append(("call", str(index), name))
            case ToolArgumentsDelta(index, arguments):
                seen.append(("arguments", str(index), arguments))
            case _:
                raise AssertionError(event)
    return seen


def test_without_stops_and_tools_the_text_is_the_tokens(tokenizer: Tokenizer) -> None:
    text = "Héllo 🎉 日本語, bye."
    ids = ids_of(tokenizer, text)
    assembler = assembler_of(tokenizer)
    events = assembler.feed(ids) + assembler.close()
    assert text_of(events) == text
    assert tokens_of(events) == ids


def test_a_character_comes_with_all_its_tokens(tokenizer: Tokenizer) -> None:
    ids = ids_of(tokenizer, "日")
    assert len(ids) > 1
    assembler = assembler_of(tokenizer)
    assert [assembler.feed([token]) for token in ids] == [
        *([[]] * (len(ids) - 1)),
        [TextDelta("日", tuple(ids))],
    ]


def test_half_a_character_at_the_end_is_left_out(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer)
    whole, half = ids_of(tokenizer, "a "), ids_of(tokenizer, "日")[:-1]
    events = assembler.feed([*whole, *half]) + assembler.close()
    assert text_of(events) == "a "
    assert tokens_of(events) == whole


def test_the_answer_ends_before_the_earliest_stop_string(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer, stop=("END", "lazy dog"))
    events = assembler.feed(ids_of(tokenizer, "The quick lazy dog END over")) + assembler.close()
    assert assembler.is_over
    assert text_of(events) == "The quick "
    assert not assembler.feed(ids_of(tokenizer, "more"))


def test_what_became_no_stop_string_comes_out_at_the_end(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer, stop=("END!",))
    ids = ids_of(tokenizer, "the END")
    begun = assembler.feed(ids)
    assert not text_of(begun).endswith("E")
    events = begun + assembler.close()
    assert text_of(events) == "the END"
    assert tokens_of(events) == ids


def test_a_stop_string_that_begins_inside_itself_is_found(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer, stop=("aab",))
    events = [e for c in "xaaab" for e in assembler.feed(ids_of(tokenizer, c))] + assembler.close()
    assert text_of(events) == "xa"


def test_an_empty_stop_string_stops_nothing(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer, stop=("",))
    assert text_of(assembler.feed(ids_of(tokenizer, "abc"))) == "abc"


def test_a_call_comes_whole_and_with_all_its_tokens(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer, tools=("look",))
    ids = ids_of(tokenizer, f"I will.\n{_CALL}")
    events = assembler.feed(ids) + assembler.close()
    assert told(events) == [
        ("text", "I will."),
        ("call", "0", "look"),
        ("arguments", "0", '{"at": "日本"}'),
    ]
    assert tokens_of(events) == ids


def test_calls_are_numbered_from_those_of_the_last_generator(tokenizer: Tokenizer) -> None:
    assembler = assembler_of(tokenizer, tools=("look",))
    assembler.n_calls = 2
    events = assembler.feed(ids_of(tokenizer, _CALL))
    assert ("call", "2", "look") in told(events)
    assert assembler.n_calls == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=_TEXTS,
    stop=st.sampled_from([(), ("STOP",), ("TO", "STOPS")]),
    tools=st.sampled_from([(), ("look",)]),
    one_call=st.booleans(),
    cuts=st.lists(st.integers(0, 100), max_size=5),
)
def test_steps_and_cuts_change_nothing(
    tokenizer: Tokenizer,
    text: str,
    stop: tuple[str, ...],
    tools: tuple[str, ...],
    one_call: bool,
    cuts: list[int],
) -> None:
    ids = ids_of(tokenizer, text)
    whole = assembler_of(tokenizer, stop=stop, tools=tools, one_call=one_call)
    undisturbed = whole.feed(ids) + whole.close()

    places = sorted({0, len(ids), *(cut % (len(ids) + 1) for cut in cuts)})
    events: list[LogEvent] = []
    for start, end in itertools.pairwise(places):
        # Each part by another generator, which is told the tokens so far.
        emitted = tokens_of(events)
        part = assembler_of(tokenizer, stop=stop, tools=tools, one_call=one_call)
        assert tokens_of(part.feed(emitted)) == emitted
        assert emitted == ids[: len(emitted)]
        events += part.feed(ids[len(emitted) : max(end, start)])
        if part.is_over or end == len(ids):
            events += part.close()
            assert part.n_fed == whole.n_fed
            break
    assert told(events) == told(undisturbed)
