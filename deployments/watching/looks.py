"""Which moments of a video are worth a look: one per shot, and some on the way through it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deployments.watching.cuts import CutFinder, looks_the_same

# A dissolve is over by then.
_SETTLE_S = 0.25


class LookChooser:
    """Decides frame by frame. Frames come in order, small: uint8 RGB, 36 by 64.

    Args:
        every_s: A shot is looked at again after so long, if it has changed meanwhile.
        min_gap_s: Least time between two looks. Shorter shots are passed over.
    """

    def __init__(self, *, every_s: float, min_gap_s: float) -> None:
        self._every_s = max(every_s, min_gap_s)
        self._min_gap_s = min_gap_s
        self._cuts = CutFinder()
        self._seen: NDArray[np.uint8] | None = None
        self._looked_s = -min_gap_s
        # Where the stretch begins that nobody has looked at yet.
        self._unseen_s: float | None = None
        self._is_first = True

    def stretch_to_look_at(self, at_s: float, small: NDArray[np.uint8]) -> float | None:
        """Start of the stretch that this frame shall stand for, or None: not this frame."""
        if self._cuts.is_cut(small) or self._is_first:
            self._unseen_s = at_s
            self._is_first = False
        elif self._unseen_s is None and at_s - self._looked_s >= self._every_s:
            if self._seen is not None and looks_the_same(self._seen, small):
                self._looked_s = at_s
            else:
                self._unseen_s = at_s
        start_s = self._unseen_s
        if start_s is None or at_s - self._looked_s < self._min_gap_s:
            return None
        is_settled = at_s - start_s >= _SETTLE_S
        if not is_settled and at_s - self._looked_s < self._every_s:
            return None
        self._looked(at_s, small)
        return start_s

    def last_stretch(self) -> float | None:
        """Start of what nobody has looked at when the video ends; its last frame stands for it."""
        return self._unseen_s

    def _looked(self, at_s: float, small: NDArray[np.uint8]) -> None:
        self._looked_s = at_s
        self._seen = small
        self._unseen_s = None
