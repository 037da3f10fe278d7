"""``/v1/conversations``.

Source: https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from pydantic import Field

from serve.domain.records import Conversation, JsonObject
from serve.protocol.items import InputItem, Wire


class CreateConversation(Wire):
    """Body of ``POST /v1/conversations``."""

    items: list[InputItem] | None = Field(default=None, max_length=20)
    metadata: dict[str, str] | None = None


class UpdateConversation(Wire):
    """Body of ``POST /v1/conversations/{id}``."""

    metadata: dict[str, str] | None


class CreateItems(Wire):
    """Body of ``POST /v1/conversations/{id}/items``."""

    items: list[InputItem] = Field(min_length=1, max_length=20)


class RenameConversation(Wire):
    """Body of ``PATCH /api/v1/conversations/{id}``."""

    title: str = Field(min_length=1, max_length=200)


def render_conversation(conversation: Conversation) -> JsonObject:
    """The Conversation object."""
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "metadata": conversation.metadata,
    }
