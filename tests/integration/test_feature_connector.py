"""Features made in another process give the tokens of the engine that sees for itself."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deployments.feature_store import FeatureFolder, ImageFeatures
from deployments.generator import GeneratorReplica
from serve.domain.errors import StoreUnavailable
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
from tests.fixtures.vision_processes import QUESTION, media

# vLLM, torch and transformers warn about themselves while they load and run.
pytestmark = pytest.mark.filterwarnings("ignore")

_ROOT = Path(__file__).parents[2]
_EXACT_TOKENS = 6
_SEEDS = [1, 2, 4]
_QUESTIONS = [[1], [2], [4], [1, 2], [2, 1], [1, 4, 2], [1, 1]]


def _in_another_process(job: str, arguments: list[object], folder: Path) -> list[list[object]]:
    out = folder / f"{job}.json"
    command = [sys.executable, "-m", "tests.fixtures.vision_processes"]
    done = subprocess.run(
        [*command, job, json.dumps(arguments), str(out)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer: list[list[object]] = json.loads(out.read_text())
    return answer


@dataclass(frozen=True)
class Proof:
    consumer: GeneratorReplica
    journal: RecordedJournal
    store: FeatureFolder
    features: dict[int, FeatureRef]
    expected: dict[tuple[int, ...], tuple[list[int], str]]

    async def answer(
        self,
        seeds: list[int],
        features: dict[int, FeatureRef],
        name: str,
        emitted: tuple[int, ...] = (),
    ) -> tuple[list[int], str]:
        pictures = tuple(NativeMediaPart(media(seed), features[seed]) for seed in seeds)
        message = ChatMessage(role="user", parts=(*pictures, TextPart(QUESTION)))
        request = GenerationRequest(
            response_id=name,
            model="tiny-vision",
            messages=(message,),
            sampling=Sampling(max_output_tokens=24, temperature=0),
            emitted_ids=emitted,
        )
        await self.consumer.generate(request)
        seen = answer_in(self.journal.fold(name))
        return list(seen.token_ids), seen.text


@pytest.fixture(scope="module")
def proof(
    tiny_vision_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proof]:
    folder = tmp_path_factory.mktemp("proof")
    feature_dir = str(folder / "features")
    checkpoint = str(tiny_vision_checkpoint)
    made = _in_another_process("features", [checkpoint, feature_dir, _SEEDS], folder)
    answers = _in_another_process("answers", [checkpoint, _QUESTIONS], folder)
    spec = spec_of_folder(
        tiny_vision_checkpoint,
        name="tiny-vision",
        licence="none",
        traits=GeneratorTraits(
            kv_cache_bytes=64 << 20,
            max_num_seqs=4,
            modalities=("image",),
            exact_resume_tokens=_EXACT_TOKENS,
        ),
    )
    journal = RecordedJournal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        consumer = GeneratorReplica(
            replace(spec, dtype="float32"), lambda: journal, RecordedNotices, "", feature_dir
        )
    yield Proof(
        consumer=consumer,
        journal=journal,
        store=FeatureFolder(feature_dir),
        features={
            seed: FeatureRef(key=str(key), n_tokens=int(str(n)), dim=int(str(dim)))
            for seed, (key, n, dim) in zip(_SEEDS, made, strict=True)
        },
        expected={
            tuple(seeds): (ids, text)  # type: ignore[misc]  # JSON, checked by comparing
            for seeds, (ids, text) in zip(_QUESTIONS, answers, strict=True)
        },
    )
    consumer.shutdown()
    del consumer
    gc.collect()  # what vLLM leaves open would be an error at the end of the run


@pytest.mark.parametrize("seeds", _QUESTIONS, ids=str)
async def test_tokens_equal_those_of_the_monolithic_engine(proof: Proof, seeds: list[int]) -> None:
    expected_ids, expected_text = proof.expected[tuple(seeds)]
    ids, text = await proof.answer(seeds, proof.features, f"equal-{seeds}")
    assert text == expected_text
    # Bytes that form no character yet have no text to travel with: the last ids may be missing.
    assert len(ids) >= 12
    assert ids == expected_ids[: len(ids)]


async def test_an_answer_about_pictures_goes_on_behind_its_first_tokens(proof: Proof) -> None:
    for n in (_EXACT_TOKENS - 1, _EXACT_TOKENS + 1):
        expected_ids, expected_text = proof.expected[(1,)]
        ids, text = await proof.answer([1], proof.features, f"resumed-{n}", tuple(expected_ids[:n]))
        assert expected_text.endswith(text)
        assert ids == expected_ids[n : n + len(ids)]


async def test_the_pictures_decide_the_tokens(proof: Proof) -> None:
    texts = {text for _, text in proof.expected.values()}
    assert len(texts) == len(_QUESTIONS)


async def test_other_features_under_the_key_give_other_tokens(proof: Proof) -> None:
    """What the engine reads is the store: nothing of the picture reaches it another way."""
    true_features = proof.store.load(proof.features[1].key)
    forged = FeatureRef(key="f" * 64, n_tokens=proof.features[1].n_tokens, dim=128)
    proof.store.save(
        forged.key, ImageFeatures(true_features.features.flip(0), true_features.grid_thw)
    )
    _, text = await proof.answer([1], {1: forged}, "forged")
    assert text != proof.expected[(1,)][1]


async def test_features_that_are_gone_fail_the_request_and_not_the_engine(proof: Proof) -> None:
    gone = FeatureRef(key="0" * 64, n_tokens=12, dim=128)
    with pytest.raises(StoreUnavailable):
        await proof.answer([1], {1: gone}, "gone")
    _, text = await proof.answer([2], proof.features, "after")
    assert text == proof.expected[(2,)][1]


async def test_a_picture_costs_its_own_tokens(proof: Proof) -> None:
    picture = NativeMediaPart(media(1), proof.features[1])
    with_picture = ChatMessage(role="user", parts=(picture, TextPart(QUESTION)))
    without = ChatMessage(role="user", parts=(TextPart(QUESTION),))
    n_more = await proof.consumer.count_tokens([with_picture])
    n_more -= await proof.consumer.count_tokens([without])
    assert n_more == proof.features[1].n_tokens + 2  # the two tokens around it


def test_a_key_that_is_not_ours_names_no_file(tmp_path: Path) -> None:
    for key in ("../secret", "A" * 64, "", "0" * 63):
        with pytest.raises(ValueError, match="hex"):
            FeatureFolder(str(tmp_path)).path(key)


def test_old_features_make_room_for_new_ones(tmp_path: Path) -> None:
    import os
    import time

    import torch

    store = FeatureFolder(str(tmp_path), max_bytes=10_000)
    image = ImageFeatures(torch.zeros(12, 128), torch.tensor([1, 6, 8]))
    old, unread, fresh = "a" * 64, "b" * 64, "c" * 64
    store.save(old, image)
    store.save(unread, image)
    an_hour_ago = time.time() - 3600
    for key in (old, unread):
        os.utime(store.path(key), (an_hour_ago, an_hour_ago))
    store.load(old)
    store.save(fresh, image)
    assert [store.has(key) for key in (old, unread, fresh)] == [True, False, True]
