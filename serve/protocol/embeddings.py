"""``/v1/embeddings``.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
from typing import Literal

from pydantic import Field

from serve.domain.messages import Embeddings
from serve.domain.records import JsonObject
from serve.protocol.items import Wire


class CreateEmbeddings(Wire):
    """Body of ``POST /v1/embeddings``. Token arrays are not taken: send text."""

    input: str | list[str] = Field(max_length=2048)
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


def render_embeddings(
    embeddings: Embeddings, encoding_format: Literal["float", "base64"]
) -> JsonObject:
    """The list of embeddings; base64 is little-endian float32."""
    rows = [
        base64.b64encode(row.astype("<f4").tobytes()).decode()
        if encoding_format == "base64"
        else row.tolist()
        for row in embeddings.vectors
    ]
    return {
        "object": "list",
        "model": embeddings.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": embeddings.n_tokens, "total_tokens": embeddings.n_tokens},
    }
