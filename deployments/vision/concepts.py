"""Pictures in the space of texts, without a model trained on both (ConSE, Norouzi et al. 2013).

A picture's vector is the sum of the vectors of the class names that were seen, each weighed by
its probability, so a sentence finds pictures of what it speaks of. Text in the picture adds its
own vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deployments.sentences import SentenceModel, unit
from serve.domain.messages import DetectedObject, TextLine

_N_CLASSES = 10
_N_OBJECTS = 8
_OBJECT_WEIGHT = 0.5
# A page is what it says; a word on a mug is not what the picture shows.
_WORDS_OF_A_PAGE = 20


class ConceptSpace:
    """Places pictures among sentences. Embeds every class name when made. Thread-safe."""

    def __init__(
        self, model: SentenceModel, class_names: Sequence[str], object_names: Sequence[str]
    ) -> None:
        self._model = model
        self._classes = _embed_names(model, class_names)
        objects = _embed_names(model, object_names)
        self._objects = dict(zip(object_names, objects, strict=True))

    def place(
        self,
        probabilities: NDArray[np.float32],
        objects: Sequence[DetectedObject],
        lines: Sequence[TextLine],
    ) -> tuple[float, ...]:
        """Unit vector of a picture, from all that was found in it."""
        best = np.argsort(-probabilities)[:_N_CLASSES]
        vector = probabilities[best] @ self._classes[best]
        for seen in objects[:_N_OBJECTS]:
            vector = vector + np.float32(_OBJECT_WEIGHT * seen.score) * self._objects[seen.name]
        text = " ".join(line.text for line in lines)
        weight = min(1.0, len(text.split()) / _WORDS_OF_A_PAGE)
        if weight > 0:
            vector = unit(vector) + np.float32(weight) * self._model.embed_passage(text)
        return tuple(unit(vector).tolist())


def _embed_names(model: SentenceModel, names: Sequence[str]) -> NDArray[np.float32]:
    return model.embed(model.tokenize([f"a photo of a {name}" for name in names]))
