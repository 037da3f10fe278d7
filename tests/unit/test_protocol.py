"""What the wire accepts and what it refuses."""

from __future__ import annotations

import itertools

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import ValidationError

from serve.domain.errors import InvalidRequest
from serve.domain.messages import (
    Finished,
    FinishReason,
    LogEvent,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    TranscriptSegment,
    Usage,
)
from serve.protocol.chat import (
    ChatChunks,
    CreateChatCompletion,
    render_completion,
    to_create_response,
)
from serve.protocol.events import settled_record
from serve.protocol.items import as_items
from serve.protocol.responses import CreateResponse, demand_of, to_ask
from serve.protocol.subtitles import render_subtitles
from tests.fixtures.logs import asked_record

_TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}


def test_an_unknown_parameter_is_named() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        CreateResponse.model_validate({"input": "x", "temprature": 1})


def test_conversation_and_previous_response_contradict_each_other() -> None:
    body = CreateResponse(input="x", conversation="conv_1", previous_response_id="resp_1")
    with pytest.raises(InvalidRequest, match="not both"):
        to_ask(body, model="m", items=())


def test_a_tool_choice_must_be_among_the_tools() -> None:
    body = CreateResponse.model_validate(
        {"input": "x", "tools": [_TOOL], "tool_choice": {"type": "function", "name": "other"}}
    )
    with pytest.raises(InvalidRequest, match="look_up"):
        to_ask(body, model="m", items=())


def test_chat_and_responses_ask_for_the_same_thing() -> None:
    chat = CreateChatCompletion.model_validate(
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "look_up", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "42"},
            ],
            "tools": [{"type": "function", "function": {"name": "look_up"}}],
            "max_completion_tokens": 5,
            "response_format": {"type": "json_object"},
        }
    )
    ask = to_ask(to_create_response(chat), model="m", items=())
    assert not ask.stored
    assert ask.json_schema == "{}"
    assert ask.sampling.max_output_tokens == 5
    assert ask.tools[0].name == "look_up"


def test_chunks_and_completions_satisfy_the_stock_sdk() -> None:
    log: list[LogEvent] = [
        TextDelta("Let me see."),
        ToolCallStarted(0, "call_1", "look_up"),
        ToolArgumentsDelta(0, '{"a": 1}'),
        Finished(FinishReason.TOOL_CALLS, Usage(input_tokens=2, output_tokens=3), 1.0),
    ]
    fold = ChatChunks(asked_record(), include_usage=True)
    chunks = [*fold.opening(), *(chunk for event in log for chunk in fold.apply(event))]
    parsed = [ChatCompletionChunk.model_validate(chunk) for chunk in chunks]
    assert parsed[-1].usage is not None
    assert parsed[-1].usage.total_tokens == 5
    assert parsed[-2].choices[0].finish_reason == "tool_calls"
    whole = ChatCompletion.model_validate(
        render_completion(settled_record(asked_record(), log), FinishReason.TOOL_CALLS)
    )
    assert whole.choices[0].message.tool_calls is not None
    assert whole.choices[0].message.content == "Let me see."


def test_subtitles_carry_times() -> None:
    heard = (TranscriptSegment(0.0, 3661.5, "Hello"),)
    assert render_subtitles(heard, "srt") == "1\n00:00:00,000 --> 01:01:01,500\nHello\n"
    assert render_subtitles(heard, "vtt") == ("WEBVTT\n\n00:00:00.000 --> 01:01:01.500\nHello\n")


def test_long_subtitles_become_several_of_two_short_lines() -> None:
    words = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 3
    blocks = render_subtitles((TranscriptSegment(10.0, 22.0, words.strip()),), "srt").split("\n\n")
    assert len(blocks) == 3
    lines = [line for block in blocks for line in block.strip().split("\n")[2:]]
    assert max(map(len, lines)) <= 42
    assert " ".join(lines) == words.strip()
    times = [block.split("\n")[1].split(" --> ") for block in blocks]
    assert (times[0][0], times[-1][1]) == ("00:00:10,000", "00:00:22,000")
    assert all(before[1] == after[0] for before, after in itertools.pairwise(times))


def test_subtitles_cannot_be_broken_out_of() -> None:
    heard = (TranscriptSegment(0.0, 1.0, "a < b && b --> c"),)
    assert "a &lt; b &amp;&amp; b --&gt; c" in render_subtitles(heard, "vtt")


def test_a_demand_counts_every_text_and_medium() -> None:
    content = [
        {"type": "input_text", "text": "a" * 100},
        {"type": "input_image", "file_id": "asset_1"},
        {"type": "input_audio", "file_id": "asset_2"},
    ]
    items = [
        {"role": "user", "content": content},
        {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "ok"},
    ]
    body = CreateResponse.model_validate(
        {"input": items, "instructions": "\u00fc", "max_output_tokens": 9}
    )
    demand = demand_of(body, as_items(body.input))
    assert demand.prompt_bytes == 100 + len("n{}") + len("ok") + 2
    assert demand.max_output_tokens == 9
    assert len(demand.picture_px) == 1
    assert demand.audio_s > 0
    later = demand_of(body.model_copy(update={"previous_response_id": "resp_1"}), ())
    assert later.prompt_bytes > 2
