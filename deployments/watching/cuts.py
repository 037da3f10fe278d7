"""Where one shot ends and the next begins."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

SMALL_WIDTH_PX = 64
SMALL_HEIGHT_PX = 36

_BINS_PER_COLOUR = 4
# Less is a fade or a movement, whatever it does to the colours.
_MIN_CHANGE = 10.0
# Other colours altogether: a cut whatever else moves.
_OTHER_COLOURS = 0.5
# Or colours that changed somewhat, in a picture that changed far more than it did just before.
_SOME_COLOURS = 0.1
_SUDDEN = 3.0
_LOOK_BACK = 6
# Below this a picture is the same to the eye; a changed line of subtitles is above it.
_SAME = 1.0


class CutFinder:
    """Compares every frame with the one before. Frames are uint8 RGB, 36 by 64, in order."""

    def __init__(self) -> None:
        self._before: NDArray[np.int16] | None = None
        self._colours_before: NDArray[np.float64] | None = None
        self._changes: deque[float] = deque(maxlen=_LOOK_BACK)

    def is_cut(self, small: NDArray[np.uint8]) -> bool:
        """Whether a new shot begins with this frame; False for the very first."""
        picture, colours = small.astype(np.int16), _colours(small)
        before, colours_before = self._before, self._colours_before
        self._before, self._colours_before = picture, colours
        if before is None or colours_before is None:
            return False
        change = float(np.abs(picture - before).mean())
        recolouring = float(np.abs(colours - colours_before).sum() / 2)
        usual = sum(self._changes) / len(self._changes) if self._changes else 0.0
        is_sudden = recolouring > _SOME_COLOURS and change > _SUDDEN * usual
        is_cut = change > _MIN_CHANGE and (recolouring > _OTHER_COLOURS or is_sudden)
        if is_cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return is_cut


def looks_the_same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether nothing worth another look has changed."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean()) < _SAME


def _colours(small: NDArray[np.uint8]) -> NDArray[np.float64]:
    levels = (small // (256 // _BINS_PER_COLOUR)).astype(np.int64)
    bins = (levels[..., 0] * _BINS_PER_COLOUR + levels[..., 1]) * _BINS_PER_COLOUR + levels[..., 2]
    counts = np.bincount(bins.ravel(), minlength=_BINS_PER_COLOUR**3)
    return counts / bins.size
