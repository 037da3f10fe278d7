"""Text to vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deployments.loading import model_dir
from deployments.sentences import SentenceModel, Tokens, Vectors
from serve.domain.batching import Batcher
from serve.domain.errors import ContextLengthExceeded, InvalidRequest
from serve.domain.messages import Embeddings, TextBatch

if TYPE_CHECKING:
    from serve.registry.specs import ModelSpec

_MAX_TEXTS_PER_CALL = 2048  # that of the OpenAI API
_MAX_CALLS_PER_RUN = 64


class TextEncoderReplica:
    """Holds one loaded model. Concurrent calls are embedded together."""

    def __init__(self, spec: ModelSpec, models_dir: Path) -> None:
        self._spec = spec
        self._model = SentenceModel(model_dir(spec, models_dir), max_tokens=spec.max_input_tokens)
        self._batcher: Batcher[list[Tokens], Vectors] = Batcher(
            self._embed_calls, max_items=_MAX_CALLS_PER_RUN
        )

    async def encode(self, batch: TextBatch) -> Embeddings:
        """Embed every text of a batch; this model treats queries and documents alike.

        Raises:
            InvalidRequest: The batch or one of its texts is empty, or it holds too many texts.
            ContextLengthExceeded: A text is longer than the model's window. Nothing is cut.
        """
        if not batch.texts:
            raise InvalidRequest("there is no text to embed", param="input")
        if len(batch.texts) > _MAX_TEXTS_PER_CALL:
            raise InvalidRequest(
                f"{len(batch.texts)} texts; one call takes at most {_MAX_TEXTS_PER_CALL}",
                param="input",
                limit=_MAX_TEXTS_PER_CALL,
                got=len(batch.texts),
            )
        for index, text in enumerate(batch.texts):
            if not text.strip():
                raise InvalidRequest(f"text {index} is empty", param="input", index=index)
        tokens = await asyncio.to_thread(self._model.tokenize, batch.texts)
        self._refuse_long(tokens)
        return Embeddings(
            vectors=await self._batcher.submit(tokens),
            n_tokens=sum(len(one.ids) for one in tokens),
            model=self._spec.name,
        )

    async def encode_each(
        self, batches: Sequence[TextBatch]
    ) -> Sequence[Embeddings | BaseException]:
        """Every batch for itself, in order: one call carries those of many callers."""
        return await asyncio.gather(*map(self.encode, batches), return_exceptions=True)

    async def ping(self) -> str:
        """The revision that answers."""
        return self._spec.revision

    def _refuse_long(self, tokens: Sequence[Tokens]) -> None:
        limit = self._model.max_tokens
        for index, one in enumerate(tokens):
            if len(one.ids) > limit:
                raise ContextLengthExceeded(
                    f"text {index} has {len(one.ids)} tokens; {self._spec.name} takes {limit}",
                    param="input",
                    limit=limit,
                    got=len(one.ids),
                )

    async def _embed_calls(self, calls: Sequence[list[Tokens]]) -> Sequence[Vectors]:
        together = [one for call in calls for one in call]
        vectors = await asyncio.to_thread(self._model.embed, together)
        ends = np.cumsum([len(call) for call in calls])
        return np.split(vectors, ends[:-1])
