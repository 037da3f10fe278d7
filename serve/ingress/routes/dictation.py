"""``/api/v1/transcriptions/live``: a microphone in, its words out.

The client sends binary messages of sound (signed 16-bit little-endian mono, 16 kHz) and, at the
end, ``{"type": "stop"}``. It gets ``partial`` (the words of a stretch of speech so far),
``segment`` (a stretch that has ended), ``done`` and ``error`` messages. Nothing is kept.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from serve.auth.policies import require_scope
from serve.domain.errors import InvalidRequest, PolymodalError
from serve.domain.messages import Transcript, TranscriptionOptions, TranscriptSegment
from serve.domain.records import Caller, JsonObject, Scope
from serve.ingress.authentication import limited, quota_subject, websocket_caller
from serve.ingress.context import IngressPorts, get_ports
from serve.ingress.dictation import Dictation
from serve.ingress.errors import as_error
from serve.protocol.errors import render_error

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
    await socket.accept()
    options = TranscriptionOptions(language=language, prompt=prompt)
    is_gone = False
    error: PolymodalError | None = None
    try:
        ports = get_ports(socket)
        await _admit(socket, ports)
        await _Line(socket, ports, options).serve()
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


async def _admit(socket: WebSocket, ports: IngressPorts) -> None:
    caller = await _caller(socket, ports)
    require_scope(caller, Scope.GENERATE)
    await limited(ports, quota_subject(caller), ports.limits.requests_per_minute)


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
            while (pcm := await self._sound()) is not None:
                await dictation.hear(pcm)
            await dictation.finish()
        done = {
            "type": "done",
            "text": " ".join(self._texts),
            "duration_s": round(dictation.duration_s, 3),
        }
        await _send(self._socket, done)

    async def _sound(self) -> bytes | None:
        """The next sound; None when the client has no more."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        if message.get("bytes") is not None:
            pcm: bytes = message["bytes"]
            return pcm
        with suppress(orjson.JSONDecodeError):
            if orjson.loads(message.get("text") or "") == {"type": "stop"}:
                return None
        raise InvalidRequest('send sound in binary messages, and {"type": "stop"} at the end')

    async def _transcribe(self, pcm: bytes) -> Transcript:
        return await self._ports.transcriber.transcribe(pcm, self._options)

    async def _tell_partial(self, start_s: float, text: str) -> None:
        await _send(self._socket, {"type": "partial", "start_s": start_s, "text": text})

    async def _tell_segment(self, segment: TranscriptSegment) -> None:
        self._texts.append(segment.text)
        told = {
            "type": "segment",
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "text": segment.text,
        }
        await _send(self._socket, told)


async def _send(socket: WebSocket, message: JsonObject) -> None:
    try:
        await socket.send_text(orjson.dumps(message).decode())
    except RuntimeError as exc:  # starlette's word for "the socket is closed"
        raise WebSocketDisconnect from exc
