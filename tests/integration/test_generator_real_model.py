"""The default model does what its engine promises: words that make sense, calls that are valid."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.generator import GeneratorReplica
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    GenerationOutcome,
    GenerationRequest,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.recorded_log import RecordedLog

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
def generator(models_dir: Path) -> Iterator[GeneratorReplica]:
    log = RecordedLog()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        replica = GeneratorReplica(CPU_CATALOG.get(_MODEL), str(models_dir), lambda: log)
    yield replica
    replica.shutdown()


async def _answer(
    generator: GeneratorReplica, name: str, *messages: ChatMessage, tools: tuple[ToolSpec, ...] = ()
) -> GenerationOutcome:
    return await generator.generate(
        GenerationRequest(
            response_id=name,
            model=_MODEL,
            messages=messages,
            sampling=Sampling(max_output_tokens=64, temperature=0),
            first_seq=0,
            tools=tools,
        )
    )


async def test_it_answers_a_simple_question(generator: GeneratorReplica) -> None:
    question = ChatMessage(
        role="user", parts=(TextPart("What is the capital of France? Answer in one word."),)
    )
    outcome = await _answer(generator, "capital", question)
    assert "Paris" in outcome.text
    assert outcome.reason is FinishReason.STOP


async def test_it_calls_the_tool_that_fits_unasked(generator: GeneratorReplica) -> None:
    outcome = await _answer(generator, "call", _QUESTION, tools=(_WEATHER,))
    assert outcome.reason is FinishReason.TOOL_CALLS
    assert [call.name for call in outcome.tool_calls] == ["get_weather"]
    assert "Paris" in json.loads(outcome.tool_calls[0].arguments)["city"]


async def test_it_uses_what_the_tool_said(generator: GeneratorReplica) -> None:
    call = ToolCall(call_id="call_1", name="get_weather", arguments='{"city": "Paris"}')
    said = ChatMessage(
        role="tool", parts=(TextPart('{"weather": "snow, -3 degrees"}'),), tool_call_id="call_1"
    )
    called = ChatMessage(role="assistant", tool_calls=(call,))
    # A model this small repeats its call unless it is asked on.
    on = ChatMessage(role="user", parts=(TextPart("So how is it? Answer in one sentence."),))
    outcome = await _answer(generator, "use", _QUESTION, called, said, on)
    assert "snow" in outcome.text
