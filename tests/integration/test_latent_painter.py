"""The painter of big models, on tiny ones of the same families, against the stock pipelines."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import (
    FluxImg2ImgPipeline,
    FluxPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from numpy.typing import NDArray

from benchmarks.random_painters import TINY, write_flux, write_sdxl
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
    prompt="ab", model="tiny", width_px=64, height_px=64, seed=5, steps=4, guidance=5.0
)


@dataclass(frozen=True, slots=True)
class _Family:
    """``stock``: diffusers' own pipeline, ``stock_over`` the one that paints over latents.

    ``words``: what they want to be told beside the rest. Sides are multiples of ``step_px``.
    """

    engine: Literal["sdxl", "flux"]
    write: Callable[[Path], None]
    stock: Any
    stock_over: Any
    step_px: int
    words: Callable[[float], dict[str, Any]]

    @property
    def has_negative_prompts(self) -> bool:
        return "negative_prompt" in self.words(1.0)


def _sdxl_words(guidance: float) -> dict[str, Any]:
    return {"guidance_scale": guidance, "negative_prompt": "cd"}


def _schnell_words(guidance: float) -> dict[str, Any]:
    return {"true_cfg_scale": guidance, "negative_prompt": "cd", "max_sequence_length": 256}


def _dev_words(guidance: float) -> dict[str, Any]:
    return {"guidance_scale": guidance}


_SDXL: Final = _Family(
    engine="sdxl",
    write=partial(write_sdxl, shape=TINY),
    stock=StableDiffusionXLPipeline,
    stock_over=StableDiffusionXLImg2ImgPipeline,
    step_px=8,
    words=_sdxl_words,
)
_SCHNELL: Final = _Family(
    engine="flux",
    write=partial(write_flux, shape=TINY),
    stock=FluxPipeline,
    stock_over=FluxImg2ImgPipeline,
    step_px=16,
    words=_schnell_words,
)
_FAMILIES: Final = {
    "sdxl": _SDXL,
    "turbo": replace(_SDXL, write=partial(write_sdxl, shape=TINY, is_turbo=True)),
    "schnell": _SCHNELL,
    "dev": replace(
        _SCHNELL,
        write=partial(write_flux, shape=TINY, is_told_guidance=True),
        words=_dev_words,
    ),
}


@pytest.fixture(scope="module", params=_FAMILIES)
def family(request: pytest.FixtureRequest) -> _Family:
    return _FAMILIES[request.param]


@pytest.fixture(scope="module")
def checkpoint(family: _Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of random weights."""
    folder = tmp_path_factory.mktemp(family.engine)
    family.write(folder)
    return folder


