"""The image generator with its real model."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from deployments.image_generator import ImageGeneratorReplica
from deployments.painting.loading import load_painter
from serve.domain.errors import BrokenMedia, InvalidRequest
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import Painted, PaintRequest, PaintStep
from serve.domain.ports import ObjectStore
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.encoders import StoreMedia

pytestmark = pytest.mark.models

_REQUEST = PaintRequest(
    prompt="a red apple", model="emoji-flow", width_px=256, height_px=256, seed=1, steps=8
)
_SEEN_ALIKE = 3


@pytest.fixture(scope="module")
def replica(models_dir: Path, media_store: ObjectStore) -> ImageGeneratorReplica:
    spec, reader = CPU_CATALOG.get("emoji-flow"), CPU_CATALOG.get("minilm-l6-v2")
    return ImageGeneratorReplica(
        spec, partial(load_painter, spec, reader, models_dir), lambda: media_store, max_batch=4
    )


async def _painted(news: AsyncGenerator[PaintStep | Painted, None]) -> Painted:
    async with aclosing(news):
        *_, last = [each async for each in news]
    assert isinstance(last, Painted)
    return last


def _pixels(png: bytes) -> NDArray[np.int16]:
    with PIL.Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.int16)


def _png(picture: PIL.Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


async def test_the_prompt_decides_the_colours(replica: ImageGeneratorReplica) -> None:
    async def blueness(prompt: str) -> float:
        request = replace(_REQUEST, prompt=prompt, steps=None)
        pixels = _pixels((await _painted(replica.paint(request))).png)
        assert pixels.shape == (256, 256, 3)
        return float((pixels[..., 2] - pixels[..., 0]).mean())

    assert await blueness("blue heart") > await blueness("red heart") + 40


async def test_company_never_changes_a_picture(replica: ImageGeneratorReplica) -> None:
    requests = [
        _REQUEST,
        replace(_REQUEST, prompt="a dog", seed=2, steps=5),
        replace(_REQUEST, prompt="fire", seed=3, guidance=1.0),
        replace(_REQUEST, prompt="a ship", seed=4, steps=11, negative_prompt="water"),
    ]
    alone = [await _painted(replica.paint(request)) for request in requests]
    together = await asyncio.gather(*(_painted(replica.paint(request)) for request in requests))
    assert [one.n_batched for one in alone] == [1, 1, 1, 1]
    assert max(one.n_batched for one in together) > 1
    for one, other in zip(alone, together, strict=True):
        assert np.abs(_pixels(one.png) - _pixels(other.png)).max() <= _SEEN_ALIKE
        assert (one.seed, one.steps) == (other.seed, other.steps)


async def test_the_seed_decides_the_picture(replica: ImageGeneratorReplica) -> None:
    first = await _painted(replica.paint(_REQUEST))
    again = await _painted(replica.paint(_REQUEST))
    other = await _painted(replica.paint(replace(_REQUEST, seed=2)))
    assert first.png == again.png
    assert np.abs(_pixels(first.png) - _pixels(other.png)).mean() > _SEEN_ALIKE


async def test_more_than_fit_wait_for_their_turn(replica: ImageGeneratorReplica) -> None:
    requests = [replace(_REQUEST, seed=seed, steps=3) for seed in range(6)]
    made = await asyncio.gather(*(_painted(replica.paint(request)) for request in requests))
    assert [one.seed for one in made] == list(range(6))
    assert max(one.n_batched for one in made) <= 4


async def test_looks_on_the_way_are_pictures(replica: ImageGeneratorReplica) -> None:
    request = replace(_REQUEST, preview_steps=3)
    steps = [each async for each in replica.paint(request) if isinstance(each, PaintStep)]
    assert [each.step for each in steps] == list(range(1, 8))
    assert [each.step for each in steps if each.png] == [2, 4, 6]
    assert all(_pixels(each.png).shape == (256, 256, 3) for each in steps if each.png)


async def test_a_picture_that_is_given_up_leaves_the_others_alone(
    replica: ImageGeneratorReplica,
) -> None:
    expected = await _painted(replica.paint(_REQUEST))
    given_up = replica.paint(replace(_REQUEST, seed=9, steps=100))
    assert isinstance(await anext(given_up), PaintStep)
    other = asyncio.ensure_future(_painted(replica.paint(_REQUEST)))
    assert isinstance(await anext(given_up), PaintStep)
    await given_up.aclose()
    made = await other
    assert np.abs(_pixels(made.png) - _pixels(expected.png)).max() <= _SEEN_ALIKE
    assert (await _painted(replica.paint(_REQUEST))).n_batched == 1


async def test_whoever_drives_may_be_cancelled(replica: ImageGeneratorReplica) -> None:
    works = [
        asyncio.ensure_future(_painted(replica.paint(replace(_REQUEST, seed=seed, steps=20))))
        for seed in range(3)
    ]
    news = replica.paint(_REQUEST)
    await anext(news)
    works[0].cancel()
    made = [await works[1], await works[2], await _painted(news)]
    assert [one.steps for one in made] == [20, 20, 8]
    assert works[0].cancelled()


async def test_strength_decides_how_much_of_the_source_stays(
    replica: ImageGeneratorReplica, store_media: StoreMedia
) -> None:
    green = _png(PIL.Image.new("RGB", (120, 80), (0, 160, 0)))
    source = await store_media(green, MediaKind.IMAGE, "image/png")
    request = replace(_REQUEST, source=source, width_px=120, height_px=80)
    little = await _painted(replica.paint(replace(request, strength=0.2)))
    much = await _painted(replica.paint(replace(request, strength=1.0)))
    assert _pixels(little.png).shape == (80, 120, 3)
    change = [np.abs(_pixels(one.png) - _pixels(green)).mean() for one in (little, much)]
    assert change[0] < change[1]


async def test_only_what_the_mask_leaves_open_is_painted(
    replica: ImageGeneratorReplica, store_media: StoreMedia
) -> None:
    green = _png(PIL.Image.new("RGB", (128, 128), (0, 160, 0)))
    hole = PIL.Image.new("RGBA", (128, 128), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (0, 0, 64, 128))
    source = await store_media(green, MediaKind.IMAGE, "image/png")
    mask = await store_media(_png(hole), MediaKind.IMAGE, "image/png")
    request = replace(_REQUEST, source=source, mask=mask, width_px=128, height_px=128, strength=1.0)
    pixels = _pixels((await _painted(replica.paint(request))).png)
    assert (pixels[:, 64:] == _pixels(green)[:, 64:]).all()
    assert np.abs(pixels[:, :64] - _pixels(green)[:, :64]).mean() > 10


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": " "}, "prompt"),
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"strength": 0.0}, "strength"),
        ({"width_px": 512}, "size"),
        ({"width_px": 32, "height_px": 32}, "size"),
        ({"width_px": 4096, "height_px": 4096}, "size"),
    ],
)
async def test_what_it_cannot_paint_is_refused(
    replica: ImageGeneratorReplica, change: dict[str, object], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await anext(replica.paint(replace(_REQUEST, **change)))  # type: ignore[arg-type]
    assert refused.value.param == param


async def test_masks_that_fit_nothing_are_refused(
    replica: ImageGeneratorReplica, store_media: StoreMedia
) -> None:
    def png(mode: str, side_px: int) -> bytes:
        return _png(PIL.Image.new(mode, (side_px, side_px)))

    async def refusal(source: MediaRef | None, mask: bytes) -> str | None:
        stored = await store_media(mask, MediaKind.IMAGE, "image/png")
        with pytest.raises((InvalidRequest, BrokenMedia)) as refused:
            await anext(replica.paint(replace(_REQUEST, source=source, mask=stored)))
        return refused.value.param

    source = await store_media(png("RGB", 80), MediaKind.IMAGE, "image/png")
    assert await refusal(None, png("RGBA", 80)) == "mask"
    assert await refusal(source, png("RGBA", 40)) == "mask"
    assert await refusal(source, png("RGB", 80)) == "mask"
    assert await refusal(source, b"torn") == "mask"
    torn = await store_media(b"torn too", MediaKind.IMAGE, "image/png")
    with pytest.raises(BrokenMedia):
        await anext(replica.paint(replace(_REQUEST, source=torn)))


async def test_it_says_which_model_paints(replica: ImageGeneratorReplica) -> None:
    assert await replica.ping() == CPU_CATALOG.get("emoji-flow").revision
