"""Pictures to perceptions, and to features when the generator has a tower for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deployments.loading import model_dir
from deployments.sentences import SentenceModel
from deployments.vision.classifier import Classifier
from deployments.vision.concepts import ConceptSpace
from deployments.vision.description import describe
from deployments.vision.detector import Detector
from deployments.vision.pictures import decode_picture
from deployments.vision.reading import Reader
from deployments.vision.views import View
from serve.domain.errors import UnknownModel
from serve.domain.media import MediaRef
from serve.domain.messages import FeatureRef, ImagePerception

if TYPE_CHECKING:
    import PIL.Image

    from serve.domain.ports import ObjectStore
    from serve.registry.specs import ModelSpec


_LOOKS_AT_ONCE = 2


class FeatureMaker(Protocol):
    """The vision tower of a natively multimodal generator."""

    def features(self, image: PIL.Image.Image, media: MediaRef) -> FeatureRef:
        """Compute the picture's features and put them where the generator finds them."""
        ...


class ImageEncoderReplica:
    """Looks at few pictures at a time; others wait, and Serve adds replicas.

    Args:
        spec: The models that look.
        text_spec: The text encoder in whose space vectors lie.
        models_dir: Where prepared models are.
        open_store: Called once, where the pictures are read from.
        tower: Called once, for generators that take pictures natively.
    """

    def __init__(
        self,
        spec: ModelSpec,
        text_spec: ModelSpec,
        models_dir: Path,
        open_store: Callable[[], ObjectStore],
        tower: Callable[[], FeatureMaker] | None = None,
    ) -> None:
        folder = model_dir(spec, models_dir)
        self._spec = spec
        self._store = open_store()
        self._classifier = Classifier(folder)
        self._detector = Detector(folder)
        self._reader = Reader()
        sentences = SentenceModel(
            model_dir(text_spec, models_dir), max_tokens=text_spec.max_input_tokens
        )
        self._space = ConceptSpace(sentences, self._classifier.names, self._detector.names)
        self._tower = tower() if tower is not None else None
        self._at_tower = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tower")
        # While a picture is decoded or its lines are cut out, another one has the models' threads.
        self._worker = ThreadPoolExecutor(max_workers=_LOOKS_AT_ONCE, thread_name_prefix="look")

    async def perceive(self, media: MediaRef) -> ImagePerception:
        """See everything there is to see.

        Raises:
            BrokenMedia: The picture cannot be decoded.
        """
        content = await self._store.get(media.storage_key)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._look, content)

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """What the generator's own tower makes of the picture, stored for it.

        Raises:
            UnknownModel: No generator here takes pictures natively.
        """
        tower = self._tower
        if tower is None:
            raise UnknownModel(f"{model!r} takes no pictures here, only text", param="model")
        content = await self._store.get(media.storage_key)
        return await asyncio.get_running_loop().run_in_executor(
            self._at_tower, lambda: tower.features(decode_picture(content), media)
        )

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    def _look(self, content: bytes) -> ImagePerception:
        started_s = time.perf_counter()
        view = View(content)
        probabilities = self._classifier.probabilities(view)
        labels = self._classifier.labels(probabilities)
        objects = self._detector.detect(view)
        lines = self._reader.read(view)
        return ImagePerception(
            labels=labels,
            objects=objects,
            text_lines=lines,
            description=describe(labels, objects, lines),
            vector=self._space.place(probabilities, objects, lines),
            encode_s=time.perf_counter() - started_s,
        )
