"""Clips: the same one whether or not its making was interrupted."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import av
import PIL.Image
import pytest
import torch
from blake3 import blake3
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from deployments.filming.film import FilmModel
from deployments.filming.pipelines import PipelineFilm
from deployments.video_generator import VideoGeneratorReplica
from serve.domain.errors import BrokenMedia, InvalidRequest, NotFound
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import Filmed, FilmRequest, FilmStep
from serve.storage.local_objects import LocalObjectStore
from tests.fixtures.tiny_film import SPEC, Meddled, walking_painter, write_painter

REQUEST = FilmRequest(
    prompt="a red heart",
    model=SPEC.name,
    width_px=96,
    height_px=64,
    n_frames=5,
    frames_per_s=5,
    seed=7,
    steps=4,
    checkpoint_key="jobs/job_1/checkpoint",
)


@pytest.fixture(scope="module")
def walking(tmp_path_factory: pytest.TempPathFactory) -> FilmModel:
    """The embedded film model around an untrained painter."""
    folder = tmp_path_factory.mktemp("painter")
    write_painter(folder)
    return walking_painter(folder)


class Words:
    """A tokenizer that knows four words."""

    model_max_length = 8

    def __call__(self, texts: list[str], *, max_length: int = 8, **_: object) -> object:
        from transformers import BatchEncoding

        ids = torch.tensor([[len(text) % 4 + 1] * max_length for text in texts])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


@pytest.fixture(scope="module")
def pipeline() -> FilmModel:
    """LTX-Video as diffusers has it, untrained and a millionth of its size."""
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=1,
        caption_channels=16,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    reader = T5EncoderModel(
        T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    made = LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        text_encoder=reader.eval(),
        tokenizer=Words(),
        transformer=transformer.eval(),
    )
    return PipelineFilm(made)


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def _replica(model: FilmModel, store: LocalObjectStore) -> VideoGeneratorReplica:
    return VideoGeneratorReplica(SPEC, lambda: model, lambda: store, checkpoint_period_s=0.0)


async def _film(replica: VideoGeneratorReplica, request: FilmRequest) -> Filmed:
    made = [each async for each in replica.film(request)]
    assert isinstance(made[-1], Filmed)
    return made[-1]


def _frames(mp4: bytes) -> list[PIL.Image.Image]:
    with av.open(io.BytesIO(mp4)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [frame.to_image() for frame in container.decode(video=0)]


def _die_at_two(done: int) -> None:
    if done == 2:
        raise MemoryError


@pytest.mark.parametrize("kind", ["walking", "pipeline"])
async def test_a_clip_resumed_from_its_checkpoint_is_the_same_clip(
    kind: str, request: pytest.FixtureRequest, store: LocalObjectStore
) -> None:
    model: FilmModel = request.getfixturevalue(kind)
    undisturbed = await _film(_replica(model, store), replace(REQUEST, checkpoint_key=""))
    with pytest.raises(MemoryError):
        await _film(_replica(Meddled(model, _die_at_two), store), REQUEST)
    steps = [each async for each in _replica(model, store).film(REQUEST)]
    assert [(each.step, each.resumed) for each in steps if isinstance(each, FilmStep)] == [
        (3, True),
        (4, True),
    ]
    resumed = steps[-1]
    assert isinstance(resumed, Filmed)
    assert resumed.mp4 == undisturbed.mp4
    assert resumed.steps == 4


async def test_a_clip_has_the_frames_that_were_asked_for(
    walking: FilmModel, store: LocalObjectStore
) -> None:
    filmed = await _film(_replica(walking, store), REQUEST)
    frames = _frames(filmed.mp4)
    assert [frame.size for frame in frames] == [(96, 64)] * 5
    assert filmed.duration_s == 1.0
    again = await _film(_replica(walking, store), replace(REQUEST, seed=8, checkpoint_key=""))
    assert again.mp4 != filmed.mp4


class _Fading:
    """A film model whose frames become brighter."""

    def check(self, request: FilmRequest) -> None: ...

    def film(self, request: FilmRequest, *_: object) -> Iterator[PIL.Image.Image]:
        for number in range(request.n_frames):
            yield PIL.Image.new("L", (request.width_px, request.height_px), number).convert("RGB")


async def test_a_clip_is_looked_at_once_a_second(store: LocalObjectStore) -> None:
    filmed = await _film(_replica(_Fading(), store), replace(REQUEST, n_frames=12))
    pictures = [PIL.Image.open(io.BytesIO(look.png)) for look in filmed.looks]
    assert [look.at_s for look in filmed.looks] == [0.0, 1.0, 2.0]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(0,) * 3, (5,) * 3, (10,) * 3]


async def test_a_checkpoint_of_another_clip_or_of_nothing_known_is_left_alone(
    walking: FilmModel, store: LocalObjectStore
) -> None:
    replica = _replica(walking, store)
    await _film(replica, REQUEST)
    other = replace(REQUEST, prompt="a blue car")
    begun = [each async for each in replica.film(other)]
    assert isinstance(begun[0], FilmStep)
    assert (begun[0].step, begun[0].resumed) == (1, False)
    await store.put(REQUEST.checkpoint_key, b"\x08" + bytes(7) + b"nonsense", mime_type="")
    begun = [each async for each in replica.film(REQUEST)]
    assert isinstance(begun[0], FilmStep)
    assert not begun[0].resumed


async def test_a_picture_becomes_the_first_frame(
    walking: FilmModel, store: LocalObjectStore
) -> None:
    source = await _stored(store, _png((255, 0, 0)))
    filmed = await _film(_replica(walking, store), replace(REQUEST, source=source))
    red, green, blue = _frames(filmed.mp4)[0].getpixel((48, 32))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 20


async def test_leaving_stops_the_work_at_the_next_step(
    walking: FilmModel, store: LocalObjectStore
) -> None:
    made: list[int] = []
    replica = _replica(Meddled(walking, made.append), store)
    long = replace(REQUEST, steps=100)
    async with aclosing(replica.film(long)) as steps:
        await anext(steps)
    # The one thread is free again, and did not make all of them.
    await _film(replica, replace(REQUEST, checkpoint_key=""))
    assert len(made) < 50


async def test_what_cannot_be_filmed_is_refused(
    walking: FilmModel, pipeline: FilmModel, store: LocalObjectStore
) -> None:
    replica = _replica(walking, store)
    for wrong in (
        replace(REQUEST, prompt=" "),
        replace(REQUEST, width_px=97),
        replace(REQUEST, steps=0),
        replace(REQUEST, n_frames=10_000),
    ):
        with pytest.raises(InvalidRequest):
            await _film(replica, wrong)
    with pytest.raises(InvalidRequest):
        await _film(_replica(pipeline, store), replace(REQUEST, width_px=8))
    with pytest.raises(BrokenMedia):
        await _film(replica, replace(REQUEST, source=await _stored(store, b"no picture")))
    with pytest.raises(NotFound):
        await store.get(REQUEST.checkpoint_key)


def _png(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (80, 80), colour).save(out, "PNG")
    return out.getvalue()


async def _stored(store: LocalObjectStore, content: bytes) -> MediaRef:
    await store.put("assets/a/source", content, mime_type="image/png")
    return MediaRef(
        asset_id="asset_1",
        owner_id="user_1",
        kind=MediaKind.IMAGE,
        mime_type="image/png",
        content_hash=blake3(content).hexdigest(),
        storage_key="assets/a/source",
        n_bytes=len(content),
    )
