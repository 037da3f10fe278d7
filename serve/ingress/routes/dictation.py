"""Sound in, its words out, over a WebSocket.

The client sends binary messages and, at the end, ``{"type": "stop"}``. To
``/api/v1/transcriptions/live`` they are a microphone's (signed 16-bit little-endian mono, 16 kHz);
it gets ``partial`` (the words of a stretch of speech so far), ``segment`` (a stretch that has
ended), ``done`` and ``error`` messages, and nothing is kept. To ``/api/v1/transcriptions/upload``
they are pieces of a file; it gets ``segment`` messages while it still sends, ``asset`` when all of
it is there, ``done`` and ``error``, and what was heard is remembered with the asset.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from serve.auth.policies import require_scope
from serve.domain.errors import InvalidRequest, PolymodalError
from serve.domain.media import MediaRef
from serve.domain.messages import (
    AudioPerception,
    Progress,
    Transcript,
    TranscriptionOptions,
    TranscriptSegment,
)
from serve.domain.records import Caller, JsonObject, Scope
from serve.ingress.arriving import IDLE_S
from serve.ingress.authentication import limited, quota_subject, websocket_caller
from serve.ingress.context import IngressPorts, get_ports
from serve.ingress.dictation import Dictation
from serve.ingress.errors import as_error
from serve.protocol.errors import render_error
from serve.protocol.native import AssetView

router = APIRouter()

# RFC 6455 leaves 4000-4999 to applications; these mirror the HTTP statuses.
_CLOSE_BASE = 4000
_CLOSE_NORMALLY = 1000


@router.websocket("/api/v1/transcriptions/live")
async def dictate(
    socket: WebSocket,
    language: Annotated[str | None, Query(pattern="^[a-z]{2,3}$")] = None,
    prompt: Annotated[str, Query(max_length=1000)] = "",
) -> None:
    """Write down one stream of sound."""
    options = TranscriptionOptions(language=language, prompt=prompt)
    await _served(socket, lambda ports, _caller: _Line(socket, ports, options).serve())


@router.websocket("/api/v1/transcriptions/upload")
async def upload(
    socket: WebSocket,
    language: Annotated[str | None, Query(pattern="^[a-z]{2,3}$")] = None,
    prompt: Annotated[str, Query(max_length=1000)] = "",
    filename: Annotated[str, Query(max_length=255)] = "",
    mime_type: Annotated[str | None, Query(max_length=255)] = None,
) -> None:
    """Write down a recording while it is being uploaded, and keep it."""
    options = TranscriptionOptions(language=language, prompt=prompt)
    await _served(
        socket,
        lambda ports, caller: _Upload(socket, ports, caller, options).serve(filename, mime_type),
    )


async def _served(
    socket: WebSocket, serve: Callable[[IngressPorts, Caller], Awaitable[None]]
) -> None:
    await socket.accept()
    is_gone = False
    error: PolymodalError | None = None
    try:
        ports = get_ports(socket)
        await serve(ports, await _admitted(socket, ports))
    except* WebSocketDisconnect:
        is_gone = True
    except* Exception as failed:  # noqa: BLE001 - the border: log, answer
        error = as_error(_first(failed))
    if is_gone:
        return
    with suppress(WebSocketDisconnect):
        if error is None:
            await socket.close(_CLOSE_NORMALLY)
        else:
            await _send(socket, {"type": "error", **render_error(error)})
            await socket.close(_CLOSE_BASE + error.status)


async def _admitted(socket: WebSocket, ports: IngressPorts) -> Caller:
    caller = await _caller(socket, ports)
    require_scope(caller, Scope.GENERATE)
    await limited(ports, quota_subject(caller), ports.limits.requests_per_minute)
    return caller


async def _caller(socket: WebSocket, ports: IngressPorts) -> Caller:
    scheme, _, secret = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await ports.credentials.caller(secret.strip())
    return await websocket_caller(socket)


def _first(failed: BaseExceptionGroup[Exception]) -> Exception:
    """What went wrong first; groups within groups come from tasks."""
    error = failed.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


class _Line:
    """One open socket."""

    def __init__(
        self, socket: WebSocket, ports: IngressPorts, options: TranscriptionOptions
    ) -> None:
        self._socket = socket
        self._ports = ports
        self._options = options
        self._texts: list[str] = []

    async def serve(self) -> None:
        """Until the client stops or leaves."""
        listener = self._ports.voice_detector.listen()
        async with asyncio.TaskGroup() as group:
            dictation = Dictation(
                group, listener, self._transcribe, self._tell_partial, self._tell_segment
            )
            while (pcm := await _sent(self._socket)) is not None:
                await dictation.hear(pcm)
            await dictation.finish()
        await _send(self._socket, _done(" ".join(self._texts), dictation.duration_s))

    async def _transcribe(self, pcm: bytes) -> Transcript:
        return await self._ports.transcriber.transcribe(pcm, self._options)

    async def _tell_partial(self, start_s: float, text: str) -> None:
        await _send(self._socket, {"type": "partial", "start_s": start_s, "text": text})

    async def _tell_segment(self, segment: TranscriptSegment) -> None:
        self._texts.append(segment.text)
        await _send(self._socket, _segment(segment))


class _Upload:
    """One open socket, over which a file comes."""

    def __init__(
        self,
        socket: WebSocket,
        ports: IngressPorts,
        caller: Caller,
        options: TranscriptionOptions,
    ) -> None:
        self._socket = socket
        self._ports = ports
        self._caller = caller
        self._options = options
        self._has_arrived = asyncio.Event()

    async def serve(self, filename: str, mime_type: str | None) -> None:
        """Until everything is heard or the client leaves."""
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch())
            await self._hear(filename, mime_type)
            watcher.cancel()

    async def _hear(self, filename: str, mime_type: str | None) -> None:
        async with (
            self._ports.intake.receiving(
                self._caller, self._pieces(), declared_mime_type=mime_type, filename=filename
            ) as recording,
            aclosing(self._ports.perceiving.hear_arriving(recording, self._options)) as steps,
        ):
            async for step in steps:
                match step:
                    case TranscriptSegment():
                        await _send(self._socket, _segment(step))
                    case MediaRef():
                        asset = AssetView.of(step).model_dump(mode="json")
                        await _send(self._socket, {"type": "asset", "asset": asset})
                    case AudioPerception():
                        await _send(self._socket, _done(step.transcript, step.duration_s))
                    case Progress():
                        pass

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    piece = await _sent(self._socket)
            except TimeoutError as exc:
                raise InvalidRequest(f"nothing of the file has come for {IDLE_S:g} s") from exc
            if piece is None:
                break
            yield piece
        self._has_arrived.set()

    async def _watch(self) -> None:
        """What is done for a client ends when the client leaves."""
        await self._has_arrived.wait()
        while True:
            await _sent(self._socket)


async def _sent(socket: WebSocket) -> bytes | None:
    """The next binary message; None when the client has no more."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    if message.get("bytes") is not None:
        content: bytes = message["bytes"]
        return content
    with suppress(orjson.JSONDecodeError):
        if orjson.loads(message.get("text") or "") == {"type": "stop"}:
            return None
    raise InvalidRequest('send sound in binary messages, and {"type": "stop"} at the end')


def _segment(segment: TranscriptSegment) -> JsonObject:
    return {
        "type": "segment",
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "text": segment.text,
    }


def _done(text: str, duration_s: float) -> JsonObject:
    return {"type": "done", "text": text, "duration_s": round(duration_s, 3)}


async def _send(socket: WebSocket, message: JsonObject) -> None:
    try:
        await socket.send_text(orjson.dumps(message).decode())
    except RuntimeError as exc:  # starlette's word for "the socket is closed"
        raise WebSocketDisconnect from exc
