"""A recording that is heard part by part while it is being uploaded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from serve.domain.errors import EngineDead
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import AudioPerception, TranscriptionOptions, TranscriptSegment
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.scripted import ScriptedEars, scripted_perceiver

_MEDIA = MediaRef(
    asset_id="asset_talk",
    owner_id="user_ada",
    kind=MediaKind.AUDIO,
    mime_type="audio/flac",
    content_hash="0" * 64,
    storage_key="assets/talk",
    n_bytes=1,
)
_OPTIONS = TranscriptionOptions()


@dataclass
class Upload:
    """``ArrivingAsset`` of so many pieces."""

    n_pieces: int

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for _ in range(self.n_pieces):
            yield bytes(2)

    async def kept(self) -> MediaRef:
        return _MEDIA


async def test_a_replica_that_dies_costs_nothing_that_was_heard(
    cache: StoredPerceptionCache,
) -> None:
    ears = ScriptedEars()
    perceiver = scripted_perceiver(cache, ears=ears)
    said: list[str] = []
    steps = []
    async for step in perceiver.hear_arriving(Upload(3), _OPTIONS):
        steps.append(step)
        if isinstance(step, TranscriptSegment):
            said.append(step.text)
            ears.errors = [EngineDead("gone")]
    assert said == ["part 0", "part 1", "part 2"]
    assert steps[-2] == _MEDIA
    perception = steps[-1]
    assert isinstance(perception, AudioPerception)
    assert perception.transcript == "part 0 part 1 part 2"
    n_encodes = ears.n_encodes
    assert (await perceiver.perceive(_MEDIA)).perception == perception
    assert ears.n_encodes == n_encodes


async def test_replicas_that_die_one_after_the_other_are_told(cache: StoredPerceptionCache) -> None:
    ears = ScriptedEars(errors=[EngineDead("gone"), EngineDead("gone too")])
    perceiver = scripted_perceiver(cache, ears=ears)
    with pytest.raises(EngineDead, match="too"):
        await anext(perceiver.hear_arriving(Upload(1), _OPTIONS))


async def test_what_can_only_be_decoded_whole_is_heard_when_it_is_there(
    cache: StoredPerceptionCache,
) -> None:
    perceiver = scripted_perceiver(cache)
    steps = [step async for step in perceiver.hear_arriving(Upload(0), _OPTIONS)]
    assert steps[0] == _MEDIA
    assert steps[-1] == await perceiver.recall(_MEDIA)
