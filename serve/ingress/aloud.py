"""Answers that are spoken: Chat Completions with the modality ``audio``.

Each sentence is said as soon as it is written, while the model writes the next one.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.domain.asks import Run
from serve.domain.errors import InvalidRequest, PolymodalError
from serve.domain.making import making_of_speech
from serve.domain.media import MediaRef
from serve.domain.messages import (
    Failed,
    Finished,
    LogEntry,
    SpeechRequest,
    TextDelta,
)
from serve.domain.records import Caller, JsonObject
from serve.domain.sentences import SentenceStream
from serve.domain.voices import AudioFormat, choose_voice
from serve.ingress.context import IngressPorts
from serve.ingress.errors import as_error
from serve.ingress.leaving import ClientLeft, client_left
from serve.ingress.streaming import SSE_HEADERS, Batches, nameless_frame
from serve.media.audio_writers import speech_of
from serve.protocol.chat import ChatChunks, ChatMessageIn, CreateChatCompletion, SpokenAnswer
from serve.protocol.errors import render_error
from serve.protocol.speech import voice_name

# Assets stay until their owner deletes them; clients want a time: the year 2100.
_EXPIRES_AT: Final = 4_102_444_800
_DONE: Final = b"data: [DONE]\n\n"


async def with_words(
    ports: IngressPorts, caller: Caller, body: CreateChatCompletion
) -> CreateChatCompletion:
    """The body with what was spoken earlier in words. Raises ``NotFound``, ``InvalidRequest``."""
    if not any(message.audio for message in body.messages):
        return body
    messages = [await _worded(ports, caller, message) for message in body.messages]
    return body.model_copy(update={"messages": messages})


async def _worded(ports: IngressPorts, caller: Caller, message: ChatMessageIn) -> ChatMessageIn:
    if message.audio is None or message.content:
        return message
    media = await ports.assets.get(caller, message.audio.id)
    text = media.making.recipe.get("text") if media.making else None
    if not isinstance(text, str):
        raise InvalidRequest(f"{media.asset_id} is not a spoken answer", param="messages.audio")
    return message.model_copy(update={"content": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Says an answer to somebody with one voice. ``request`` lacks the text."""

    ports: IngressPorts
    caller: Caller
    form: AudioFormat
    request: SpeechRequest

    async def say(self, sentence: str, sound: bytearray) -> tuple[bytes, int]:
        """PCM of one sentence, added to ``sound``, and samples per second."""
        said, rate_hz = bytearray(), 0
        async with aclosing(
            self.ports.speech.speak(replace(self.request, text=sentence))
        ) as sentences:
            async for each in sentences:
                said += each.pcm
                rate_hz = each.sample_rate_hz
        sound += said
        return bytes(said), rate_hz

    async def say_all(self, text: str, response_id: str) -> JsonObject | None:
        """The whole answer as ``message.audio``; None when there is nothing to say."""
        stream = SentenceStream()
        sound, rate_hz = bytearray(), 0
        for sentence in [*stream.push(text), *stream.rest()]:
            _, rate_hz = await self.say(sentence, sound)
        if not sound:
            return None
        media = await self.keep(bytes(sound), rate_hz, text, response_id)
        content = bytes(sound)
        if self.form is not AudioFormat.PCM:
            content = await self.ports.objects.get(media.storage_key)
        return {
            "id": media.asset_id,
            "data": base64.b64encode(content).decode(),
            "transcript": text,
            "expires_at": _EXPIRES_AT,
        }

    async def keep(self, pcm: bytes, rate_hz: int, text: str, response_id: str) -> MediaRef:
        """Make an asset of what was said; bare samples become a WAV."""
        form = AudioFormat.WAV if self.form is AudioFormat.PCM else self.form
        media = await speech_of(form, pcm, rate_hz)
        making = making_of_speech(replace(self.request, text=text), response_id=response_id)
        return await self.ports.intake.keep_made(
            self.caller, media, making, filename=f"answer.{form.value}"
        )


def speaker(ports: IngressPorts, caller: Caller, aloud: SpokenAnswer) -> Speaker:
    """Who speaks. Raises ``InvalidRequest`` for a voice that is not there."""
    wanted = voice_name(aloud.voice)
    model = ports.models.voiced(wanted)
    voice = choose_voice(model.voices, wanted, param="audio.voice")
    request = SpeechRequest(text="", model=model.name, voice=voice.name)
    return Speaker(ports=ports, caller=caller, form=aloud.audio_format, request=request)


