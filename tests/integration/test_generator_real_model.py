"""The default model does what its engine promises: words that make sense, calls that are valid."""

from __future__ import annotations

import json
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deployments.generator import GeneratorReplica
from graphs.online.assemble import assemble
from serve.domain.messages import (
    Box,
    ChatMessage,
    DetectedObject,
    DocumentPage,
    DocumentPerception,
    FinishReason,
    GenerationRequest,
    Sampling,
    Shot,
    TextPart,
    ToolCall,
    ToolSpec,
    VideoPerception,
)
from serve.domain.records import Item
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


async def test_it_answers_with_the_time_when_asked_about_a_video(ask: Ask) -> None:
    film = VideoPerception(
        shots=tuple(_shot(*shot) for shot in ((0, 12, "dog"), (12, 34, "car"), (34, 60, "cat"))),
        sound=None,
        vector=(1.0,),
        duration_s=60.0,
        encode_s=0.0,
    )
    question = Item(
        id="msg_1",
        body={
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_file", "file_id": "asset_film"},
                {"type": "input_text", "text": "At what time does the car appear?"},
            ],
        },
    )
    seen = await ask("film", *assemble([question], {"asset_film": film}, instructions=None))
    assert "0:12" in seen.text


async def test_it_answers_with_the_page_when_asked_about_a_document(ask: Ask) -> None:
    topics = ("Costs of paper and ink rose by two percent.", "The canteen has a new cook.")
    texts = [f"{topics[number % 2]} " * 30 for number in range(40)]
    texts[16] = "Revenue. The Vienna office earned 48213 euros this year."
    report = DocumentPerception(
        pages=tuple(
            DocumentPage(
                number=number, text=text, is_read_from_picture=False, description="", vector=(1.0,)
            )
            for number, text in enumerate(texts, 1)
        ),
        title="Annual report",
        vector=(1.0,),
        encode_s=0.0,
    )
    question = Item(
        id="msg_1",
        body={
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_file", "file_id": "asset_report"},
                {
                    "type": "input_text",
                    "text": "How much did the Vienna office earn, and on which page is that?",
                },
            ],
        },
    )
    read = await ask("report", *assemble([question], {"asset_report": report}, instructions=None))
    assert "48213" in read.text.replace(",", "")
    assert "17" in read.text


def _shot(start_s: float, end_s: float, name: str) -> Shot:
    return Shot(
        start_s=start_s,
        end_s=end_s,
        frame_s=start_s,
        description="",
        labels=(),
        objects=(DetectedObject(name, 0.9, Box(0, 0, 1, 1)),),
        text_lines=(),
        vector=(1.0,),
    )


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
    # Which of the two it picks differs between processors; neither can come from anywhere else.
    assert "snow" in seen.text or "-3" in seen.text
