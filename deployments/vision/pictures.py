"""Bytes to pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import PIL.Image

from serve.domain.errors import BrokenMedia


@contextmanager
def opened(content: bytes) -> Iterator[PIL.Image.Image]:
    """The picture, not decoded yet.

    Raises:
        BrokenMedia: It cannot be opened, or not decoded inside the block.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise BrokenMedia("the picture cannot be decoded") from error


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The same as RGB, transparent parts white."""
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        background = PIL.Image.new("RGBA", layer.size, "white")
        return PIL.Image.alpha_composite(background, layer).convert("RGB")
    return picture.convert("RGB")


def decode_picture(content: bytes) -> PIL.Image.Image:
    """The picture as RGB, transparent parts white.

    Raises:
        BrokenMedia: It cannot be decoded.
    """
    with opened(content) as picture:
        return opaque(picture)
