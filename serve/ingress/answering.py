"""From a parsed body to a running response: the steps that every door shares."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from starlette.requests import Request

from serve.domain.admission import TokenRoom
from serve.domain.asks import Ask, Run
from serve.domain.errors import Conflict, InvalidRequest, NotFound, PolymodalError, error_of
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import LogEntry
from serve.domain.records import Caller, Item, ResponseRecord, ResponseStatus
from serve.ingress.context import Header, IngressPorts
from serve.ingress.idempotency import Promise, current_promise
from serve.ingress.judging import check_brought
from serve.ingress.streaming import Batches, replay
from serve.media.intake import MediaSource
from serve.observability.tracing import RequestTrace
from serve.protocol.events import settled_record
from serve.protocol.items import (
    InputAudio,
    InputFile,
    InputImage,
    InputItem,
    MediaPart,
    as_items,
    item_texts,
    kept_items,
    media_parts,
)
from serve.protocol.responses import CreateResponse, demand_of, to_ask

# More would let one request hold every decoder; nobody attaches more to one turn.
_MAX_MEDIA_AT_ONCE = 4
# A film sent as pictures is better sent as a film.
_MAX_MEDIA = 256


async def begin(
    ports: IngressPorts, caller: Caller, body: CreateResponse, headers: list[Header]
) -> Run:
    """The response that the body asks for: a new one, or the one made under the same key before.

    ``headers`` gets what the reply is to tell about admission.
    """
    promise = current_promise()
    if promise is None:
        ask = await prepare(ports, caller, body, headers=headers)
        return await ports.runs.start(caller, ask)
    earlier = await _made_before(ports, caller, promise) if promise.may_exist else None
    if earlier is not None:
        return earlier
    ask = await prepare(ports, caller, body, headers=headers)
    return await ports.runs.start(caller, replace(ask, response_id=promise.response_id))


async def _made_before(ports: IngressPorts, caller: Caller, promise: Promise) -> AttachedRun | None:
    """What was promised; None when it never will be there, and another response is promised now.

    Raises ``Conflict`` when somebody else made it, and it is not there any more.
    """
    record = promise.joined or await _known(ports, caller, promise.response_id)
    if promise.may_make and (record is None or record.status is ResponseStatus.FAILED):
        if await promise.renew():
            return None
        # Committed while we looked, by an attempt that was believed dead.
        record = await _known(ports, caller, promise.response_id)
    if record is None:
        raise Conflict("this request was carried out before, but its answer is not kept any more")
    return AttachedRun(record, caller, ports)


async def _known(ports: IngressPorts, caller: Caller, response_id: str) -> ResponseRecord | None:
    try:
        return await ports.responses.get(caller, response_id)
    except NotFound:
        return None


async def prepare(
    ports: IngressPorts,
    caller: Caller,
    body: CreateResponse,
    *,
    headers: list[Header] | None = None,
) -> Ask:
    """Check the model and the parameters, admit, then store the media: refusals cost nothing.

    The ask holds its ticket. Raises ``RateLimited`` or ``Overloaded`` before any work.
    """
    model = ports.models.choose("generator", body.model).name
    items = as_items(body.input)
    _check_media(items)
    if ports.moderation.covers_responses:
        asked = "\n".join(text for item in items for text in item_texts(item))
        await ports.moderation.check_text(asked, param="input")
    draft = replace(to_ask(body, model=model, items=()), demand=demand_of(body, items))
    try:
        ticket = ports.admission.admit(caller, draft)
    finally:
        if headers is not None:
            headers.extend(_room_headers(ports.admission.room(model)))
    clock = RequestTrace()
    try:
        with clock.span("store", "Ingress") as attributes:
            kept = await keep_items(ports, caller, items)
            attributes["media"] = len(media_parts(items))
    except BaseException:
        ticket.release()
        raise
    return replace(draft, input_items=kept, clock=clock, ticket=ticket)


def _check_media(items: Sequence[InputItem]) -> None:
    n_media = len(media_parts(items))
    if n_media > _MAX_MEDIA:
        raise InvalidRequest(
            f"the input has {n_media} pictures and files; the limit is {_MAX_MEDIA}",
            param="input",
            limit=_MAX_MEDIA,
            got=n_media,
        )


def _room_headers(room: TokenRoom | None) -> tuple[Header, ...]:
    """How many tokens the generators have room for, in OpenAI's words."""
    if room is None:
        return ()
    return (
        (b"x-ratelimit-limit-tokens", b"%d" % room.limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % room.remaining),
        (b"x-ratelimit-reset-tokens", b"%.0fs" % room.reset_s),
    )


async def keep_items(
    ports: IngressPorts, caller: Caller, items: Sequence[InputItem]
) -> tuple[Item, ...]:
    """Store what media the items bring, if they may be, and give the items their kept shape."""
    gate = asyncio.Semaphore(_MAX_MEDIA_AT_ONCE)

    async def resolve(part: MediaPart) -> MediaRef:
        async with gate:
            return await ports.intake.resolve(caller, _source(part))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(resolve(part)) for part in media_parts(items)]
    except* PolymodalError as failed:
        raise failed.exceptions[0] from None
    media = [task.result() for task in tasks]
    if ports.moderation.covers_responses:
        await check_brought(ports, media, param="input")
    return kept_items(items, media)


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


async def wait_for_answer(run: Run, request: Request) -> ResponseRecord:
    """The final record; a client that leaves meanwhile stops the run.

    Raises what the run was refused or failed with.
    """
    loop = asyncio.get_running_loop()
    leaving = loop.create_task(_left(request))
    leaving.add_done_callback(lambda done: None if done.cancelled() else run.abandon())
    try:
        return await run.finished()
    except asyncio.CancelledError:
        run.abandon()
        raise
    finally:
        leaving.cancel()


async def _left(request: Request) -> None:
    """Return when the client has gone. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True, slots=True)
class AttachedRun:
    """``domain.asks.Run`` of what another request asked for: leaving does not stop it."""

    record: ResponseRecord
    caller: Caller
    ports: IngressPorts

    async def finished(self) -> ResponseRecord:
        """See ``Run``."""
        final = self.record if self.record.status.is_final else await self._followed()
        if final.status is ResponseStatus.FAILED:
            raise error_of(final.error_code or "", final.error_message or "")
        return final

    async def _followed(self) -> ResponseRecord:
        entries: list[LogEntry] = []
        async with aclosing(self.ports.runs.follow(self.record.id)) as batches:
            async for batch in batches:
                entries.extend(batch)
        try:
            return await self.ports.responses.get(self.caller, self.record.id)
        except NotFound:
            # Not stored: the log is all there is.
            return settled_record(self.record, (entry.event for entry in entries))

    def abandon(self) -> None:
        """See ``Run``."""


def batches_of(ports: IngressPorts, record: ResponseRecord) -> Batches:
    """A response's log, wherever it is now."""
    if record.status.is_final:
        return replay(record.log)
    return ports.runs.follow(record.id)
