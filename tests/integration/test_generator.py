"""The generator replica on a tiny random model: a real engine, real steps, meaningless words."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.generator import GeneratorReplica
from serve.direct_calls.client import DirectCalls
from serve.domain.errors import (
    ContextLengthExceeded,
    EngineDead,
    InvalidRequest,
    StoreUnavailable,
    UnknownModel,
)
from serve.domain.journal import Beat, Restarted, Superseded, Wrote
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    Generated,
    GenerationRequest,
    Sampling,
    TextDelta,
    TextPart,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolSpec,
)
from serve.registry.specs import GeneratorTraits, ModelSpec, spec_of_folder
from tests.fixtures.answers import answer, begun, check_all_cuts, resumed
from tests.fixtures.recorded_journal import RecordedJournal, RecordedNotices

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


_EXACT_TOKENS = 40


def tiny_spec(checkpoint: Path) -> ModelSpec:
    traits = GeneratorTraits(
        kv_cache_bytes=64 << 20,
        max_num_seqs=_BATCH,
        tool_parser="hermes",
        exact_resume_tokens=_EXACT_TOKENS,
    )
    spec = spec_of_folder(checkpoint, name="tiny", licence="none", traits=traits)
    # Exact enough for prompts and single steps to agree on what comes next.
    return replace(spec, dtype="float32")


def ask(text: str = "hello", **changes: object) -> GenerationRequest:
    fields: dict[str, object] = {
        "response_id": f"resp_{secrets.token_hex(8)}",
        "model": "tiny",
        "messages": (ChatMessage(role="user", parts=(TextPart(text),)),),
        "sampling": Sampling(max_output_tokens=24, temperature=0),
        "first_seq": 0,
    }
    return GenerationRequest(**(fields | changes))  # type: ignore[arg-type]  # checked when run


@pytest.fixture(scope="module")
def journal() -> RecordedJournal:
    return RecordedJournal()


@pytest.fixture(scope="module")
def notices() -> RecordedNotices:
    return RecordedNotices()


@pytest.fixture(scope="module")
def generator(
    tiny_text_checkpoint: Path, journal: RecordedJournal, notices: RecordedNotices
) -> Iterator[GeneratorReplica]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        replica = GeneratorReplica(
            tiny_spec(tiny_text_checkpoint), lambda: journal, lambda: notices, ""
        )
    yield replica
    replica.shutdown()
    del replica
    gc.collect()  # what vLLM leaves open would be an error at the end of the run


@pytest.fixture
async def long_answers(
    generator: GeneratorReplica, journal: RecordedJournal
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
            await begun(journal, request.response_id)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_journal_holds_the_answer_in_order_and_without_gaps(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    request = ask()
    seen = await answer(generator, journal, request)
    records = [r for r in journal.records(request.response_id) if isinstance(r, Wrote)]
    assert len(records) > 3
    assert {record.epoch for record in records} == {1}
    assert sum(len(r.events) for r in records) == journal.fold(request.response_id).next_seq
    assert seen.text
    assert seen.reason is FinishReason.LENGTH
    assert seen.usage.output_tokens == 24
    assert seen.usage.input_tokens == await generator.count_tokens(request.messages)
    assert 0 < len(seen.token_ids) <= 24
    assert seen.generated.prefill_s > 0
    assert seen.generated.decode_s > 0


async def test_every_write_ends_where_the_tokens_are_the_text(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    request = ask("boundaries", sampling=Sampling(max_output_tokens=60, temperature=1.0, seed=3))
    await generator.generate(request)
    for record in journal.records(request.response_id):
        assert isinstance(record, Wrote)
        words = [event for event in record.events if isinstance(event, TextDelta)]
        # Only the last may be cut short, by the end of the answer.
        assert all(word.token_ids for word in words[:-1])


async def test_answers_of_one_step_are_written_in_one_append(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    journal.appends.clear()
    requests = [ask(f"question {n}") for n in range(_BATCH)]
    await asyncio.gather(*map(generator.generate, requests))
    n_records = sum(map(len, journal.appends))
    # Not always all: a token that ends inside a character says nothing until the next one.
    assert max(len({r.response_id for r in batch}) for batch in journal.appends) >= _BATCH - 2
    assert len(journal.appends) < n_records / 3


async def test_alone_or_in_a_batch_the_answer_is_the_same(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    alone = [await answer(generator, journal, ask(f"number {n}")) for n in range(3)]
    together = await asyncio.gather(
        *(answer(generator, journal, ask(f"number {n}")) for n in range(3))
    )
    assert [each.text for each in alone] == [each.text for each in together]
    assert len({each.text for each in alone}) == 3


async def test_a_repeated_prompt_comes_from_the_prefix_cache(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    long_prompt = "the same beginning " * 40
    await generator.generate(ask(long_prompt))
    again = await answer(generator, journal, ask(long_prompt))
    assert 0 < again.usage.cached_tokens < again.usage.input_tokens


async def test_the_answer_ends_before_a_stop_string(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    whole = (await answer(generator, journal, ask("stop"))).text
    stop = whole[8:11]
    sampling = Sampling(max_output_tokens=24, temperature=0, stop=(stop,))
    cut = await answer(generator, journal, ask("stop", sampling=sampling))
    assert cut.text == whole[: whole.index(stop)]
    assert cut.reason is FinishReason.STOP
    assert cut.usage.output_tokens < 24


async def test_a_seed_makes_chance_repeatable(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    async def text(seed: int) -> str:
        sampling = Sampling(max_output_tokens=24, temperature=1.0, seed=seed)
        return (await answer(generator, journal, ask(sampling=sampling))).text

    assert await text(7) == await text(7) != await text(8)


async def test_a_seed_and_a_prompt_of_several_steps_go_together(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    sampling = Sampling(max_output_tokens=24, temperature=1.0, seed=7)
    prompts = [f"prompt {n}: " + "many words " * 340 for n in range(3)]
    together = await asyncio.gather(
        *(answer(generator, journal, ask(prompt, sampling=sampling)) for prompt in prompts)
    )
    assert min(seen.usage.input_tokens for seen in together) > 2048
    # Alone, and from the prefix cache: the chance is the same.
    for prompt, seen in zip(prompts, together, strict=True):
        again = await answer(generator, journal, ask(prompt, sampling=sampling))
        assert again.text == seen.text


# --- going on with another generator's answer -----------------------------------------------------

_COLOUR = json.dumps(
    {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "blue"]},
            "words": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["colour", "words"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_output_tokens=30, temperature=0),
        Sampling(max_output_tokens=30, temperature=1.0, seed=11),
        Sampling(max_output_tokens=30, temperature=0, frequency_penalty=1.5, presence_penalty=0.5),
        Sampling(max_output_tokens=30, temperature=0.8, top_p=0.9, seed=12, frequency_penalty=1.0),
    ],
    ids=["greedy", "seed", "penalties", "seed and penalties"],
)
async def test_a_cut_answer_goes_on_as_if_nothing_had_happened(
    generator: GeneratorReplica, journal: RecordedJournal, sampling: Sampling
) -> None:
    whole = await check_all_cuts(generator, journal, ask("cut me", sampling=sampling))
    # Random bytes: some of its characters take several tokens, or are none.
    assert not whole.text.isascii()


async def test_a_long_answer_is_read_instead_of_written_again(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    request = ask("long", sampling=Sampling(max_output_tokens=120, temperature=0))
    whole = await answer(generator, journal, request)
    n_writes = len(journal.records(request.response_id))
    again = await resumed(generator, journal, request, n_writes - 3)
    assert len(again.token_ids) > _EXACT_TOKENS
    assert again.text == whole.text
    assert again.usage.output_tokens == whole.usage.output_tokens


async def test_a_stop_string_across_the_cut_is_found(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    whole = await answer(generator, journal, ask("stop"))
    stop = whole.text[8:14]
    sampling = Sampling(max_output_tokens=24, temperature=0, stop=(stop,))
    cut = await check_all_cuts(generator, journal, ask("stop", sampling=sampling))
    assert cut.text == whole.text[: whole.text.index(stop)]


async def test_json_goes_on_inside_its_grammar(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    sampling = Sampling(max_output_tokens=100, temperature=1.0, seed=2)
    request = ask(json_schema=_COLOUR, sampling=sampling)
    whole = await check_all_cuts(generator, journal, request)
    assert json.loads(whole.text)["colour"] in {"red", "blue"}


async def test_calls_go_on_behind_the_last_whole_one(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    request = ask(tools=(_WEATHER,), tool_choice="required")
    for seed in range(30):
        sampling = Sampling(max_output_tokens=250, temperature=1.0, seed=seed)
        request = replace(request, response_id=f"calls_{seed}", sampling=sampling)
        if len((await answer(generator, journal, request)).calls) > 1:
            break
    again = replace(request, response_id="calls_again")
    whole = await check_all_cuts(generator, journal, again)
    assert len(whole.calls) > 1
    assert [call.index for call in whole.calls] == list(range(len(whole.calls)))


async def test_a_complete_answer_only_needs_its_last_word(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    ids = tuple(range(24))
    request = ask(emitted_ids=ids, epoch=2)
    await journal.append([Restarted(request.response_id, 1, 2)])
    seen = await answer(generator, journal, request)
    assert seen.text == ""
    assert seen.reason is FinishReason.LENGTH
    assert seen.usage.output_tokens == len(ids)


# --- cancelling -----------------------------------------------------------------------------------


async def test_a_cancelled_call_frees_its_place_in_the_engine(
    generator: GeneratorReplica, journal: RecordedJournal, long_answers: list[asyncio.Task[object]]
) -> None:
    for task in long_answers:
        task.cancel()
    ended = await asyncio.gather(*long_answers, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
    journal.appends.clear()
    request = ask("next")
    async with asyncio.timeout(30):  # the cancelled ones would have taken far longer
        await generator.generate(request)
    assert {r.response_id for batch in journal.appends for r in batch} == {request.response_id}


async def test_work_that_does_not_count_any_more_is_stopped(
    generator: GeneratorReplica, journal: RecordedJournal, notices: RecordedNotices
) -> None:
    await heard_beat(notices, lambda _: True)  # by now it listens, too
    sampling = Sampling(max_output_tokens=4000, temperature=1.0)
    request = ask("stop me", sampling=sampling)
    task = asyncio.get_running_loop().create_task(answer(generator, journal, request))
    await begun(journal, request.response_id)
    await notices.send(Superseded("resp_of_somebody_else", 2))
    await notices.send(Superseded(request.response_id, 2))
    seen = await task
    assert seen.reason is FinishReason.CANCELLED
    assert seen.text


async def test_a_resubmitted_answer_replaces_its_ghost(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    sampling = Sampling(max_output_tokens=4000, temperature=1.0)
    request = ask("ghost", sampling=sampling)
    ghost = asyncio.get_running_loop().create_task(generator.generate(request))
    await begun(journal, request.response_id)
    await journal.append([Restarted(request.response_id, 1, 2)])
    fold = journal.fold(request.response_id)
    again = replace(
        request,
        epoch=2,
        first_seq=fold.next_seq,
        emitted_ids=fold.emitted_ids(),
        sampling=replace(sampling, max_output_tokens=len(fold.emitted_ids()) + 5),
    )
    seen = await answer(generator, journal, again)
    await ghost
    assert seen.usage.output_tokens <= len(again.emitted_ids) + 5
    assert seen.reason is not FinishReason.CANCELLED


async def test_a_storm_of_cancels_leaves_nothing_running(
    generator: GeneratorReplica, journal: RecordedJournal, notices: RecordedNotices
) -> None:
    loop = asyncio.get_running_loop()
    sampling = Sampling(max_output_tokens=4000, temperature=1.0)
    tasks = [
        loop.create_task(generator.generate(ask(f"storm {n}", sampling=sampling)))
        for n in range(50)
    ]
    busy = await heard_beat(notices, lambda beat: beat.load["running"] == _BATCH)
    assert busy.load["waiting"] == len(busy.response_ids) - _BATCH > 0
    assert busy.load["kv_use"] > 0
    for n, task in enumerate(tasks):
        task.cancel()
        if n % 5 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    idle = await heard_beat(notices, lambda beat: not beat.response_ids)
    assert (idle.load["running"], idle.load["waiting"], idle.load["kv_use"]) == (0, 0, 0)
    # The engine itself says so as soon as it steps again.
    request = ask("after", sampling=sampling)
    one = loop.create_task(generator.generate(request))
    await begun(journal, request.response_id)
    alone = await generator.record_autoscaling_stats()
    one.cancel()
    assert (alone["running"], alone["waiting"]) == (1, 0)
    assert alone["kv_use"] < busy.load["kv_use"] / 2


async def heard_beat(notices: RecordedNotices, fits: Callable[[Beat], bool]) -> Beat:
    async with asyncio.timeout(60), aclosing(notices.listen()) as batches:
        async for (notice,) in batches:
            if isinstance(notice, Beat) and fits(notice):
                return notice
    raise AssertionError("it ended")


async def test_beats_and_scaling_are_told_the_same(
    generator: GeneratorReplica, notices: RecordedNotices
) -> None:
    stats = await generator.record_autoscaling_stats()
    beat = await heard_beat(notices, lambda beat: not beat.response_ids)
    assert beat.kind == "generator"
    assert beat.model == "tiny"
    assert beat.load.keys() == stats.keys()
    assert stats["max_running"] == _BATCH
    assert stats["capacity_tokens"] >= _WINDOW
    assert stats["tokens_per_s"] > 0


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


async def test_the_answer_satisfies_the_schema(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "sure": {"type": "boolean"}},
        "required": ["colour", "sure"],
        "additionalProperties": False,
    }
    sampling = Sampling(max_output_tokens=100, temperature=0)
    request = ask(json_schema=json.dumps(schema), sampling=sampling)
    seen = await answer(generator, journal, request)
    said = json.loads(seen.text)
    assert said["colour"] in {"red", "blue"}
    assert isinstance(said["sure"], bool)
    assert seen.reason is FinishReason.STOP


async def test_an_empty_schema_means_any_object(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    assert (await answer(generator, journal, ask(json_schema="{}"))).text.startswith("{")


@pytest.mark.parametrize("schema", ["{", "[]", '{"type": "nonsense"}'])
async def test_a_bad_schema_is_refused(generator: GeneratorReplica, schema: str) -> None:
    with pytest.raises(InvalidRequest):
        await generator.generate(ask(json_schema=schema))


@pytest.mark.parametrize("choice", ["required", "get_weather"])
async def test_a_required_tool_is_called_with_valid_arguments(
    generator: GeneratorReplica, journal: RecordedJournal, choice: str
) -> None:
    request = ask(
        tools=(_WEATHER,),
        tool_choice=choice,
        parallel_tool_calls=False,
        sampling=Sampling(max_output_tokens=200, temperature=0),
    )
    seen = await answer(generator, journal, request)
    assert seen.reason is FinishReason.TOOL_CALLS
    (call,) = seen.calls
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in {"Paris", "Rome"}
    assert seen.text == ""
    # What follows a call that must be the only one is not waited for.
    events = [entry.event for entry in journal.fold(request.response_id).entries]
    assert [type(e) for e in events[1:]] == [ToolCallStarted, ToolArgumentsDelta, Generated]


@pytest.mark.parametrize(
    ("tools", "choice"), [((), "required"), ((_WEATHER,), "get_time"), ((), "get_time")]
)
async def test_a_tool_choice_that_names_no_tool_is_refused(
    generator: GeneratorReplica, tools: tuple[ToolSpec, ...], choice: str
) -> None:
    with pytest.raises(InvalidRequest):
        await generator.generate(ask(tools=tools, tool_choice=choice))


async def test_without_tools_a_call_is_just_text(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    seen = await answer(generator, journal, ask(tools=(_WEATHER,), tool_choice="none"))
    assert seen.calls == ()
    assert seen.text


async def test_a_broken_journal_fails_the_call(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    journal.is_broken = True
    try:
        with pytest.raises(StoreUnavailable):
            await generator.generate(ask())
    finally:
        journal.is_broken = False
    assert (await answer(generator, journal, ask())).text


class _NoOtherWay:
    """A generator that is not to be had."""

    async def generate(self, request: GenerationRequest) -> None:
        raise EngineDead("there is no other one")


async def test_stopped_by_serve_it_ends_what_it_was_called_for(
    generator: GeneratorReplica, journal: RecordedJournal, notices: RecordedNotices
) -> None:
    """The last one of this file: nothing is left of the engine behind it."""
    generator.live()
    beat = await heard_beat(notices, lambda beat: bool(beat.address))
    async with DirectCalls(lambda _: [beat]).opened() as calls:
        ingress = calls.generator("tiny", _NoOtherWay())
        request = ask(sampling=Sampling(max_output_tokens=400, temperature=0))
        call = asyncio.get_running_loop().create_task(ingress.generate(request))
        await begun(journal, request.response_id)
        departure = generator.__del__()
        assert departure is not None
        await departure
        await call
        with pytest.raises(EngineDead):
            await ingress.generate(ask())
    generated = journal.fold(request.response_id).generated
    assert generated is not None
    assert generated.reason is not FinishReason.CANCELLED
