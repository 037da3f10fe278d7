"""From a parsed body to a running response: the steps that every door shares."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from serve.domain.asks import Ask, Run
from serve.domain.errors import PolymodalError
from serve.domain.media import MediaKind, MediaRef
from serve.domain.records import Caller, Item, ResponseRecord
from serve.ingress.context import IngressPorts
from serve.media.intake import MediaSource
from serve.observability.tracing import RequestTrace
from serve.protocol.items import (
    InputAudio,
    InputFile,
    InputImage,
    InputItem,
    MediaPart,
    as_items,
    kept_items,
    media_parts,
)
from serve.protocol.responses import CreateResponse, to_ask

# More would let one request hold every decoder; nobody attaches more to one turn.
_MAX_MEDIA_AT_ONCE = 4


async def prepare(ports: IngressPorts, caller: Caller, body: CreateResponse) -> Ask:
    """Check the model and the parameters first, then store the media: refusals cost nothing."""
    model = ports.models.choose("generator", body.model).name
    items = as_items(body.input)
    to_ask(body, model=model, items=())
    clock = RequestTrace()
    with clock.span("store", "Ingress") as attributes:
        kept = await keep_items(ports, caller, items)
        attributes["media"] = len(media_parts(items))
    return to_ask(body, model=model, items=kept, clock=clock)


async def keep_items(
    ports: IngressPorts, caller: Caller, items: Sequence[InputItem]
) -> tuple[Item, ...]:
    """Store what media the items bring and give the items their kept shape."""
    gate = asyncio.Semaphore(_MAX_MEDIA_AT_ONCE)

    async def resolve(part: MediaPart) -> MediaRef:
        async with gate:
            return await ports.intake.resolve(caller, _source(part))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(resolve(part)) for part in media_parts(items)]
    except* PolymodalError as failed:
        raise failed.exceptions[0] from None
    return kept_items(items, [task.result() for task in tasks])


def _source(part: MediaPart) -> MediaSource:
    match part:
        case InputImage():
            return MediaSource(
                asset_id=part.file_id,
                url=part.image_url,
                expect=MediaKind.IMAGE,
                param="input.image_url",
            )
        case InputAudio():
            inline = part.input_audio.data if part.input_audio else ""
            is_url = inline[:5].lower() == "data:"
            return MediaSource(
                asset_id=part.file_id,
                url=inline if is_url else None,
                base64=None if is_url or not inline else inline,
                expect=MediaKind.AUDIO,
                param="input.input_audio",
            )
        case InputFile():
            inline = part.file_data or ""
            is_url = inline[:5].lower() == "data:"
            return MediaSource(
                asset_id=part.file_id,
                url=part.file_url or (inline if is_url else None),
                base64=None if is_url or not inline else inline,
                filename=part.filename or "",
                param="input.file_data",
            )


async def wait_for_answer(run: Run) -> ResponseRecord:
    """The final record; a client that leaves meanwhile stops the run."""
    try:
        return await run.finished()
    except asyncio.CancelledError:
        run.abandon()
        raise
