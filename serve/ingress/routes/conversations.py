"""``/v1/conversations`` and what the sidebar needs of them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from serve.domain.records import JsonObject, Page
from serve.ingress.answering import keep_items
from serve.ingress.authentication import GeneratingCaller, Reader
from serve.ingress.context import Ports
from serve.protocol.conversations import (
    CreateConversation,
    CreateItems,
    RenameConversation,
    UpdateConversation,
    render_conversation,
)
from serve.protocol.native import ActiveResponse, ConversationPage, ConversationView
from serve.protocol.responses import render_item, render_items

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])
native = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])

Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("")
async def create(
    ports: Ports, caller: GeneratingCaller, body: CreateConversation | None = None
) -> JsonObject:
    """Begin a conversation, empty or with items."""
    body = body or CreateConversation()
    items = await keep_items(ports, caller, body.items or [])
    return render_conversation(
        await ports.conversations.create(
            caller, title="", metadata=dict(body.metadata or {}), items=items
        )
    )


@router.get("/{conversation_id}")
async def retrieve(conversation_id: str, ports: Ports, caller: Reader) -> JsonObject:
    """One conversation."""
    return render_conversation(await ports.conversations.get(caller, conversation_id))


@router.post("/{conversation_id}")
async def update(
    conversation_id: str, body: UpdateConversation, ports: Ports, caller: GeneratingCaller
) -> JsonObject:
    """Replace the metadata."""
    return render_conversation(
        await ports.conversations.update(
            caller, conversation_id, title=None, metadata=dict(body.metadata or {})
        )
    )


@router.delete("/{conversation_id}")
async def delete(conversation_id: str, ports: Ports, caller: GeneratingCaller) -> JsonObject:
    """Forget a conversation and its items; a response still being made is stopped first."""
    active = await ports.responses.active(caller, conversation_id)
    if active is not None:
        await ports.runs.cancel(caller, active)
    await ports.conversations.delete(caller, conversation_id)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@router.get("/{conversation_id}/items")
async def items(
    conversation_id: str,
    ports: Ports,
    caller: Reader,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> JsonObject:
    """Items, newest first unless told otherwise."""
    page = Page(limit=limit + 1, after=after, newest_first=order == "desc")
    found = await ports.conversations.items(caller, conversation_id, page)
    return render_items(found[:limit], has_more=len(found) > limit)


@router.post("/{conversation_id}/items")
async def add_items(
    conversation_id: str, body: CreateItems, ports: Ports, caller: GeneratingCaller
) -> JsonObject:
    """Append items without asking for an answer."""
    kept = await keep_items(ports, caller, body.items)
    await ports.conversations.add_items(caller, conversation_id, kept)
    return render_items(kept, has_more=False)


@router.get("/{conversation_id}/items/{item_id}")
async def item(conversation_id: str, item_id: str, ports: Ports, caller: Reader) -> JsonObject:
    """One item."""
    return render_item(await ports.conversations.get_item(caller, conversation_id, item_id))


@router.delete("/{conversation_id}/items/{item_id}")
async def delete_item(
    conversation_id: str, item_id: str, ports: Ports, caller: GeneratingCaller
) -> JsonObject:
    """Forget one item."""
    await ports.conversations.delete_item(caller, conversation_id, item_id)
    return render_conversation(await ports.conversations.get(caller, conversation_id))


@native.get("")
async def list_conversations(
    ports: Ports, caller: Reader, limit: Limit = 50, after: str | None = None
) -> ConversationPage:
    """The caller's conversations, last used first."""
    found = await ports.conversations.list(caller, Page(limit=limit + 1, after=after))
    page = found[:limit]
    return ConversationPage(
        data=[ConversationView.of(conversation) for conversation in page],
        has_more=len(found) > limit,
        last_id=page[-1].id if page else None,
    )


@native.patch("/{conversation_id}")
async def rename(
    conversation_id: str, body: RenameConversation, ports: Ports, caller: GeneratingCaller
) -> ConversationView:
    """Give a conversation another title."""
    return ConversationView.of(
        await ports.conversations.update(caller, conversation_id, title=body.title, metadata=None)
    )


@native.get("/{conversation_id}/active")
async def active(conversation_id: str, ports: Ports, caller: Reader) -> ActiveResponse:
    """The response being made in this conversation, for a page that was reloaded."""
    return ActiveResponse(response_id=await ports.responses.active(caller, conversation_id))
