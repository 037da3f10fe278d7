"""How sexual a picture is: the only thing that is seen in pictures here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image

from deployments.onnx_graph import open_session

MODEL_FILE: Final = "open-nsfw.onnx"

# As the model was trained: BGR, means of its data set, the middle of a square.
# Source: https://github.com/yahoo/open_nsfw (classify_nsfw.py)
_SIDE_PX: Final = 256
_CROP_PX: Final = 224
_MARGIN_PX: Final = (_SIDE_PX - _CROP_PX) // 2
_MEAN_BGR: Final = np.array([104, 117, 123], dtype=np.float32)


class NudityDetector:
    """Yahoo's open_nsfw: photographs of people. Drawings and allusions escape it."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / MODEL_FILE)
        self._input = self._session.get_inputs()[0].name

    def score(self, picture: PIL.Image.Image) -> float:
        """0 to 1, for an RGB picture."""
        scores = self._session.run(None, {self._input: _prepared(picture)[None]})[0]
        return float(scores[0][1])


def _prepared(picture: PIL.Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    small = picture.resize((_SIDE_PX, _SIDE_PX), PIL.Image.Resampling.BILINEAR)
    middle = small.crop((_MARGIN_PX, _MARGIN_PX, _MARGIN_PX + _CROP_PX, _MARGIN_PX + _CROP_PX))
    # It learned from JPEG files, and scores their traces.
    with io.BytesIO() as written:
        middle.save(written, "JPEG")
        written.seek(0)
        pixels = np.asarray(PIL.Image.open(written), dtype=np.float32)
    return np.ascontiguousarray(pixels[:, :, ::-1] - _MEAN_BGR)
