"""A real model's answer, cut by its engine's death, is the one it would have given."""

from __future__ import annotations

import gc
import json
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.generator import GeneratorReplica
from serve.domain.messages import ChatMessage, GenerationRequest, Sampling, TextPart
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.answers import answer, check_all_cuts, resumed
from tests.fixtures.recorded_journal import RecordedJournal, RecordedNotices

pytestmark = [
    pytest.mark.models,
    # vLLM, torch and transformers warn about themselves while they load and run.
    pytest.mark.filterwarnings("ignore"),
]

_SPEC = CPU_CATALOG.get("smollm2-135m-instruct")
_EXACT_TOKENS = 64
_N_TOKENS = 48
_REPEAT = "Repeat exactly: 日本語 🎉 café Zürich naïve 🚀"


@pytest.fixture(scope="module")
def journal() -> RecordedJournal:
    return RecordedJournal()


@pytest.fixture(scope="module")
def generator(models_dir: Path, journal: RecordedJournal) -> Iterator[GeneratorReplica]:
    spec = replace(_SPEC, generator=replace(_SPEC.traits, exact_resume_tokens=_EXACT_TOKENS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        replica = GeneratorReplica(spec, lambda: journal, RecordedNotices, str(models_dir))
    yield replica
    replica.shutdown()
    del replica
    gc.collect()  # what vLLM leaves open would be an error at the end of the run


def ask(text: str, sampling: Sampling, *, schema: str | None = None) -> GenerationRequest:
    return GenerationRequest(
        response_id=f"resp_{secrets.token_hex(8)}",
        model=_SPEC.name,
        messages=(ChatMessage(role="user", parts=(TextPart(text),)),),
        sampling=sampling,
        json_schema=schema,
    )


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_output_tokens=_N_TOKENS, temperature=0),
        Sampling(max_output_tokens=_N_TOKENS, temperature=0.9, top_p=0.95, seed=5),
        Sampling(max_output_tokens=_N_TOKENS, temperature=0, frequency_penalty=0.5),
    ],
    ids=["greedy", "seed", "penalty"],
)
async def test_a_cut_answer_has_the_same_tokens_and_the_same_text(
    generator: GeneratorReplica, journal: RecordedJournal, sampling: Sampling
) -> None:
    whole = await check_all_cuts(generator, journal, ask(_REPEAT, sampling), every=7)
    assert not whole.text.isascii()


async def test_a_stop_string_is_found_wherever_the_cut_is(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    sampling = Sampling(max_output_tokens=_N_TOKENS, temperature=0)
    question = "Name five colours in a sentence."
    whole = await answer(generator, journal, ask(question, sampling))
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 9]
    cut = await check_all_cuts(
        generator, journal, ask(question, replace(sampling, stop=(stop,))), every=3
    )
    assert cut.text == whole.text[: whole.text.index(stop)]


async def test_json_is_whole_wherever_the_cut_is(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"type": "integer"}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    sampling = Sampling(max_output_tokens=_N_TOKENS, temperature=0)
    request = ask("A city as JSON, please.", sampling, schema=json.dumps(schema))
    whole = await check_all_cuts(generator, journal, request, every=2)
    assert set(json.loads(whole.text)) == {"city", "size"}


async def test_a_long_answer_goes_on_behind_its_words(
    generator: GeneratorReplica, journal: RecordedJournal
) -> None:
    sampling = Sampling(max_output_tokens=_EXACT_TOKENS + 30, temperature=0)
    request = ask("Tell a long story about a fox.", sampling)
    whole = await answer(generator, journal, request)
    n_writes = len(journal.records(request.response_id))
    again = await resumed(generator, journal, request, n_writes - 10)
    n_emitted = len(whole.token_ids) - 10
    # What comes next may differ by a rounding: the same words are then still its beginning.
    assert again.token_ids[:n_emitted] == whole.token_ids[:n_emitted]
    assert again.usage.output_tokens == whole.usage.output_tokens
