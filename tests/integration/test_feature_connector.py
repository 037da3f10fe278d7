"""Features made in another process give the tokens of the engine that sees and hears for itself."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from deployments.feature_store import FeatureFolder, MediaFeatures
from deployments.generator import GeneratorReplica
from serve.domain.errors import InvalidRequest, StoreUnavailable
from serve.domain.media import MediaKind
from serve.domain.messages import (
    ChatMessage,
    FeatureRef,
    GenerationRequest,
    NativeMediaPart,
    Sampling,
    TextPart,
)
from serve.registry.specs import GeneratorTraits, spec_of_folder
from tests.fixtures.answers import answer_in
from tests.fixtures.recorded_journal import RecordedJournal, RecordedNotices
from tests.fixtures.tower_processes import QUESTION, RECORDINGS_S, VIDEOS, media

# vLLM, torch and transformers warn about themselves while they load and run.
pytestmark = pytest.mark.filterwarnings("ignore")

_ROOT = Path(__file__).parents[2]
_EXACT_TOKENS = 6
_PICTURES = [1, 2, 4]
_SEEN = [[1], [2], [4], [1, 2], [2, 1], [1, 4, 2], [1, 1], [10], [11], [12], [12, 1, 10]]
_HEARD = [[20], [21], [21, 20]]


def _in_another_process(job: str, arguments: list[list[object]], folder: Path) -> Any:
    """The job's answers for each of its arguments."""
    out = folder / f"{job}.json"
    command = [sys.executable, "-m", "tests.fixtures.tower_processes"]
    done = subprocess.run(
        [*command, job, json.dumps(arguments), str(out)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


@dataclass(frozen=True)
class Made:
    """What the other processes made: of a tower alone, and of an engine with its own tower."""

    store: FeatureFolder
    features: dict[int, FeatureRef]
    expected: dict[tuple[int, ...], tuple[list[int], str]]


@dataclass(frozen=True)
class Proof:
    consumer: GeneratorReplica
    journal: RecordedJournal
    store: FeatureFolder
    features: dict[int, FeatureRef]
    expected: dict[tuple[int, ...], tuple[list[int], str]]

    async def answer(
        self,
        numbers: list[int],
        features: dict[int, FeatureRef],
        name: str,
        emitted: tuple[int, ...] = (),
    ) -> tuple[list[int], str]:
        given = tuple(NativeMediaPart(media(number), features[number]) for number in numbers)
        message = ChatMessage(role="user", parts=(*given, TextPart(QUESTION)))
        request = GenerationRequest(
            response_id=name,
            model="tiny",
            messages=(message,),
            sampling=Sampling(max_output_tokens=24, temperature=0),
            emitted_ids=emitted,
        )
        await self.consumer.generate(request)
        seen = answer_in(self.journal.fold(name))
        return list(seen.token_ids), seen.text

    async def equals_the_monolith(self, numbers: list[int]) -> None:
        expected_ids, expected_text = self.expected[tuple(numbers)]
        ids, text = await self.answer(numbers, self.features, f"equal-{numbers}")
        assert text == expected_text
        # Bytes that form no character yet have no text to travel with: the last may be missing.
        assert len(ids) >= 12
        assert ids == expected_ids[: len(ids)]


@pytest.fixture(scope="module")
def feature_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proof") / "features"


@pytest.fixture(scope="module")
def made(feature_dir: Path, tiny_vision_checkpoint: Path, tiny_audio_checkpoint: Path) -> Made:
    seen, heard = str(tiny_vision_checkpoint), str(tiny_audio_checkpoint)
    numbers = [[*_PICTURES, *VIDEOS], [*RECORDINGS_S]]
    features = _in_another_process(
        "features",
        [[seen, str(feature_dir), numbers[0]], [heard, str(feature_dir), numbers[1]]],
        feature_dir.parent,
    )
    answers = _in_another_process("answers", [[seen, _SEEN], [heard, _HEARD]], feature_dir.parent)
    return Made(
        store=FeatureFolder(str(feature_dir)),
        features={
            number: FeatureRef(key=key, n_tokens=n_tokens, dim=dim)
            for number, (key, n_tokens, dim) in zip(chain(*numbers), chain(*features), strict=True)
        },
        expected={
            tuple(question): (ids, text)
            for question, (ids, text) in zip(chain(_SEEN, _HEARD), chain(*answers), strict=True)
        },
    )


@contextmanager
def _consumer_of(
    checkpoint: Path, modalities: tuple[MediaKind, ...], made: Made, feature_dir: Path
) -> Iterator[Proof]:
    traits = GeneratorTraits(
        kv_cache_bytes=64 << 20,
        max_num_seqs=4,
        modalities=modalities,
        exact_resume_tokens=_EXACT_TOKENS,
    )
    spec = spec_of_folder(checkpoint, name="tiny", licence="none", traits=traits)
    journal = RecordedJournal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        consumer = GeneratorReplica(
            replace(spec, dtype="float32"), lambda: journal, RecordedNotices, "", str(feature_dir)
        )
    yield Proof(consumer, journal, made.store, made.features, made.expected)
    consumer.shutdown()
    del consumer
    gc.collect()  # what vLLM leaves open would be an error at the end of the run


@pytest.fixture(scope="module")
def proof(tiny_vision_checkpoint: Path, made: Made, feature_dir: Path) -> Iterator[Proof]:
    kinds = (MediaKind.IMAGE, MediaKind.VIDEO)
    with _consumer_of(tiny_vision_checkpoint, kinds, made, feature_dir) as proof:
        yield proof


@pytest.fixture(scope="module")
def hearing(tiny_audio_checkpoint: Path, made: Made, feature_dir: Path) -> Iterator[Proof]:
    with _consumer_of(tiny_audio_checkpoint, (MediaKind.AUDIO,), made, feature_dir) as proof:
        yield proof


@pytest.mark.parametrize("numbers", _HEARD, ids=str)
async def test_tokens_about_recordings_equal_those_of_the_monolithic_engine(
    hearing: Proof, numbers: list[int]
) -> None:
    await hearing.equals_the_monolith(numbers)


async def test_an_engine_that_hears_refuses_to_see(hearing: Proof) -> None:
    with pytest.raises(InvalidRequest, match="tiny takes no image"):
        await hearing.answer([1], hearing.features, "blind")


@pytest.mark.parametrize("numbers", _SEEN, ids=str)
async def test_tokens_about_pictures_and_videos_equal_those_of_the_monolithic_engine(
    proof: Proof, numbers: list[int]
) -> None:
    await proof.equals_the_monolith(numbers)


async def test_the_time_between_frames_decides_the_tokens(proof: Proof) -> None:
    """The frames of both are the same."""
    features = [proof.store.load(proof.features[video].key) for video in (10, 11)]
    assert features[0].features.equal(features[1].features)
    assert proof.expected[(10,)] != proof.expected[(11,)]


async def test_an_answer_about_pictures_goes_on_behind_its_first_tokens(proof: Proof) -> None:
    for n in (_EXACT_TOKENS - 1, _EXACT_TOKENS + 1):
        expected_ids, expected_text = proof.expected[(1,)]
        ids, text = await proof.answer([1], proof.features, f"resumed-{n}", tuple(expected_ids[:n]))
        assert expected_text.endswith(text)
        assert ids == expected_ids[n : n + len(ids)]


async def test_the_media_decide_the_tokens(made: Made) -> None:
    texts = {text for _, text in made.expected.values()}
    assert len(texts) == len(_SEEN) + len(_HEARD)


async def test_other_features_under_the_key_give_other_tokens(proof: Proof) -> None:
    """What the engine reads is the store: nothing of the picture reaches it another way."""
    true_features = proof.store.load(proof.features[1].key)
    forged = FeatureRef(key="f" * 64, n_tokens=proof.features[1].n_tokens, dim=128)
    proof.store.save(forged.key, MediaFeatures(true_features.features.flip(0), true_features.shape))
    _, text = await proof.answer([1], {1: forged}, "forged")
    assert text != proof.expected[(1,)][1]


async def test_features_that_are_gone_fail_the_request_and_not_the_engine(proof: Proof) -> None:
    gone = FeatureRef(key="0" * 64, n_tokens=12, dim=128)
    with pytest.raises(StoreUnavailable):
        await proof.answer([1], {1: gone}, "gone")
    _, text = await proof.answer([2], proof.features, "after")
    assert text == proof.expected[(2,)][1]


@pytest.mark.parametrize("number", [1, 10])
async def test_a_medium_costs_its_own_tokens(proof: Proof, number: int) -> None:
    part = NativeMediaPart(media(number), proof.features[number])
    with_it = ChatMessage(role="user", parts=(part, TextPart(QUESTION)))
    without = ChatMessage(role="user", parts=(TextPart(QUESTION),))
    n_more = await proof.consumer.count_tokens([with_it])
    n_more -= await proof.consumer.count_tokens([without])
    assert n_more == proof.features[number].n_tokens + 2  # the two tokens around it


def test_a_key_that_is_not_ours_names_no_file(tmp_path: Path) -> None:
    for key in ("../secret", "A" * 64, "", "0" * 63):
        with pytest.raises(ValueError, match="hex"):
            FeatureFolder(str(tmp_path)).path(key)


def test_old_features_make_room_for_new_ones(tmp_path: Path) -> None:
    import os
    import time

    import torch

    store = FeatureFolder(str(tmp_path), max_bytes=10_000)
    image = MediaFeatures(torch.zeros(12, 128), {"image_grid_thw": torch.tensor([1, 6, 8])})
    old, unread, fresh = "a" * 64, "b" * 64, "c" * 64
    store.save(old, image)
    store.save(unread, image)
    an_hour_ago = time.time() - 3600
    for key in (old, unread):
        os.utime(store.path(key), (an_hour_ago, an_hour_ago))
    store.load(old)
    store.save(fresh, image)
    assert [store.has(key) for key in (old, unread, fresh)] == [True, False, True]
