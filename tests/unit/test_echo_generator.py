"""The stand-in for load tests does what a generator promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from deployments.echo_generator import EchoGenerator, echo_text, first_token_id
from serve.domain.errors import StoreUnavailable, UnknownModel
from serve.domain.journal import Beat, Restarted, Superseded, Wrote
from serve.domain.messages import (
    ChatMessage,
    FinishReason,
    GenerationRequest,
    Sampling,
    TextDelta,
    TextPart,
)
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.recorded_journal import RecordedJournal, RecordedNotices

_SPEC = CPU_CATALOG.get("echo")


@pytest.fixture
def journal() -> RecordedJournal:
    return RecordedJournal()


@pytest.fixture
def notices() -> RecordedNotices:
    return RecordedNotices()


@pytest.fixture
async def echo(journal: RecordedJournal, notices: RecordedNotices) -> AsyncIterator[EchoGenerator]:
    spec = replace(_SPEC, generator=replace(_SPEC.traits, echo_tokens_per_s=500.0))
    replica = EchoGenerator(spec, lambda: journal, lambda: notices)
    yield replica
    replica.shutdown()


def ask(response_id: str = "r", n_tokens: int = 20, **changes: object) -> GenerationRequest:
    request = GenerationRequest(
        response_id=response_id,
        model="echo",
        messages=(ChatMessage(role="user", parts=(TextPart("hello there"),)),),
        sampling=Sampling(max_output_tokens=n_tokens),
    )
    return replace(request, **changes)  # type: ignore[arg-type]  # checked when run


def text_of(journal: RecordedJournal, response_id: str) -> str:
    return "".join(
        entry.event.text
        for entry in journal.fold(response_id).entries
        if isinstance(entry.event, TextDelta)
    )


def test_no_word_comes_twice() -> None:
    words = [echo_text(n) for n in range(20_000)]
    assert len(set(words)) == len(words)
    assert all(4 <= len(word) <= 8 for word in words)


async def test_it_says_as_many_words_as_it_may(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    await echo.generate(ask())
    assert text_of(journal, "r").endswith("".join(map(echo_text, range(1, 20))))
    generated = journal.fold("r").generated
    assert generated is not None
    assert generated.reason is FinishReason.LENGTH
    assert generated.usage.output_tokens == 20
    assert generated.usage.input_tokens == 3


async def test_the_first_word_depends_on_the_question(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    other = replace(ask("other"), messages=(ChatMessage(role="user", parts=(TextPart("else"),)),))
    await asyncio.gather(echo.generate(ask("same")), echo.generate(ask()), echo.generate(other))
    first, again, elsewhere = (text_of(journal, name).split()[0] for name in ("r", "same", "other"))
    assert first == again != elsewhere


async def test_all_answers_of_a_step_are_one_append(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    await asyncio.gather(*(echo.generate(ask(f"r{n}")) for n in range(50)))
    assert max(len(batch) for batch in journal.appends) == 50
    assert len(journal.appends) < 100
    assert len({text_of(journal, f"r{n}") for n in range(50)}) == 1


async def test_another_goes_on_where_one_left_off(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    await echo.generate(ask(n_tokens=8))
    ids = (first_token_id(ask().messages), *range(1, 8))
    words = [echo_text(token_id) for token_id in ids]
    await journal.append(
        [Wrote("cut", 1, n, (TextDelta(words[n], (ids[n],)),)) for n in range(3)]
        + [Restarted("cut", 1, 2)]
    )
    await echo.generate(
        ask("cut", 8, epoch=2, first_seq=3, emitted_ids=journal.fold("cut").emitted_ids())
    )
    assert text_of(journal, "cut") == text_of(journal, "r")
    generated = journal.fold("cut").generated
    assert generated is not None
    assert generated.usage.output_tokens == 8


async def test_a_complete_answer_only_needs_its_last_word(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    await echo.generate(ask(n_tokens=3, emitted_ids=(0, 1, 2)))
    assert text_of(journal, "r") == ""
    assert journal.fold("r").generated is not None


async def test_a_cancelled_answer_says_no_more(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    task = asyncio.get_running_loop().create_task(echo.generate(ask(n_tokens=10_000)))
    await anext(journal.follow("r"))
    assert (await echo.record_autoscaling_stats())["running"] == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await echo.generate(ask("next"))
    assert (await echo.record_autoscaling_stats())["running"] == 0
    n_said = journal.fold("r").next_seq
    await echo.generate(ask("another"))
    assert journal.fold("r").next_seq == n_said


async def test_work_that_does_not_count_any_more_is_stopped(
    echo: EchoGenerator, journal: RecordedJournal, notices: RecordedNotices
) -> None:
    task = asyncio.get_running_loop().create_task(echo.generate(ask(n_tokens=10_000)))
    await anext(journal.follow("r"))
    await notices.send(Superseded("another", 2))
    await notices.send(Superseded("r", 1))  # its own epoch
    await notices.send(Superseded("r", 2))
    await task
    generated = journal.fold("r").generated
    assert generated is not None
    assert generated.reason is FinishReason.CANCELLED


async def test_a_broken_store_fails_its_answers_and_no_others(
    echo: EchoGenerator, journal: RecordedJournal
) -> None:
    journal.is_broken = True
    with pytest.raises(StoreUnavailable):
        await echo.generate(ask())
    journal.is_broken = False
    await echo.generate(ask("next"))
    assert journal.fold("next").generated is not None


async def test_an_unknown_model_is_refused(echo: EchoGenerator) -> None:
    with pytest.raises(UnknownModel, match="echo"):
        await echo.generate(ask(model="gpt"))


async def heard_beat(notices: RecordedNotices, *, busy: bool) -> Beat:
    async with asyncio.timeout(30), aclosing(notices.listen()) as batches:
        async for (notice,) in batches:
            assert isinstance(notice, Beat)
            if bool(notice.response_ids) == busy:
                return notice
    raise AssertionError("it ended")


async def test_it_beats_before_it_is_asked_anything(
    echo: EchoGenerator, notices: RecordedNotices
) -> None:
    await echo.check_health()
    beat = await heard_beat(notices, busy=False)
    assert (beat.kind, beat.model, beat.response_ids) == ("generator", "echo", ())
    assert beat.load["max_running"] == _SPEC.traits.max_num_seqs


async def test_a_beat_names_what_is_in_work(
    echo: EchoGenerator, journal: RecordedJournal, notices: RecordedNotices
) -> None:
    task = asyncio.get_running_loop().create_task(echo.generate(ask(n_tokens=10_000)))
    await anext(journal.follow("r"))
    beat = await heard_beat(notices, busy=True)
    task.cancel()
    assert beat.response_ids == ("r",)
    assert beat.load["running"] == 1


async def test_missed_beats_do_not_end_the_beating(
    echo: EchoGenerator, notices: RecordedNotices
) -> None:
    notices.is_broken = True
    assert await echo.ping() == "echo"
    await asyncio.sleep(0.01)
    notices.is_broken = False
    await heard_beat(notices, busy=False)
