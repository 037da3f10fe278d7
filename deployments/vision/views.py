"""What the models look at: pixels by OpenCV, which shrinks them in a fourth of Pillow's time."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from deployments.vision.pictures import opaque, opened
from serve.domain.errors import BrokenMedia
from serve.domain.messages import Box

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Above this no model here sees more, and reading text takes seconds longer.
_MAX_WORKING_SIDE_PX = 1280
_END_OF_JPEG = b"\xff\xd9"


class View:
    """A picture no larger than the models can use. Pixels are (height, width, BGR).

    Raises:
        BrokenMedia: The picture cannot be decoded.
    """

    def __init__(self, content: bytes) -> None:
        with opened(content) as picture:
            self._stored_px = picture.size
            # OpenCV shows what is left of a torn file; Pillow refuses it.
            is_plain = picture.format == "JPEG" and picture.mode in ("L", "RGB")
            if is_plain and content.endswith(_END_OF_JPEG):
                bgr = _jpeg_pixels(content, max(picture.size))
            else:
                bgr = _pixels(opaque(picture))
        longest_px = max(bgr.shape)
        if longest_px > _MAX_WORKING_SIDE_PX:
            bgr = _fitted(bgr, _MAX_WORKING_SIDE_PX / longest_px)
        self._halved = [bgr]

    @property
    def bgr(self) -> Pixels:
        """All that can be used."""
        return self._halved[0]

    @property
    def width_px(self) -> int:
        """Of what can be used."""
        return int(self.bgr.shape[1])

    @property
    def height_px(self) -> int:
        """Of what can be used."""
        return int(self.bgr.shape[0])

    def at_least(self, width_px: int, height_px: int) -> Pixels:
        """Halved, four pixels to one, as often as leaves so many: none is passed over later."""
        level = 0
        while _holds_twice(self._halved[level], width_px, height_px):
            level += 1
            if level == len(self._halved):
                self._halved.append(_half(self._halved[-1]))
        return self._halved[level]

    def stored_box(self, corners: Floats) -> Box:
        """A box ``(left, top, right, bottom)`` of this view in pixels of the stored picture."""
        right_edge, bottom_edge = self._stored_px
        across, down = right_edge / self.width_px, bottom_edge / self.height_px
        left, top, right, bottom = (float(corner) for corner in corners)
        return Box(
            left_px=min(max(round(left * across), 0), right_edge),
            top_px=min(max(round(top * down), 0), bottom_edge),
            right_px=min(max(round(right * across), 0), right_edge),
            bottom_px=min(max(round(bottom * down), 0), bottom_edge),
        )


def interpolated(bgr: Pixels, width_px: int, height_px: int, *, is_cubic: bool = False) -> Pixels:
    """At another size, which is more than half of what it was."""
    import cv2

    how = cv2.INTER_CUBIC if is_cubic else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(bgr, (width_px, height_px), interpolation=how), np.uint8)


def normalise(bgr: Pixels, planes: Floats, mean: Floats, scale: Floats) -> None:
    """Write ``(bgr - mean) / scale`` into planes (3, height, width), blue first."""
    import cv2

    for channel, plane, middle, width in zip(cv2.split(bgr), planes, mean, scale, strict=True):
        np.subtract(channel, middle, out=plane, dtype=np.float32)
        np.multiply(plane, 1 / width, out=plane)


def _fitted(bgr: Pixels, scale: float) -> Pixels:
    """Averaged over whole pixels, which is slow and good: text is to stay readable."""
    import cv2

    width_px, height_px = (max(1, round(side * scale)) for side in bgr.shape[1::-1])
    fitted = cv2.resize(bgr, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(fitted, np.uint8)


def _holds_twice(bgr: Pixels, width_px: int, height_px: int) -> bool:
    return bool(bgr.shape[1] >= 2 * width_px and bgr.shape[0] >= 2 * height_px)


def _half(bgr: Pixels) -> Pixels:
    import cv2

    half = bgr.shape[1] // 2, bgr.shape[0] // 2
    even = bgr[: 2 * half[1], : 2 * half[0]]
    return np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg_pixels(content: bytes, longest_px: int) -> Pixels:
    """A large one is decoded at a half, a quarter or an eighth, but no smaller than is used."""
    import cv2

    smaller = {
        8: cv2.IMREAD_REDUCED_COLOR_8,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        2: cv2.IMREAD_REDUCED_COLOR_2,
    }
    mode = next(
        (mode for by, mode in smaller.items() if longest_px >= by * _MAX_WORKING_SIDE_PX),
        cv2.IMREAD_COLOR,
    )
    encoded = np.frombuffer(content, np.uint8)
    bgr = cv2.imdecode(encoded, mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise BrokenMedia("the picture cannot be decoded")
    return np.asarray(bgr, np.uint8)


def _pixels(picture: PIL.Image.Image) -> Pixels:
    bgr = np.frombuffer(picture.tobytes("raw", "BGR"), np.uint8)
    return bgr.reshape(picture.height, picture.width, 3)
