"""``/v1/audio/speech``, and which voices there are."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from serve.domain.messages import SpeechRequest
from serve.domain.records import JsonObject
from serve.domain.voices import choose_voice
from serve.ingress.authentication import GeneratingCaller, Reader
from serve.ingress.context import Ports
from serve.ingress.pieces import PieceStream
from serve.ingress.sounding import encoded, framed
from serve.protocol.speech import CreateSpeech, render_voices, voice_name

router = APIRouter(tags=["audio"])


@router.post("/v1/audio/speech")
async def create(body: CreateSpeech, ports: Ports, _caller: GeneratingCaller) -> Response:
    """Say a text. The sound streams while later sentences are still being made."""
    model = ports.models.choose("speech_generator", body.model)
    voice = choose_voice(model.voices, voice_name(body.voice))
    await ports.moderation.check_text(body.input, param="input")
    request = SpeechRequest(text=body.input, model=model.name, voice=voice.name, speed=body.speed)
    sentences = ports.speech.speak(request)
    if body.stream_format == "sse":
        pieces = framed(sentences, body.response_format, body.input)
        return PieceStream(pieces, "text/event-stream")
    return PieceStream(encoded(sentences, body.response_format), body.response_format.mime_type)


@router.get("/api/v1/voices")
async def voices(ports: Ports, _caller: Reader) -> JsonObject:
    """Every voice of every model here, with the other names that it answers to."""
    return render_voices(ports.models)
