"""The painter of big models, on a tiny one of the same family, against the stock pipeline."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from deployments.image_generator import ImageGeneratorReplica
from deployments.painting.loading import load_painter
from serve.domain.errors import InvalidRequest
from serve.domain.media import MediaKind
from serve.domain.messages import Painted, PaintRequest, PaintStep
from serve.domain.ports import ObjectStore
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import ModelSpec, PainterTraits, Role, Source, SourceKind
from tests.fixtures.encoders import StoreMedia

# diffusers and transformers warn about themselves while they load and run.
pytestmark = pytest.mark.filterwarnings("ignore")

_REQUEST = PaintRequest(
    prompt="ab", model="tiny-sdxl", width_px=64, height_px=64, seed=5, steps=4, guidance=5.0
)


def _reader(*, projects: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        vocab_size=32,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        hidden_act="gelu",
    )
    return CLIPTextModelWithProjection(config) if projects else CLIPTextModel(config)


def _tokenizer(folder: Path) -> CLIPTokenizer:
    folder.mkdir()
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *"abcdefgh",
        *(f"{each}</w>" for each in "abcdefgh"),
    ]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    return CLIPTokenizer(*files, model_max_length=77)


@pytest.fixture(scope="module", params=["base", "turbo"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of random weights; a turbo one steps by another scheduler."""
    torch.manual_seed(0)
    scratch = tmp_path_factory.mktemp("sdxl")
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )
    vae = AutoencoderKL(
        block_out_channels=[32, 32, 32, 32],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
    )
    is_turbo = request.param == "turbo"
    steps_by = EulerAncestralDiscreteScheduler if is_turbo else EulerDiscreteScheduler
    tokenizer = _tokenizer(scratch / "words")
    folder = scratch / "checkpoint"
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=_reader(projects=False),
        text_encoder_2=_reader(projects=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=steps_by(timestep_spacing="trailing" if is_turbo else "leading"),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def replica(checkpoint: Path, media_store: ObjectStore) -> ImageGeneratorReplica:
    source = Source(
        kind=SourceKind.PATH, name=str(checkpoint), version="1", licence="none", origin="random"
    )
    spec = ModelSpec(
        name="tiny-sdxl",
        role=Role.IMAGE_GENERATOR,
        description="Random weights.",
        licence="none",
        sources=(source,),
        painter=PainterTraits(engine="sdxl", steps=4, guidance=5.0),
    )
    load = partial(load_painter, spec, CPU_CATALOG.get("minilm-l6-v2"), checkpoint)
    return ImageGeneratorReplica(spec, load, lambda: media_store)


async def _pixels(replica: ImageGeneratorReplica, request: PaintRequest) -> NDArray[np.int16]:
    async with aclosing(replica.paint(request)) as news:
        *_, last = [each async for each in news]
    assert isinstance(last, Painted)
    return _array(PIL.Image.open(io.BytesIO(last.png)))


def _array(picture: PIL.Image.Image) -> NDArray[np.int16]:
    return np.asarray(picture.convert("RGB"), dtype=np.int16)


@pytest.mark.parametrize("guidance", [0.0, 5.0])
async def test_it_paints_what_the_stock_pipeline_paints(
    checkpoint: Path, replica: ImageGeneratorReplica, guidance: float
) -> None:
    stock = StableDiffusionXLPipeline.from_pretrained(checkpoint, add_watermarker=False)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        "ab",
        negative_prompt="cd",
        height=64,
        width=64,
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    request = replace(_REQUEST, guidance=guidance, negative_prompt="cd")
    made = await _pixels(replica, request)
    assert np.abs(made - _array(expected)).max() <= 1


async def test_pictures_of_several_sizes_share_steps(replica: ImageGeneratorReplica) -> None:
    requests = [
        replace(_REQUEST, preview_steps=1),
        replace(_REQUEST, seed=6, prompt="cd", guidance=1.0),
        replace(_REQUEST, seed=7, width_px=128, steps=3),
    ]
    alone = [await _pixels(replica, request) for request in requests]
    together = await asyncio.gather(*(_pixels(replica, request) for request in requests))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - other).max() <= 1


async def test_masked_edits_keep_the_rest(
    replica: ImageGeneratorReplica, store_media: StoreMedia
) -> None:
    def png(picture: PIL.Image.Image) -> bytes:
        written = io.BytesIO()
        picture.save(written, "PNG")
        return written.getvalue()

    green = PIL.Image.new("RGB", (64, 64), (0, 160, 0))
    hole = PIL.Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (0, 0, 32, 64))
    request = replace(
        _REQUEST,
        source=await store_media(png(green), MediaKind.IMAGE, "image/png"),
        mask=await store_media(png(hole), MediaKind.IMAGE, "image/png"),
        strength=0.5,
    )
    made = await _pixels(replica, request)
    assert (made[:, 32:] == _array(green)[:, 32:]).all()
    assert (made[:, :32] != _array(green)[:, :32]).any()


async def test_looks_on_the_way_are_pictures(replica: ImageGeneratorReplica) -> None:
    news = [each async for each in replica.paint(replace(_REQUEST, preview_steps=1))]
    looks = [each.png for each in news if isinstance(each, PaintStep) and each.png]
    assert [PIL.Image.open(io.BytesIO(look)).size for look in looks] == [(64, 64)]


async def test_sizes_it_cannot_decode_are_refused(replica: ImageGeneratorReplica) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await anext(replica.paint(replace(_REQUEST, width_px=65)))
    assert refused.value.param == "size"
