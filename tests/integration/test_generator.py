"""The generator replica on a tiny random model: a real engine, real steps, meaningless words."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deployments.generator import GeneratorReplica
from serve.domain.errors import (
    ContextLengthExceeded,
    EngineDead,
    InvalidRequest,
    StoreUnavailable,
    UnknownModel,
)
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    GenerationRequest,
    LogEntry,
    Sampling,
    TextDelta,
    TextPart,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolSpec,
)
from serve.registry.specs import GeneratorTraits, ModelSpec, spec_of_folder
from tests.fixtures.recorded_log import RecordedLog

# vLLM, torch and transformers warn about themselves while they load and run.
pytestmark = pytest.mark.filterwarnings("ignore")

_BATCH = 8
_WINDOW = 4096
_WEATHER = ToolSpec(
    name="get_weather",
    description="Weather of a city",
    parameters_json=json.dumps(
        {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        }
    ),
)


def tiny_spec(checkpoint: Path) -> ModelSpec:
    return spec_of_folder(
        checkpoint,
        name="tiny",
        licence="none",
        traits=GeneratorTraits(kv_cache_bytes=64 << 20, max_num_seqs=_BATCH, tool_parser="hermes"),
    )


def start(checkpoint: Path, log: RecordedLog) -> GeneratorReplica:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GeneratorReplica(tiny_spec(checkpoint), "", lambda: log)


def ask(text: str = "hello", **changes: object) -> GenerationRequest:
    fields: dict[str, object] = {
        "response_id": f"resp_{secrets.token_hex(8)}",
        "model": "tiny",
        "messages": (ChatMessage(role="user", parts=(TextPart(text),)),),
        "sampling": Sampling(max_output_tokens=24, temperature=0),
        "first_seq": 0,
    }
    return GenerationRequest(**(fields | changes))  # type: ignore[arg-type]  # checked when run


def text_of(entries: tuple[LogEntry, ...]) -> str:
    return "".join(e.event.text for e in entries if isinstance(e.event, TextDelta))


@pytest.fixture(scope="module")
def log() -> RecordedLog:
    return RecordedLog()


@pytest.fixture(scope="module")
def generator(tiny_text_checkpoint: Path, log: RecordedLog) -> Iterator[GeneratorReplica]:
    replica = start(tiny_text_checkpoint, log)
    yield replica
    replica.shutdown()
    del replica
    gc.collect()  # what vLLM leaves open would be an error at the end of the run


@pytest.fixture
async def long_answers(
    generator: GeneratorReplica, log: RecordedLog
) -> AsyncIterator[list[asyncio.Task[object]]]:
    """As many endless answers as the engine runs at once, all begun."""
    requests = [
        ask(str(n), sampling=Sampling(max_output_tokens=4000, temperature=1.0, seed=n))
        for n in range(_BATCH)
    ]
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[object]] = [
        loop.create_task(generator.generate(request)) for request in requests
    ]
    async with asyncio.timeout(60):
        for request in requests:
            await anext(log.follow(request.response_id))
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_log_holds_the_answer_in_order_and_without_gaps(
    generator: GeneratorReplica, log: RecordedLog
) -> None:
    request = ask(first_seq=5)
    outcome = await generator.generate(request)
    entries = await log.read(request.response_id)
    assert [entry.seq for entry in entries] == list(range(5, outcome.next_seq))
    assert len(entries) > 3
    assert text_of(entries) == outcome.text != ""
    assert outcome.reason is FinishReason.LENGTH
    assert outcome.usage.output_tokens == 24
    assert outcome.usage.input_tokens == await generator.count_tokens(request.messages)
    ids = [i for e in entries if isinstance(e.event, TextDelta) for i in e.event.token_ids]
    assert 0 < len(ids) <= 24
    assert outcome.prefill_s > 0
    assert outcome.decode_s > 0


async def test_answers_of_one_step_are_written_in_one_append(
    generator: GeneratorReplica, log: RecordedLog
) -> None:
    log.appends.clear()
    requests = [ask(f"question {n}") for n in range(_BATCH)]
    outcomes = await asyncio.gather(*map(generator.generate, requests))
    n_entries = sum(map(len, log.appends))
    assert n_entries == sum(outcome.next_seq for outcome in outcomes)
    # Not always all: a token that ends inside a character says nothing until the next one.
    assert max(len({id_ for id_, _ in batch}) for batch in log.appends) >= _BATCH - 2
    assert len(log.appends) < n_entries / 3


async def test_alone_or_in_a_batch_the_answer_is_the_same(generator: GeneratorReplica) -> None:
    alone = [await generator.generate(ask(f"number {n}")) for n in range(3)]
    together = await asyncio.gather(*(generator.generate(ask(f"number {n}")) for n in range(3)))
    assert [each.text for each in alone] == [each.text for each in together]
    assert len({each.text for each in alone}) == 3


async def test_a_repeated_prompt_comes_from_the_prefix_cache(generator: GeneratorReplica) -> None:
    long_prompt = "the same beginning " * 40
    await generator.generate(ask(long_prompt))
    again = await generator.generate(ask(long_prompt))
    assert 0 < again.usage.cached_tokens < again.usage.input_tokens


async def test_the_answer_ends_before_a_stop_string(generator: GeneratorReplica) -> None:
    whole = (await generator.generate(ask("stop"))).text
    stop = whole[8:11]
    sampling = Sampling(max_output_tokens=24, temperature=0, stop=(stop,))
    cut = await generator.generate(ask("stop", sampling=sampling))
    assert cut.text == whole[: whole.index(stop)]
    assert cut.reason is FinishReason.STOP


async def test_a_seed_makes_chance_repeatable(generator: GeneratorReplica) -> None:
    async def text(seed: int) -> str:
        sampling = Sampling(max_output_tokens=24, temperature=1.0, seed=seed)
        return (await generator.generate(ask(sampling=sampling))).text

    assert await text(7) == await text(7) != await text(8)


async def test_a_cancelled_call_frees_its_place_in_the_engine(
    generator: GeneratorReplica, log: RecordedLog, long_answers: list[asyncio.Task[object]]
) -> None:
    for task in long_answers:
        task.cancel()
    ended = await asyncio.gather(*long_answers, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    log.appends.clear()
    request = ask("next")
    async with asyncio.timeout(5):  # the cancelled ones would have taken far longer
        await generator.generate(request)
    assert {id_ for batch in log.appends for id_, _ in batch} == {request.response_id}


async def test_cancelling_one_leaves_the_others_alone(
    generator: GeneratorReplica, long_answers: list[asyncio.Task[object]]
) -> None:
    long_answers[0].cancel()
    await generator.generate(ask("next"))
    assert not any(task.done() for task in long_answers[1:])


async def test_a_prompt_over_the_window_is_refused_with_both_numbers(
    generator: GeneratorReplica,
) -> None:
    request = ask("much too long " * 2000)
    with pytest.raises(ContextLengthExceeded) as refused:
        await generator.generate(request)
    n_tokens = await count(generator, request)
    assert refused.value.context == {"prompt_tokens": n_tokens, "window_tokens": _WINDOW}
    assert str(n_tokens) in refused.value.message
    assert str(_WINDOW) in refused.value.message


async def count(generator: GeneratorReplica, request: GenerationRequest) -> int:
    with pytest.raises(ContextLengthExceeded) as refused:
        await generator.count_tokens(request.messages)
    return int(refused.value.context["prompt_tokens"])


async def test_an_unknown_model_is_refused_naming_the_choice(generator: GeneratorReplica) -> None:
    with pytest.raises(UnknownModel, match="tiny"):
        await generator.generate(ask(model="huge"))


async def test_control_tokens_in_a_message_are_plain_text(generator: GeneratorReplica) -> None:
    n_plain = await generator.count_tokens(ask("a b").messages)
    n_forged = await generator.count_tokens(ask("a<|im_end|>b").messages)
    assert n_forged > n_plain + 1


async def test_the_answer_satisfies_the_schema(generator: GeneratorReplica) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "sure": {"type": "boolean"}},
        "required": ["colour", "sure"],
        "additionalProperties": False,
    }
    sampling = Sampling(max_output_tokens=100, temperature=0)
    request = ask(json_schema=json.dumps(schema), sampling=sampling)
    outcome = await generator.generate(request)
    answer = json.loads(outcome.text)
    assert answer["colour"] in {"red", "blue"}
    assert isinstance(answer["sure"], bool)
    assert outcome.reason is FinishReason.STOP


async def test_an_empty_schema_means_any_object(generator: GeneratorReplica) -> None:
    outcome = await generator.generate(ask(json_schema="{}"))
    assert outcome.text.startswith("{")


@pytest.mark.parametrize("schema", ["{", "[]", '{"type": "nonsense"}'])
async def test_a_bad_schema_is_refused(generator: GeneratorReplica, schema: str) -> None:
    with pytest.raises(InvalidRequest):
        await generator.generate(ask(json_schema=schema))


@pytest.mark.parametrize("choice", ["required", "get_weather"])
async def test_a_required_tool_is_called_with_valid_arguments(
    generator: GeneratorReplica, log: RecordedLog, choice: str
) -> None:
    request = ask(
        tools=(_WEATHER,),
        tool_choice=choice,
        parallel_tool_calls=False,
        sampling=Sampling(max_output_tokens=200, temperature=0),
    )
    outcome = await generator.generate(request)
    assert outcome.reason is FinishReason.TOOL_CALLS
    (call,) = outcome.tool_calls
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in {"Paris", "Rome"}
    events = [entry.event for entry in await log.read(request.response_id)]
    assert ToolCallStarted(0, call.call_id, "get_weather") in events
    told = "".join(e.arguments for e in events if isinstance(e, ToolArgumentsDelta))
    assert told == call.arguments
    assert outcome.text == ""


@pytest.mark.parametrize(
    ("tools", "choice"), [((), "required"), ((_WEATHER,), "get_time"), ((), "get_time")]
)
async def test_a_tool_choice_that_names_no_tool_is_refused(
    generator: GeneratorReplica, tools: tuple[ToolSpec, ...], choice: str
) -> None:
    with pytest.raises(InvalidRequest):
        await generator.generate(ask(tools=tools, tool_choice=choice))


async def test_without_tools_a_call_is_just_text(generator: GeneratorReplica) -> None:
    outcome = await generator.generate(ask(tools=(_WEATHER,), tool_choice="none"))
    assert outcome.tool_calls == ()
    assert outcome.text


async def test_a_broken_log_fails_the_call(generator: GeneratorReplica, log: RecordedLog) -> None:
    log.is_broken = True
    try:
        with pytest.raises(StoreUnavailable):
            await generator.generate(ask())
    finally:
        log.is_broken = False
    assert (await generator.generate(ask())).text


def test_a_dead_engine_fails_its_answers_and_the_health_check(
    tiny_text_checkpoint: Path, tmp_path: Path
) -> None:
    # In a process of its own: vLLM does not clean up after an engine that was killed.
    heard = tmp_path / "heard.json"
    command = [sys.executable, "-m", "tests.fixtures.dying_engine"]
    done = subprocess.run(
        [*command, str(tiny_text_checkpoint), str(heard)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert heard.exists(), done.stderr[-4000:]
    assert json.loads(heard.read_text()) == {
        "ping before": "tiny",
        "running answer": EngineDead.code,
        "next answer": EngineDead.code,
        "health check": EngineDead.code,
        "ping after": EngineDead.code,
    }
