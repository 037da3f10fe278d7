"""Answers with the pictures that their tools made.

A log and a row name assets; OpenAI's clients want a picture's bytes inside the item.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from serve.domain.errors import NotFound
from serve.domain.media import MediaKind
from serve.domain.messages import LogEntry, ToolAnswered
from serve.domain.records import Caller, Item, JsonObject, ResponseRecord
from serve.ingress.context import IngressPorts
from serve.ingress.streaming import Batches
from serve.protocol.responses import render_response
from serve.protocol.server_tools import IMAGE_GENERATION, names_in


async def render_whole(ports: IngressPorts, caller: Caller, record: ResponseRecord) -> JsonObject:
    """The Response object, pictures included."""
    if not _may_have_pictures(record):
        return render_response(record)
    items = [await _filled(ports, caller, item) for item in record.output_items]
    return render_response(replace(record, output_items=tuple(items)))


def with_pictures(
    ports: IngressPorts, caller: Caller, record: ResponseRecord, batches: Batches
) -> Batches:
    """The same log, with the bytes of every picture in it."""
    return _filling(ports, caller, batches) if _may_have_pictures(record) else batches


async def _filling(ports: IngressPorts, caller: Caller, batches: Batches) -> Batches:
    async with aclosing(batches):
        async for batch in batches:
            yield await _filled_batch(ports, caller, batch)


async def _filled_batch(
    ports: IngressPorts, caller: Caller, batch: Sequence[LogEntry]
) -> Sequence[LogEntry]:
    if not any(isinstance(entry.event, ToolAnswered) for entry in batch):
        return batch
    filled = []
    for entry in batch:
        event = entry.event
        if isinstance(event, ToolAnswered) and event.asset_id:
            content = await _content(ports, caller, event.asset_id)
            filled.append(LogEntry(entry.seq, replace(event, content_base64=content)))
        else:
            filled.append(entry)
    return filled


async def _filled(ports: IngressPorts, caller: Caller, item: Item) -> Item:
    asset_id = item.body.get("asset_id")
    if item.body.get("type") != "image_generation_call" or not asset_id:
        return item
    content = await _content(ports, caller, asset_id)
    return replace(item, body={**item.body, "result": content or None})


async def _content(ports: IngressPorts, caller: Caller, asset_id: str) -> str:
    """Base64 of a picture; nothing of other media, or when its owner has deleted it."""
    try:
        media = await ports.assets.get(caller, asset_id)
        if media.kind is not MediaKind.IMAGE:
            return ""
        return base64.b64encode(await ports.objects.get(media.storage_key)).decode()
    except NotFound:
        return ""


def _may_have_pictures(record: ResponseRecord) -> bool:
    return IMAGE_GENERATION in names_in(record.request.get("tools", []))