class SpokenChat(Response):
    """Chunks with transcript and sound, for one client; when it leaves, run and voice stop.

    The status waits for the first word, so a refusal has its own. The id of the kept sound comes
    last, since the sound is kept when it is whole.
    """

    media_type = "text/event-stream"

    def __init__(self, run: Run, batches: Batches, chunks: ChatChunks, speaking: Speaker) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(SSE_HEADERS)
        self._run = run
        self._batches = batches
        self._chunks = chunks
        self._speaker = speaking
        self._is_open = False
        self._text = ""
        self._sound = bytearray()
        self._rate_hz = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until the answer is said or the client leaves."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(client_left(receive))
                group.create_task(self._answer(send, watcher))
        except* ClientLeft:
            self._run.abandon()
        except* PolymodalError as refused:
            self._run.abandon()
            raise refused.exceptions[0] from None

    async def _answer(self, send: Send, watcher: asyncio.Task[None]) -> None:
        try:
            closing = await self._write_and_say(send)
            await self._send(send, *await self._kept(), *closing)
        except PolymodalError as error:
            if not self._is_open:
                raise
            self._run.abandon()
            await self._send(send, render_error(as_error(error)))
        await send({"type": "http.response.body", "body": _DONE, "more_body": False})
        # At once: to the watcher, a complete response looks like a client that left.
        watcher.cancel()

    async def _write_and_say(self, send: Send) -> Sequence[JsonObject]:
        """What ends the answer, once all of it is written and said."""
        sentences: asyncio.Queue[str | None] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(send, sentences))
                group.create_task(self._say(send, sentences))
        except* PolymodalError as failed:
            raise failed.exceptions[0] from None
        return reading.result()

    async def _read(self, send: Send, sentences: asyncio.Queue[str | None]) -> list[JsonObject]:
        stream = SentenceStream(eager=True)
        closing: list[JsonObject] = []
        async with aclosing(self._batches) as batches:
            async for batch in batches:
                parts = [part for entry in batch for part in await self._told(entry, closing)]
                delta = "".join(
                    entry.event.text for entry in batch if isinstance(entry.event, TextDelta)
                )
                if delta:
                    self._text += delta
                    parts.append(self._chunks.apply_sound({"transcript": delta}))
                if parts or closing:
                    await self._send(send, *parts)
                for sentence in stream.push(delta):
                    sentences.put_nowait(sentence)
        for sentence in stream.rest():
            sentences.put_nowait(sentence)
        sentences.put_nowait(None)
        return closing

    async def _told(self, entry: LogEntry, closing: list[JsonObject]) -> list[JsonObject]:
        """Chunks of anything but text; those of the end wait for the sound."""
        match entry.event:
            case TextDelta():
                return []
            case Failed() if not self._is_open:
                await self._run.finished()
                return []
            case Finished() as end:
                closing.extend(self._chunks.apply(end))
                return []
            case event:
                return list(self._chunks.apply(event))

    async def _say(self, send: Send, sentences: asyncio.Queue[str | None]) -> None:
        while (sentence := await sentences.get()) is not None:
            pcm, self._rate_hz = await self._speaker.say(sentence, self._sound)
            part = {"data": base64.b64encode(pcm).decode()}
            await self._send(send, self._chunks.apply_sound(part))

    async def _kept(self) -> list[JsonObject]:
        if not self._sound:
            return []
        media = await self._speaker.keep(
            bytes(self._sound), self._rate_hz, self._text, self._run.record.id
        )
        parts: list[JsonObject] = [{"id": media.asset_id}, {"expires_at": _EXPIRES_AT}]
        return [self._chunks.apply_sound(part) for part in parts]

    async def _send(self, send: Send, *chunks: JsonObject) -> None:
        frames = b"".join(map(nameless_frame, chunks))
        if not self._is_open:
            self._is_open = True
            head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(head)
            frames = b"".join(map(nameless_frame, self._chunks.opening())) + frames
        await send({"type": "http.response.body", "body": frames, "more_body": True})
