"""What a picture shows as a whole: ImageNet classes by EfficientNet-Lite0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.onnx_graph import open_session
from deployments.vision.views import View, interpolated, normalise
from serve.domain.messages import Label

_SIDE_PX = 224
_MEAN, _SCALE = np.full(3, 127.0, dtype=np.float32), np.full(3, 128.0, dtype=np.float32)
_MAX_LABELS = 5
_MIN_PROBABILITY = 0.1


class Classifier:
    """Thread-safe. ``names`` are the classes in the order of the probabilities."""

    def __init__(self, folder: Path) -> None:
        self._session = open_session(folder / "classifier.onnx")
        text = (folder / "imagenet_names.json").read_text(encoding="utf-8")
        self.names: tuple[str, ...] = tuple(json.loads(text))

    def probabilities(self, view: View) -> NDArray[np.float32]:
        """One number per class, adding up to 1; only the middle square is looked at."""
        result: NDArray[np.float32] = self._session.run(None, {"image": middle(view)})[0][0]
        return result

    def labels(self, probabilities: NDArray[np.float32]) -> tuple[Label, ...]:
        """The likely classes, best first; two classes of one name count together."""
        by_name: dict[str, float] = {}
        for index in np.argsort(-probabilities)[: 2 * _MAX_LABELS]:
            name = self.names[index]
            by_name[name] = by_name.get(name, 0.0) + float(probabilities[index])
        best = sorted(by_name.items(), key=lambda entry: -entry[1])[:_MAX_LABELS]
        return tuple(Label(name, score) for name, score in best if score >= _MIN_PROBABILITY)


def middle(view: View) -> NDArray[np.float32]:
    """The middle square as the network takes it: RGB, normalised, (1, 3, side, side)."""
    enough = view.at_least(_SIDE_PX, _SIDE_PX)
    height, width = enough.shape[:2]
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = enough[top : top + side, left : left + side]
    small = interpolated(square, _SIDE_PX, _SIDE_PX, is_cubic=True)
    image = np.empty((1, 3, _SIDE_PX, _SIDE_PX), dtype=np.float32)
    normalise(small, image[0, ::-1], _MEAN, _SCALE)
    return image
