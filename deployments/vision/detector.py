"""What is where in a picture: COCO objects by NanoDet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.onnx_graph import open_session
from deployments.vision.views import View, interpolated, normalise
from serve.domain.messages import DetectedObject

Array = NDArray[np.float32]

_SIDE_PX = 416
# The network was trained on pictures in BGR order.
_MEAN_BGR = np.array([103.53, 116.28, 123.675], dtype=np.float32)
_SCALE_BGR = np.array([57.375, 57.12, 58.395], dtype=np.float32)
_STRIDES_PX = (8, 16, 32)
_N_DISTANCE_BINS = 11
_MIN_SCORE = 0.4
_MAX_OVERLAP = 0.5
_MAX_OBJECTS = 20


class Detector:
    """Thread-safe. ``names`` are the classes it knows."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "detector.onnx")
        text = (folder / "coco_names.json").read_text(encoding="utf-8")
        self.names: tuple[str, ...] = tuple(json.loads(text))

    def detect(self, view: View) -> tuple[DetectedObject, ...]:
        """Objects, surest first, each once."""
        scale = _scale_of(view)
        scores, corners = self._run(letterbox(view))
        best, names = scores.max(axis=1), scores.argmax(axis=1)
        sure = best >= _MIN_SCORE
        best, names, corners = best[sure], names[sure], corners[sure]
        return tuple(
            DetectedObject(
                name=self.names[names[index]],
                score=float(best[index]),
                box=view.stored_box(corners[index] / scale),
            )
            for index in _without_overlaps(best, names, corners)[:_MAX_OBJECTS]
        )

    def _run(self, image: Array) -> tuple[Array, Array]:
        """Scores ``(n, classes)`` and corners ``(n, 4)`` in pixels of the input, all strides."""
        outputs = self._session.run(None, {self._session.get_inputs()[0].name: image})
        scores: dict[int, Array] = {}
        distances: dict[int, Array] = {}
        for output in (array[0] for array in outputs):
            by_length = scores if output.shape[1] == len(self.names) else distances
            by_length[len(output)] = output
        all_corners, all_scores = [], []
        for stride_px in _STRIDES_PX:
            n_cells = (_SIDE_PX // stride_px) ** 2
            all_scores.append(scores[n_cells])
            all_corners.append(_corners(distances[n_cells], stride_px))
        return np.concatenate(all_scores), np.concatenate(all_corners)


def letterbox(view: View) -> Array:
    """The picture in the top left of the network's square, normalised, (1, 3, side, side)."""
    scale = _scale_of(view)
    width, height = (max(1, round(side * scale)) for side in (view.width_px, view.height_px))
    small = interpolated(view.at_least(width, height), width, height)
    image = np.zeros((1, 3, _SIDE_PX, _SIDE_PX), dtype=np.float32)
    normalise(small, image[0, :, :height, :width], _MEAN_BGR, _SCALE_BGR)
    return image


def _scale_of(view: View) -> float:
    return _SIDE_PX / max(view.width_px, view.height_px)


def _corners(distances: Array, stride_px: int) -> Array:
    """Boxes from each cell's distances to its four sides, each a distribution over bins."""
    bins = distances.reshape(-1, 4, _N_DISTANCE_BINS)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    sides = weights @ np.arange(_N_DISTANCE_BINS, dtype=np.float32) * stride_px
    n_across = _SIDE_PX // stride_px
    rows, columns = np.divmod(np.arange(n_across**2), n_across)
    centres = (np.stack([columns, rows], axis=1) + 0.5) * stride_px
    corners = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1)
    result: Array = corners.astype(np.float32)
    return result


def _without_overlaps(scores: Array, names: NDArray[np.int64], corners: Array) -> list[int]:
    """Indices, best first, of boxes that overlap no better box of their class."""
    kept: list[int] = []
    for index in np.argsort(-scores):
        rivals = [other for other in kept if names[other] == names[index]]
        if all(_overlap(corners[index], corners[other]) <= _MAX_OVERLAP for other in rivals):
            kept.append(int(index))
    return kept


def _overlap(one: Array, other: Array) -> float:
    """Shared area over joint area."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    joint = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / joint if joint > 0 else 0.0
