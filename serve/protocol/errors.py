"""The error body, the same everywhere: HTTP, SSE frames, WebSocket messages."""

from __future__ import annotations

from serve.domain.errors import PolymodalError
from serve.domain.records import JsonObject


def render_error(error: PolymodalError) -> JsonObject:
    """OpenAI's error envelope.

    Source: https://platform.openai.com/docs/guides/error-codes
    """
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
