"""The default model does what its engine promises: words that make sense, calls that are valid."""

from __future__ import annotations

import json
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deployments.generator import GeneratorReplica
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    GenerationRequest,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.answers import Answer, answer_in
from tests.fixtures.recorded_journal import RecordedJournal, RecordedNotices

pytestmark = [
    pytest.mark.models,
    # vLLM, torch and transformers warn about themselves while they load and run.
    pytest.mark.filterwarnings("ignore"),
]

_MODEL = "qwen2.5-coder-0.5b-instruct"
_WEATHER = ToolSpec(
    name="get_weather",
    description="Get the weather of a city",
    parameters_json=json.dumps(
        {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        }
    ),
)
_QUESTION = ChatMessage(role="user", parts=(TextPart("What is the weather in Paris?"),))


@pytest.fixture(scope="module")
def journal() -> RecordedJournal:
    return RecordedJournal()


@pytest.fixture(scope="module")
def generator(models_dir: Path, journal: RecordedJournal) -> Iterator[GeneratorReplica]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        replica = GeneratorReplica(
            CPU_CATALOG.get(_MODEL), lambda: journal, RecordedNotices, str(models_dir)
        )
    yield replica
    replica.shutdown()


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
def ask(generator: GeneratorReplica, journal: RecordedJournal) -> Ask:
    """Send messages, get the answer; the first argument names it."""

    async def asked(name: str, *messages: ChatMessage, tools: tuple[ToolSpec, ...] = ()) -> Answer:
        await generator.generate(
            GenerationRequest(
                response_id=name,
                model=_MODEL,
                messages=messages,
                sampling=Sampling(max_output_tokens=64, temperature=0),
                tools=tools,
            )
        )
        return answer_in(journal.fold(name))

    return asked


async def test_it_answers_a_simple_question(ask: Ask) -> None:
    question = ChatMessage(
        role="user", parts=(TextPart("What is the capital of France? Answer in one word."),)
    )
    seen = await ask("capital", question)
    assert "Paris" in seen.text
    assert seen.reason is FinishReason.STOP


async def test_it_calls_the_tool_that_fits_unasked(ask: Ask) -> None:
    seen = await ask("call", _QUESTION, tools=(_WEATHER,))
    assert seen.reason is FinishReason.TOOL_CALLS
    assert [call.name for call in seen.calls] == ["get_weather"]
    assert "Paris" in json.loads(seen.calls[0].arguments)["city"]


async def test_it_uses_what_the_tool_said(ask: Ask) -> None:
    call = ToolCall(call_id="call_1", name="get_weather", arguments='{"city": "Paris"}')
    said = ChatMessage(
        role="tool", parts=(TextPart('{"weather": "snow, -3 degrees"}'),), tool_call_id="call_1"
    )
    called = ChatMessage(role="assistant", tool_calls=(call,))
    # A model this small repeats its call unless it is asked on.
    on = ChatMessage(role="user", parts=(TextPart("So how is it? Answer in one sentence."),))
    seen = await ask("use", _QUESTION, called, said, on)
    assert "snow" in seen.text
