"""Pictures as the models get to see them."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import skimage.data

from deployments.vision.classifier import middle
from deployments.vision.detector import letterbox
from deployments.vision.views import View
from serve.domain.errors import BrokenMedia
from serve.domain.messages import Box

_PHOTO = PIL.Image.fromarray(skimage.data.astronaut())


def _encoded(picture: PIL.Image.Image, form: str, **options: int) -> bytes:
    written = io.BytesIO()
    picture.save(written, form, **options)
    return written.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_has_the_pixels_that_pillow_finds_in_it(mode: str) -> None:
    content = _encoded(_PHOTO.convert(mode), "JPEG")
    rgb = np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(View(content).bgr[:, :, ::-1], rgb)


def test_a_large_photograph_is_seen_small_and_boxed_large() -> None:
    photo = _PHOTO.crop((0, 0, 512, 384)).resize((4000, 3000))
    view = View(_encoded(photo, "JPEG"))
    assert (view.width_px, view.height_px) == (1280, 960)
    small = np.asarray(photo.resize((1280, 960), PIL.Image.Resampling.BOX), dtype=np.int16)
    assert np.abs(view.bgr[:, :, ::-1] - small).mean() < 2
    assert view.stored_box(np.array([0, 480, 640, 960], dtype=np.float32)) == Box(
        0, 1500, 2000, 3000
    )


def test_a_long_thin_picture_keeps_at_least_a_pixel() -> None:
    view = View(_encoded(PIL.Image.new("RGB", (6000, 1)), "PNG"))
    assert (view.width_px, view.height_px) == (1280, 1)
    assert letterbox(view).shape == (1, 3, 416, 416)


def test_transparent_parts_are_white() -> None:
    assert (View(_encoded(PIL.Image.new("RGBA", (8, 8)), "PNG")).bgr == 255).all()


def test_a_torn_jpeg_is_refused() -> None:
    content = _encoded(_PHOTO, "JPEG")
    with pytest.raises(BrokenMedia):
        View(content[: len(content) // 2])


def test_a_fine_pattern_becomes_grey_instead_of_stripes() -> None:
    board = np.indices((960, 1280)).sum(axis=0) % 2 * 255
    view = View(_encoded(PIL.Image.fromarray(board.astype(np.uint8)).convert("RGB"), "PNG"))
    assert np.ptp(middle(view)) < 0.02
    assert np.ptp(letterbox(view)[:, 0, :312]) < 0.02


def test_networks_get_red_and_blue_where_they_expect_them() -> None:
    view = View(_encoded(PIL.Image.new("RGB", (500, 500), (255, 0, 0)), "PNG"))
    red_first, blue_first = middle(view)[0, :, 0, 0], letterbox(view)[0, :, 0, 0]
    assert red_first == pytest.approx([1.0, -127 / 128, -127 / 128])
    assert blue_first == pytest.approx([-1.8045, -2.0358, 2.2489], abs=1e-3)
