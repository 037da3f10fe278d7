"""``/v1/audio/transcriptions``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve.domain.errors import InvalidRequest
from serve.domain.media import MediaKind
from serve.domain.messages import AudioPerception, TranscriptionOptions
from serve.ingress.authentication import GeneratingCaller
from serve.ingress.context import Ports
from serve.ingress.streaming import SSE_HEADERS, named_frame
from serve.protocol.transcriptions import (
    TranscriptionFormat,
    render_subtitles,
    render_transcription,
    render_verbose_transcription,
)

router = APIRouter(prefix="/v1/audio", tags=["audio"])


@router.post("/transcriptions")
async def create(
    ports: Ports,
    caller: GeneratingCaller,
    file: Annotated[UploadFile, File()],
    model: Annotated[str | None, Form()] = None,
    language: Annotated[str | None, Form(pattern="^[a-z]{2,3}$")] = None,
    prompt: Annotated[str, Form(max_length=1000)] = "",
    response_format: Annotated[TranscriptionFormat, Form()] = TranscriptionFormat.JSON,
    temperature: Annotated[float, Form(ge=0, le=1)] = 0.0,
    *,
    stream: Annotated[bool, Form()] = False,
) -> Response:
    """Write down what is said. The recording becomes an asset of the caller."""
    ports.models.choose("audio_encoder", model)
    media = await ports.intake.store(
        caller,
        await file.read(),
        declared_mime_type=file.content_type,
        filename=file.filename or "",
        expect=MediaKind.AUDIO,
    )
    options = TranscriptionOptions(language=language, prompt=prompt, temperature=temperature)
    heard = (await ports.perceiving.perceive(media, options)).perception
    if not isinstance(heard, AudioPerception):
        raise InvalidRequest("this file has no sound", param="file")
    if stream:
        frames = b"".join(_frames(heard))
        return Response(frames, media_type="text/event-stream", headers=SSE_HEADERS)
    match response_format:
        case TranscriptionFormat.JSON:
            return JSONResponse(render_transcription(heard))
        case TranscriptionFormat.VERBOSE_JSON:
            return JSONResponse(render_verbose_transcription(heard))
        case TranscriptionFormat.TEXT:
            return PlainTextResponse(heard.transcript + "\n")
        case TranscriptionFormat.SRT | TranscriptionFormat.VTT:
            return PlainTextResponse(render_subtitles(heard, response_format))


def _frames(heard: AudioPerception) -> Iterator[bytes]:
    for index, segment in enumerate(heard.segments):
        delta = segment.text.strip() if index == 0 else " " + segment.text.strip()
        yield named_frame({"type": "transcript.text.delta", "delta": delta})
    yield named_frame({"type": "transcript.text.done", "text": heard.transcript})