@pytest.fixture(scope="module")
def replica(family: _Family, checkpoint: Path, media_store: ObjectStore) -> ImageGeneratorReplica:
    source = Source(
        kind=SourceKind.PATH, name=str(checkpoint), version="1", licence="none", origin="random"
    )
    spec = ModelSpec(
        name="tiny",
        role=Role.IMAGE_GENERATOR,
        description="Random weights.",
        licence="none",
        sources=(source,),
        painter=PainterTraits(engine=family.engine, steps=4, guidance=5.0),
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


def _png(picture: PIL.Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _stock(kind: Any, checkpoint: Path, **words: Any) -> NDArray[np.int16]:
    pipeline = kind.from_pretrained(checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    chance = torch.Generator().manual_seed(_REQUEST.seed)
    return _array(pipeline("ab", num_inference_steps=4, generator=chance, **words).images[0])


@pytest.mark.parametrize("guidance", [0.0, 5.0])
async def test_it_paints_what_the_stock_pipeline_paints(
    family: _Family, checkpoint: Path, replica: ImageGeneratorReplica, guidance: float
) -> None:
    words = family.words(guidance)
    expected = _stock(family.stock, checkpoint, height=64, width=128, **words)
    request = replace(
        _REQUEST,
        width_px=128,
        guidance=guidance,
        negative_prompt=words.get("negative_prompt", ""),
    )
    made = await _pixels(replica, request)
    assert np.abs(made - expected).max() <= 1
    assert (made != await _pixels(replica, replace(request, prompt="gh"))).any()


async def test_it_paints_over_what_the_stock_pipeline_paints_over(
    family: _Family, checkpoint: Path, replica: ImageGeneratorReplica, store_media: StoreMedia
) -> None:
    colours = np.random.default_rng(1).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    source = PIL.Image.fromarray(colours).resize((64, 64))
    coder = family.stock.from_pretrained(checkpoint).vae
    pixels = torch.from_numpy(_array(source)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        seen = coder.encode(pixels).latent_dist.mode()
    # As latents: the stock pipeline adds chance of its own to pictures that it encodes.
    latents = (seen - (coder.config.shift_factor or 0.0)) * coder.config.scaling_factor
    words = family.words(5.0)
    if family.engine == "flux":
        words |= {"height": 64, "width": 64}
    expected = _stock(family.stock_over, checkpoint, image=latents, strength=0.5, **words)
    made = await _pixels(
        replica,
        replace(
            _REQUEST,
            source=await store_media(_png(source), MediaKind.IMAGE, "image/png"),
            strength=0.5,
            negative_prompt=words.get("negative_prompt", ""),
        ),
    )
    assert np.abs(made - expected).max() <= 1


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
    green = PIL.Image.new("RGB", (64, 64), (0, 160, 0))
    hole = PIL.Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (0, 0, 32, 64))
    request = replace(
        _REQUEST,
        source=await store_media(_png(green), MediaKind.IMAGE, "image/png"),
        mask=await store_media(_png(hole), MediaKind.IMAGE, "image/png"),
        strength=0.5,
    )
    made = await _pixels(replica, request)
    assert (made[:, 32:] == _array(green)[:, 32:]).all()
    assert (made[:, :32] != _array(green)[:, :32]).any()


async def test_who_leaves_takes_only_their_own_picture_along(
    replica: ImageGeneratorReplica,
) -> None:
    expected = await _pixels(replica, _REQUEST)
    async with aclosing(replica.paint(replace(_REQUEST, seed=8))) as leaving:
        first = await anext(leaving)
        staying = asyncio.create_task(_pixels(replica, _REQUEST))
        await anext(leaving)
    assert isinstance(first, PaintStep)
    assert np.abs(await staying - expected).max() <= 1


async def test_looks_on_the_way_come_near_the_picture(replica: ImageGeneratorReplica) -> None:
    news = [each async for each in replica.paint(replace(_REQUEST, steps=20, preview_steps=3))]
    painted = news[-1]
    assert isinstance(painted, Painted)
    looks = [each.png for each in news if isinstance(each, PaintStep) and each.png]
    pixels = [_array(PIL.Image.open(io.BytesIO(png))) for png in (*looks, painted.png)]
    assert [each.shape for each in pixels] == [(64, 64, 3)] * 4
    early, _, late, whole = pixels
    assert np.abs(late - whole).mean() < np.abs(early - whole).mean()


async def test_what_it_was_not_trained_to_lead_away_from_is_refused(
    family: _Family, replica: ImageGeneratorReplica
) -> None:
    request = replace(_REQUEST, negative_prompt="cd")
    if family.has_negative_prompts:
        assert (await _pixels(replica, request) != await _pixels(replica, _REQUEST)).any()
        return
    with pytest.raises(InvalidRequest) as refused:
        await anext(replica.paint(request))
    assert refused.value.param == "negative_prompt"


async def test_sizes_it_cannot_decode_are_refused(
    family: _Family, replica: ImageGeneratorReplica
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await anext(replica.paint(replace(_REQUEST, width_px=64 + family.step_px // 2)))
    assert refused.value.param == "size"
