"""``/api/v1/ws``: the browser's line. The same events as the HTTP stream, and the stages.

A response begun here goes on when the socket closes; the browser comes back and subscribes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, TypeAdapter, ValidationError

from serve.domain.errors import InvalidRequest, MalformedJson, PolymodalError
from serve.domain.records import Caller, JsonObject, ResponseRecord
from serve.ingress.answering import batches_of, prepare
from serve.ingress.authentication import limited, quota_subject, websocket_caller
from serve.ingress.context import IngressPorts, get_ports
from serve.ingress.errors import as_error, explain_validation
from serve.ingress.streaming import Batches, LineMessages
from serve.protocol.errors import render_error
from serve.protocol.events import ResponseEvents
from serve.protocol.items import Wire
from serve.protocol.responses import CreateResponse

router = APIRouter()

# RFC 6455 leaves 4000-4999 to applications; these mirror the HTTP statuses.
_CLOSE_UNAUTHENTICATED = 4401
_CLOSE_FORBIDDEN = 4403
_MAX_STREAMS = 32


class Create(Wire):
    """Ask. ``client_id`` comes back on every event, so that the page knows its own."""

    type: Literal["response.create"]
    client_id: str = Field(max_length=64)
    response: CreateResponse


class Subscribe(Wire):
    """Watch a response from an event on; ``starting_after`` -1 is the beginning."""

    type: Literal["response.subscribe"]
    response_id: str
    starting_after: int = -1


class Cancel(Wire):
    """Stop a response."""

    type: Literal["response.cancel"]
    response_id: str


class Ping(Wire):
    """Are you there?"""

    type: Literal["ping"]


ClientMessage = Create | Subscribe | Cancel | Ping
_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


@router.websocket("/api/v1/ws")
async def line(socket: WebSocket) -> None:
    """Serve one browser tab until it goes."""
    await socket.accept()
    try:
        caller = await websocket_caller(socket)
    except PolymodalError as error:
        await socket.send_text(orjson.dumps({"type": "error", **render_error(error)}).decode())
        denied = error.status == 403
        await socket.close(_CLOSE_FORBIDDEN if denied else _CLOSE_UNAUTHENTICATED)
        return
    with suppress(WebSocketDisconnect):
        await _Line(socket, get_ports(socket), caller).serve()


class _Line:
    """One open socket and the streams that run over it."""

    def __init__(self, socket: WebSocket, ports: IngressPorts, caller: Caller) -> None:
        self._socket = socket
        self._ports = ports
        self._caller = caller
        self._streams = asyncio.Semaphore(_MAX_STREAMS)

    async def serve(self) -> None:
        """Read messages; each is handled beside the others."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    text = await self._socket.receive_text()
                    group.create_task(self._handle(text))
        except* WebSocketDisconnect:
            pass

    async def _handle(self, text: str) -> None:
        client_id: str | None = None
        response_id: str | None = None
        try:
            message = _parse(text)
            client_id = message.client_id if isinstance(message, Create) else None
            response_id = message.response_id if isinstance(message, Subscribe | Cancel) else None
            await self._obey(message)
        except WebSocketDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the border: log, answer
            failure = {
                "type": "error",
                "client_id": client_id,
                "response_id": response_id,
                **render_error(as_error(error)),
            }
            await self._send(failure)

    async def _obey(self, message: ClientMessage) -> None:
        match message:
            case Ping():
                await self._send({"type": "pong"})
            case Create(client_id=client_id, response=body):
                ports = self._ports
                limit = ports.limits.requests_per_minute
                await limited(ports, quota_subject(self._caller), limit)
                ask = await prepare(ports, self._caller, body)
                run = await ports.runs.start(self._caller, ask)
                await self._stream(run.record, ports.runs.follow(run.record.id), client_id)
                # Raises what a refused run was refused with, which the page shows.
                await run.finished()
            case Subscribe(response_id=response_id, starting_after=after):
                record = await self._ports.responses.get(self._caller, response_id)
                await self._stream(record, batches_of(self._ports, record), None, after=after)
            case Cancel(response_id=response_id):
                await self._ports.runs.cancel(self._caller, response_id)

    async def _stream(
        self,
        record: ResponseRecord,
        batches: Batches,
        client_id: str | None,
        *,
        after: int = -1,
    ) -> None:
        messages = LineMessages(ResponseEvents(record), client_id, record.id, after=after)
        async with self._streams, aclosing(batches):
            await self._send_all(messages.opening())
            async for batch in batches:
                await self._send_all(messages.batch(batch))

    async def _send_all(self, texts: Sequence[str]) -> None:
        try:
            for text in texts:
                await self._socket.send({"type": "websocket.send", "text": text})
        except RuntimeError as exc:  # starlette's word for "the socket is closed"
            raise WebSocketDisconnect from exc

    async def _send(self, message: JsonObject) -> None:
        await self._send_all([orjson.dumps(message).decode()])


def _parse(text: str) -> ClientMessage:
    try:
        return _MESSAGE.validate_python(orjson.loads(text))
    except orjson.JSONDecodeError as exc:
        raise MalformedJson("the message is not valid JSON") from exc
    except ValidationError as exc:
        raise explain_validation([{**error} for error in exc.errors(include_url=False)]) from exc
    except RecursionError as exc:
        raise InvalidRequest("the message is nested too deeply") from exc
