"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve.domain.errors import EngineDead, InvalidRequest, PolymodalError
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    Heard,
    Progress,
    TranscriptionOptions,
    TranscriptSegment,
)
from serve.domain.records import Caller
from serve.ingress.authentication import GeneratingCaller
from serve.ingress.context import IngressPorts, Ports
from serve.ingress.pieces import PieceStream
from serve.ingress.streaming import named_frame
from serve.protocol.errors import render_error
from serve.protocol.subtitles import render_subtitles
from serve.protocol.transcriptions import (
    Granularity,
    TranscriptionFormat,
    render_delta,
    render_done,
    render_transcription,
    render_verbose_transcription,
    render_verbose_translation,
)

router = APIRouter(prefix="/v1/audio", tags=["audio"])

# Between two segments there may be minutes of silence.
_HEARTBEAT = b": \n\n"


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
    granularities: Annotated[tuple[Granularity, ...], Form(alias="timestamp_granularities[]")] = (),
    *,
    stream: Annotated[bool, Form()] = False,
) -> Response:
    """Write down what is said. The recording becomes an asset of the caller.

    With ``stream``, each segment is sent as soon as it is heard.
    """
    if granularities and response_format is not TranscriptionFormat.VERBOSE_JSON:
        raise InvalidRequest(
            "timestamp_granularities need response_format verbose_json",
            param="timestamp_granularities",
        )
    options = TranscriptionOptions(
        language=language,
        prompt=prompt,
        temperature=temperature,
        words="word" in granularities,
    )
    media = await _stored(ports, caller, file, model)
    heard = ports.perceiving.hear(media, options)
    if stream:
        return PieceStream(_frames(heard), "text/event-stream")
    whole = await _whole(heard)
    if response_format is TranscriptionFormat.VERBOSE_JSON:
        wanted: tuple[Granularity, ...] = granularities or ("segment",)
        return JSONResponse(render_verbose_transcription(whole, wanted))
    return _rendered(whole, response_format)


@router.post("/translations")
async def translate(
    ports: Ports,
    caller: GeneratingCaller,
    file: Annotated[UploadFile, File()],
    model: Annotated[str | None, Form()] = None,
    prompt: Annotated[str, Form(max_length=1000)] = "",
    response_format: Annotated[TranscriptionFormat, Form()] = TranscriptionFormat.JSON,
    temperature: Annotated[float, Form(ge=0, le=1)] = 0.0,
) -> Response:
    """Write down in English what is said in any language."""
    options = TranscriptionOptions(prompt=prompt, temperature=temperature, translate=True)
    media = await _stored(ports, caller, file, model)
    whole = await _whole(ports.perceiving.hear(media, options))
    if response_format is TranscriptionFormat.VERBOSE_JSON:
        return JSONResponse(render_verbose_translation(whole))
    return _rendered(whole, response_format)


async def _stored(
    ports: IngressPorts, caller: Caller, file: UploadFile, model: str | None
) -> MediaRef:
    ports.models.choose("audio_encoder", model)
    return await ports.intake.store(
        caller,
        await file.read(),
        declared_mime_type=file.content_type,
        filename=file.filename or "",
        expect=MediaKind.AUDIO,
    )


def _rendered(heard: AudioPerception, form: TranscriptionFormat) -> Response:
    match form:
        case TranscriptionFormat.TEXT:
            return PlainTextResponse(heard.transcript + "\n")
        case TranscriptionFormat.SRT:
            return PlainTextResponse(render_subtitles(heard.segments, "srt"))
        case TranscriptionFormat.VTT:
            return PlainTextResponse(render_subtitles(heard.segments, "vtt"))
        case _:
            return JSONResponse(render_transcription(heard))


async def _whole(heard: AsyncGenerator[Heard, None]) -> AudioPerception:
    async with aclosing(heard):
        async for step in heard:
            if isinstance(step, AudioPerception):
                return step
    raise EngineDead("the recording was not heard to its end; try again")


async def _frames(heard: AsyncGenerator[Heard, None]) -> AsyncGenerator[bytes, None]:
    """Server-sent events. What fails behind the first is their last event."""
    is_begun = False
    is_first = True
    try:
        async with aclosing(heard):
            async for step in heard:
                match step:
                    case TranscriptSegment():
                        yield named_frame(render_delta(step.text.strip(), is_first=is_first))
                        is_first = False
                    case Progress():
                        yield _HEARTBEAT
                    case AudioPerception():
                        yield named_frame(render_done(step))
                is_begun = True
    except PolymodalError as error:
        if not is_begun:
            raise
        yield named_frame({"type": "error", **render_error(error)})
