"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
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
from serve.ingress.arriving import ArrivingFile, ArrivingRoute
from serve.ingress.authentication import GeneratingCaller
from serve.ingress.context import IngressPorts, Ports
from serve.ingress.pieces import Tell, ToldStream
from serve.ingress.streaming import named_frame
from serve.ingress.uploads import keep_upload
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
arriving = APIRouter(prefix="/v1/audio", tags=["audio"], route_class=ArrivingRoute)

_EVENTS = "text/event-stream"
# Between two segments there may be minutes of silence.
_HEARTBEAT = b": \n\n"


@arriving.post("/transcriptions")
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

    With ``stream``, each segment is sent as soon as it is heard; with ``stream`` before the file
    and the file as the last part, while the rest of it is still being sent.
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
    if isinstance(file, ArrivingFile):
        ports.models.choose("audio_encoder", model)
        work = partial(_hear_arriving, ports, caller, file, options)
        return ToldStream(_failing_aloud(work), _EVENTS, has_arrived=file.has_arrived)
    media = await _stored(ports, caller, file, model)
    heard = ports.perceiving.hear(media, options)
    if stream:
        return ToldStream(_failing_aloud(partial(_tell, heard)), _EVENTS)
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
    return await keep_upload(ports, caller, file, expect=MediaKind.AUDIO)


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


async def _hear_arriving(
    ports: IngressPorts,
    caller: Caller,
    file: ArrivingFile,
    options: TranscriptionOptions,
    tell: Tell,
) -> None:
    async with ports.intake.receiving(
        caller,
        file.pieces(),
        declared_mime_type=file.content_type,
        filename=file.filename or "",
    ) as recording:
        await _tell(ports.perceiving.hear_arriving(recording, options), tell)


async def _tell(heard: AsyncGenerator[Heard | MediaRef, None], tell: Tell) -> None:
    is_first = True
    async with aclosing(heard):
        async for step in heard:
            match step:
                case TranscriptSegment():
                    await tell(named_frame(render_delta(step.text.strip(), is_first=is_first)))
                    is_first = False
                case Progress():
                    await tell(_HEARTBEAT)
                case AudioPerception():
                    await tell(named_frame(render_done(step)))
                case MediaRef():
                    pass  # clients of OpenAI do not ask


def _failing_aloud(work: Callable[[Tell], Awaitable[None]]) -> Callable[[Tell], Awaitable[None]]:
    """Server-sent events. What fails behind the first is their last event."""

    async def told(tell: Tell) -> None:
        is_begun = False

        async def tell_first(frame: bytes) -> None:
            nonlocal is_begun
            is_begun = True
            await tell(frame)

        try:
            await work(tell_first)
        except PolymodalError as error:
            if not is_begun:
                raise
            await tell(named_frame({"type": "error", **render_error(error)}))

    return told
