"""Bytes to pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from serve.domain.errors import BrokenMedia
from serve.domain.messages import Box

# Above this no model here sees more, and reading text takes seconds longer.
_MAX_WORKING_SIDE_PX = 1280


def decode_picture(content: bytes) -> PIL.Image.Image:
    """The picture as RGB, transparent parts white.

    Raises:
        BrokenMedia: It cannot be decoded.
    """
    try:
        with PIL.Image.open(io.BytesIO(content)) as picture:
            if picture.has_transparency_data:
                layer = picture.convert("RGBA")
                background = PIL.Image.new("RGBA", layer.size, "white")
                return PIL.Image.alpha_composite(background, layer).convert("RGB")
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise BrokenMedia("the picture cannot be decoded") from error


@dataclass(frozen=True, slots=True)
class View:
    """What the models look at: the picture, no larger than they can use."""

    picture: PIL.Image.Image
    stored_width_px: int
    stored_height_px: int

    @classmethod
    def of(cls, picture: PIL.Image.Image) -> View:
        """Scale down, keeping the proportions."""
        small = picture
        if max(picture.size) > _MAX_WORKING_SIDE_PX:
            small = picture.copy()
            small.thumbnail((_MAX_WORKING_SIDE_PX, _MAX_WORKING_SIDE_PX))
        return cls(small, picture.width, picture.height)

    def stored_box(self, corners: NDArray[np.float32]) -> Box:
        """A box ``(left, top, right, bottom)`` of this view in pixels of the stored picture."""
        right_edge, bottom_edge = self.stored_width_px, self.stored_height_px
        across, down = right_edge / self.picture.width, bottom_edge / self.picture.height
        left, top, right, bottom = (float(corner) for corner in corners)
        return Box(
            left_px=min(max(round(left * across), 0), right_edge),
            top_px=min(max(round(top * down), 0), bottom_edge),
            right_px=min(max(round(right * across), 0), right_edge),
            bottom_px=min(max(round(bottom * down), 0), bottom_edge),
        )
