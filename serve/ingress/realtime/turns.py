"""A person's turns: found in the sound, written down, kept as recordings, answered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from serve.domain.errors import InvalidRequest, PolymodalError
from serve.domain.ids import new_id
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import Transcript, TranscriptionOptions
from serve.domain.ports import VoiceListener
from serve.domain.realtime import Turn
from serve.domain.records import JsonObject
from serve.ingress.errors import as_error
from serve.ingress.realtime.listening import Ear, Hearing
from serve.ingress.realtime.live import Live
from serve.ingress.realtime.responding import Responder
from serve.media.data_url import decode_base64
from serve.media.pcm import SPEECH_RATE_HZ, WireReader, wav_file
from serve.observability.tracing import RequestTrace
from serve.protocol.errors import render_error
from serve.protocol.realtime import InputTranscription, wire_format
from serve.protocol.realtime_items import spoken_turn

# As base64 it fits into the longest message that a WebSocket takes here.
_MAX_APPEND_BYTES: Final = 10 * 2**20
_BYTES_PER_S: Final = SPEECH_RATE_HZ * 2


@dataclass(frozen=True, slots=True)
class _Said:
    """A turn that is over, at 16 kHz.

    ``hearing`` has listened to it while it was said, unless the client told its end. ``clock``
    runs since then if it is to be answered. ``is_kept``: the recording is an asset already.
    """

    item_id: str
    pcm: bytes
    hearing: Hearing | None = None
    clock: RequestTrace | None = None
    is_kept: bool = False


class Turns:
    """The input audio buffer of a session."""

    def __init__(self, live: Live, listener: VoiceListener) -> None:
        self.responder = Responder(live, self.understood)
        self._live = live
        self._ear = Ear(listener)
        self._item_id = ""
        self._hearing: Hearing | None = None
        self._pending: set[asyncio.Task[None]] = set()
        # Turns begun so far: a turn that was followed by another one is not answered by itself.
        self._n_turns = 0
        self.configure()

    def configure(self) -> None:
        """Follow the session's configuration."""
        given = self._live.state.config.audio.input
        self._ear.configure(wire_format(given.format), given.turn_detection)

    # --- the client's events ------------------------------------------------------------------

    async def append(self, audio: str) -> None:
        """Listen to more sound, base64. Raises ``InvalidRequest``, ``MediaTooLarge``."""
        content = decode_base64(audio, max_bytes=_MAX_APPEND_BYTES)
        for probability in await self._ear.append(content):
            turn = self._ear.feed(probability)
            if turn is not None:
                await self._turn(turn)
            elif self._ear.is_too_long:
                await self._ended()
        if self._hearing is not None:
            self._hearing.grow(self._ear.current, self._ear.ended_ms)

    async def commit(self) -> None:
        """The client says that the turn is over. Raises ``InvalidRequest``."""
        hearing, self._hearing = self._hearing, None
        pcm = self._ear.take_all()
        if not pcm:
            raise InvalidRequest("there is no sound to commit; append some first")
        if hearing is not None:
            hearing.drop_guess()
        await self._committed(self._item_id if hearing else new_id("item"), pcm, None)

    async def clear(self) -> None:
        """Forget the sound that is not committed."""
        if self._hearing is not None:
            self._hearing.drop_guess()
            self._hearing = None
        self._ear.take_all()
        await self._live.outbox.send({"type": "input_audio_buffer.cleared"})

    def recorded(self, audio: str) -> bytes:
        """A whole recording in the session's format, as bytes that can be listened to."""
        form = wire_format(self._live.state.config.audio.input.format)
        pcm = WireReader(form).push(decode_base64(audio, max_bytes=_MAX_APPEND_BYTES))
        if not pcm:
            raise InvalidRequest("there is no sound in this item", param="item.content")
        return pcm

    async def keep_recording(self, pcm: bytes) -> MediaRef:
        """Make an asset of it."""
        return await self._live.ports.intake.store(
            self._live.caller,
            wav_file(pcm, SPEECH_RATE_HZ),
            declared_mime_type="audio/wav",
            filename="turn.wav",
            expect=MediaKind.AUDIO,
        )

    def understand(self, item_id: str, pcm: bytes) -> None:
        """Write down what is said in the recording of an item; responses wait for it."""
        self._later(self._understand(_Said(item_id, pcm, is_kept=True)))

    # --- turns --------------------------------------------------------------------------------

    async def _turn(self, turn: Turn) -> None:
        match turn:
            case Turn.BEGAN:
                await self._began()
            case Turn.PAUSED if self._hearing is not None:
                self._hearing.guess(self._ear.current())
            case Turn.RESUMED if self._hearing is not None:
                self._hearing.drop_guess()
            case Turn.ENDED:
                await self._ended()
            case _:
                pass

    async def _began(self) -> None:
        live = self._live
        self._n_turns += 1
        item_id = self._item_id = new_id("item")
        self._hearing = Hearing(live.group, self._transcribe, self._teller(item_id))
        live.state.due = False
        await live.outbox.send(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": self._ear.began_ms,
                "item_id": item_id,
            }
        )
        detection = live.state.config.audio.input.turn_detection
        if detection is not None and detection.interrupt_response:
            await self.responder.cancel("turn_detected")

    async def _ended(self) -> None:
        hearing, self._hearing = self._hearing, None
        ended_ms = self._ear.ended_ms
        pcm = self._ear.take_turn()
        await self._live.outbox.send(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": ended_ms,
                "item_id": self._item_id,
            }
        )
        await self._committed(self._item_id, pcm, hearing or self._silent_hearing())

    def _silent_hearing(self) -> Hearing:
        return Hearing(self._live.group, self._transcribe, None)

    async def _committed(self, item_id: str, pcm: bytes, hearing: Hearing | None) -> None:
        """Add the turn. Without ``hearing``, it was the client that told its end."""
        live = self._live
        detection = live.state.config.audio.input.turn_detection
        answers = (
            hearing is not None
            and live.state.config.type == "realtime"
            and detection is not None
            and detection.create_response
        )
        live.state.due = live.state.due or answers
        body = spoken_turn(item_id)
        before = await live.put(body)
        await live.outbox.send(
            {
                "type": "input_audio_buffer.committed",
                "item_id": item_id,
                "previous_item_id": before,
            },
            {"type": "conversation.item.added", "previous_item_id": before, "item": body},
        )
        clock = RequestTrace() if answers else None
        self._later(self._understand(_Said(item_id, pcm, hearing=hearing, clock=clock)))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._live.spawn(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def understood(self) -> None:
        """Wait until all turns so far are written down."""
        while self._pending:
            await asyncio.wait(self._pending)

    async def _understand(self, said: _Said) -> None:
        turn = self._n_turns
        text = await self._words(said)
        by_client = said.hearing is None
        if not said.is_kept and (text or by_client):
            recording = self._live.spawn(self._record(said))
            if not text:
                # No words: the recording itself is what the generator's graph listens to.
                await asyncio.wait({recording})
        await self._write_down(said, text)
        if said.clock is not None and text and turn == self._n_turns:
            self._live.spawn(self._answer(said.clock))

    async def _words(self, said: _Said) -> str | None:
        """What is said; None when that cannot be known."""
        hearing = said.hearing or self._silent_hearing()
        clock = said.clock or RequestTrace()
        try:
            with clock.span("transcribe", "AudioEncoder"):
                return (await hearing.finish(said.pcm)).text
        except PolymodalError as error:
            await self._tell_failure(said.item_id, error)
            return None

    async def _answer(self, clock: RequestTrace) -> None:
        # Somebody may have asked for an answer meanwhile; it covers this turn too.
        if self._live.state.due:
            await self.responder.cancel("turn_detected")
            self.responder.create(clock=clock)

    async def _record(self, said: _Said) -> None:
        media = await self.keep_recording(said.pcm)
        conversation = self._live.state.conversation
        if conversation.has(said.item_id):
            body = conversation.get(said.item_id)
            await self._live.put(_with_part(body, file_id=media.asset_id))

    async def _write_down(self, said: _Said, text: str | None) -> None:
        live = self._live
        if not live.state.conversation.has(said.item_id):
            return
        body = _with_part(live.state.conversation.get(said.item_id), transcript=text)
        before = await live.put(body)
        if text is not None and self._tells:
            seconds = len(said.pcm) / _BYTES_PER_S
            await live.outbox.send(
                {
                    "type": "conversation.item.input_audio_transcription.completed",
                    "item_id": said.item_id,
                    "content_index": _audio_index(body),
                    "transcript": text,
                    "usage": {"type": "duration", "seconds": round(seconds, 3)},
                }
            )
        await live.outbox.send(
            {"type": "conversation.item.done", "previous_item_id": before, "item": body}
        )

    async def _tell_failure(self, item_id: str, error: PolymodalError) -> None:
        await self._live.outbox.send(
            {
                "type": "conversation.item.input_audio_transcription.failed",
                "item_id": item_id,
                "content_index": 0,
                **render_error(error),
            }
        )

    # --- words --------------------------------------------------------------------------------

    @property
    def _tells(self) -> bool:
        config = self._live.state.config
        return config.type == "transcription" or config.audio.input.transcription is not None

    def _teller(self, item_id: str) -> Teller | None:
        return Teller(self._live, item_id) if self._tells else None

    async def _transcribe(self, pcm: bytes) -> Transcript:
        wishes = self._live.state.config.audio.input.transcription or InputTranscription()
        prompt = " ".join((wishes.prompt, *wishes.keywords)).strip()
        options = TranscriptionOptions(language=wishes.language, prompt=prompt)
        try:
            return await self._live.ports.transcriber.transcribe(pcm, options)
        except Exception as error:  # the border to the node: log, tell as one of ours
            raise as_error(error) from error


class Teller:
    """Tells words of one turn while it is being said."""

    def __init__(self, live: Live, item_id: str) -> None:
        self._live = live
        self._item_id = item_id

    async def __call__(self, words: str) -> None:
        """Tell some more of them."""
        await self._live.outbox.send(
            {
                "type": "conversation.item.input_audio_transcription.delta",
                "item_id": self._item_id,
                "content_index": 0,
                "delta": words,
            }
        )


def _audio_index(body: JsonObject) -> int:
    return next(i for i, part in enumerate(body["content"]) if part["type"] == "input_audio")


def _with_part(body: JsonObject, **fields: str | None) -> JsonObject:
    """The item with something more known of its recording."""
    content = list(body["content"])
    index = _audio_index(body)
    content[index] = {**content[index], **fields}
    return {**body, "content": content}
