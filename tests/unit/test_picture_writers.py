"""Pictures made here, as others get them."""

from __future__ import annotations

import io
import secrets

import PIL.Image
import pytest

from serve.media.picture_writers import MAX_PREVIEW_BYTES, small_preview


@pytest.mark.parametrize(
    ("picture", "is_whole"),
    [
        (PIL.Image.new("RGB", (640, 480), "navy"), True),
        (PIL.Image.frombytes("RGB", (640, 480), secrets.token_bytes(640 * 480 * 3)), False),
    ],
    ids=["plain", "noise"],
)
def test_a_preview_is_small_whatever_it_shows(picture: PIL.Image.Image, is_whole: bool) -> None:
    written = io.BytesIO()
    picture.save(written, "PNG")
    preview = small_preview(written.getvalue())
    assert len(preview) <= MAX_PREVIEW_BYTES
    shown = PIL.Image.open(io.BytesIO(preview))
    assert shown.format == "WEBP"
    assert (shown.size == picture.size) is is_whole
    assert shown.width * 3 == shown.height * 4
