"""``/v1/responses``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from serve.domain.errors import InvalidRequest
from serve.domain.records import JsonObject
from serve.ingress.answering import batches_of, begin, wait_for_answer
from serve.ingress.authentication import GeneratingCaller, Reader
from serve.ingress.context import Ports, reply_headers
from serve.ingress.outputs import render_whole, with_pictures
from serve.ingress.streaming import EventStream, ResponseFrames
from serve.protocol.events import ResponseEvents
from serve.protocol.responses import CreateResponse, render_items, render_response

router = APIRouter(prefix="/v1/responses", tags=["responses"])


@router.post("")
async def create(
    body: CreateResponse, request: Request, ports: Ports, caller: GeneratingCaller
) -> Response:
    """Answer, as a stream of events or whole."""
    run = await begin(ports, caller, body, reply_headers(request.scope))
    if not body.stream:
        if body.background:
            return JSONResponse(render_response(run.record))
        final = await wait_for_answer(run, request)
        return JSONResponse(await render_whole(ports, caller, final))
    frames = ResponseFrames(ResponseEvents(run.record))
    batches = with_pictures(ports, caller, run.record, batches_of(ports, run.record))
    return EventStream(batches, frames, run=None if body.background else run)


@router.get("/{response_id}")
async def retrieve(
    response_id: str,
    ports: Ports,
    caller: Reader,
    *,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1)] = -1,
) -> Response:
    """The response as it is, or its events from any point on."""
    record = await ports.responses.get(caller, response_id)
    if stream:
        frames = ResponseFrames(ResponseEvents(record), after=starting_after)
        batches = with_pictures(ports, caller, record, batches_of(ports, record))
        return EventStream(batches, frames)
    return JSONResponse(await render_whole(ports, caller, record))


@router.post("/{response_id}/cancel")
async def cancel(response_id: str, ports: Ports, caller: GeneratingCaller) -> JSONResponse:
    """Stop a background response."""
    cancelled = await ports.runs.cancel(caller, response_id)
    return JSONResponse(await render_whole(ports, caller, cancelled))


@router.delete("/{response_id}")
async def delete(response_id: str, ports: Ports, caller: GeneratingCaller) -> JsonObject:
    """Forget a response."""
    record = await ports.responses.get(caller, response_id)
    if not record.status.is_final:
        await ports.runs.cancel(caller, response_id)
    await ports.responses.delete(caller, response_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.get("/{response_id}/input_items")
async def input_items(
    response_id: str,
    ports: Ports,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: str = "desc",
    after: str | None = None,
) -> JsonObject:
    """What this response was asked, newest first unless told otherwise."""
    if order not in ("asc", "desc"):
        raise InvalidRequest("order is 'asc' or 'desc'", param="order")
    items = list((await ports.responses.get(caller, response_id)).input_items)
    if order == "desc":
        items.reverse()
    if after is not None:
        seen = [item.id for item in items]
        items = items[seen.index(after) + 1 :] if after in seen else []
    return render_items(items[:limit], has_more=len(items) > limit)
