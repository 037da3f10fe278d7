"""``/v1/embeddings``."""

from __future__ import annotations

from fastapi import APIRouter

from serve.domain.errors import InvalidRequest
from serve.domain.messages import TextBatch
from serve.domain.records import JsonObject
from serve.ingress.authentication import GeneratingCaller
from serve.ingress.context import Ports
from serve.protocol.embeddings import CreateEmbeddings, render_embeddings

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"])


@router.post("")
async def create(body: CreateEmbeddings, ports: Ports, _caller: GeneratingCaller) -> JsonObject:
    """Embed one text or many."""
    ports.models.choose("text_encoder", body.model)
    texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)
    embeddings = await ports.text_encoder.encode(TextBatch(texts=texts))
    dim = embeddings.vectors.shape[1]
    if body.dimensions not in (None, dim):
        raise InvalidRequest(
            f"dimensions must be {dim}: this model's vectors cannot be shortened",
            param="dimensions",
        )
    return render_embeddings(embeddings, body.encoding_format)
