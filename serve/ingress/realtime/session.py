"""One realtime connection: what the client says, and what follows from it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, assert_never

from starlette.websockets import WebSocket, WebSocketDisconnect

from serve.domain.errors import Conflict, InvalidRequest
from serve.domain.media import MediaKind, MediaRef
from serve.domain.records import JsonObject
from serve.domain.voices import choose_voice
from serve.ingress.context import IngressPorts
from serve.ingress.errors import as_error
from serve.ingress.realtime.live import Live, TakenOver
from serve.ingress.realtime.outbox import Outbox, Seen
from serve.ingress.realtime.state import SessionState
from serve.ingress.realtime.turns import Turns
from serve.media.intake import MediaSource
from serve.protocol.realtime import (
    AnyClientEvent,
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    CreateItem,
    CreateResponse,
    DeleteItem,
    InputAudioPart,
    InputImagePart,
    RetrieveItem,
    SessionConfig,
    SessionUpdate,
    TruncateItem,
    event_id_of,
    parse_event,
    render_error_event,
)
from serve.protocol.realtime_items import has_output_audio, media_of, new_item

_KEEP_EVERY_S: Final = 60.0
_LISTEN_ON_S: Final = 10.0
_CLOSE_TAKEN_OVER: Final = 4409


class RealtimeSession:
    """Serves a session over one connection until it goes."""

    def __init__(
        self, socket: WebSocket, ports: IngressPorts, state: SessionState, term: int
    ) -> None:
        self._socket = socket
        self._ports = ports
        self._state = state
        self._term = term

    async def serve(self, greeting: JsonObject, seen: Seen | None) -> None:
        """Greet, tell what the client has not ``seen`` of an earlier connection, and listen.

        ``greeting`` is added to the session in the first event.
        """
        listener = await asyncio.to_thread(self._ports.voice_detector.listen)
        n_sent = max(self._state.n_events, seen.number if seen else 0)
        try:
            async with asyncio.TaskGroup() as group:
                outbox = Outbox(self._socket, n_sent)
                live = Live(self._ports, self._state, self._term, outbox, group)
                group.create_task(_keep_alive(live))
                connection = _Connection(self._socket, live, Turns(live, listener))
                await connection.open(greeting, seen)
                await connection.read()
        except* WebSocketDisconnect:
            pass
        except* TakenOver:
            with suppress(RuntimeError):
                await self._socket.close(_CLOSE_TAKEN_OVER, "resumed elsewhere")


async def _keep_alive(live: Live) -> None:
    while True:
        await asyncio.sleep(_KEEP_EVERY_S)
        await live.keep()


class _Connection:
    """Reads a client's events and obeys them in their order."""

    def __init__(self, socket: WebSocket, live: Live, turns: Turns) -> None:
        self._socket = socket
        self._live = live
        self._turns = turns
        self._responder = turns.responder

    async def open(self, greeting: JsonObject, seen: Seen | None) -> None:
        """The first events."""
        state = self._live.state
        await self._live.keep()
        session = state.config.render(state.id) | greeting
        await self._live.outbox.send({"type": "session.created", "session": session})
        if seen is None:
            return
        for body in tuple(state.conversation.since(seen.number)):
            if state.answer is None or not body["id"].endswith(_own_items(state)):
                before = state.conversation.before(body["id"])
                done = {"type": "conversation.item.done", "previous_item_id": before}
                await self._live.outbox.send({**done, "item": body})
        await self._responder.resume(seen)
        if state.due:
            self._responder.create()

    async def read(self) -> None:
        """Obey until the connection ends, which raises ``WebSocketDisconnect``."""
        while True:
            try:
                text = await self._socket.receive_text()
            except WebSocketDisconnect:
                await self._let_listening_end()
                raise
            try:
                await self._obey(parse_event(text))
            except (WebSocketDisconnect, TakenOver):
                raise
            except Exception as error:  # noqa: BLE001 - the border: log, answer, go on
                event = render_error_event(as_error(error), event_id_of(text))
                await self._live.outbox.send(event)

    async def _let_listening_end(self) -> None:
        """What was said to the end is written down for the client that comes back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LISTEN_ON_S):
                await self._turns.understood()
        await self._live.store()

    async def _obey(self, event: AnyClientEvent) -> None:
        match event:
            case AppendAudio(audio=audio):
                await self._turns.append(audio)
            case CommitAudio():
                await self._turns.commit()
            case ClearAudio():
                await self._turns.clear()
            case SessionUpdate(session=session):
                await self._update(session)
            case CreateResponse(response=params):
                self._responder.create(params)
            case CancelResponse(response_id=response_id):
                if not await self._responder.cancel("client_cancelled", response_id):
                    raise Conflict("no such response is being made", param="response_id")
            case _:
                await self._obey_about_item(event)

    async def _obey_about_item(
        self, event: CreateItem | RetrieveItem | DeleteItem | TruncateItem
    ) -> None:
        conversation = self._live.state.conversation
        match event:
            case CreateItem():
                await self._create(event)
            case RetrieveItem(item_id=item_id):
                item = conversation.get(item_id)
                await self._live.outbox.send({"type": "conversation.item.retrieved", "item": item})
            case DeleteItem(item_id=item_id):
                await self._live.delete(item_id)
                await self._live.outbox.send(
                    {"type": "conversation.item.deleted", "item_id": item_id}
                )
            case TruncateItem():
                await self._truncate(event)
            case _:
                assert_never(event)

    async def _update(self, update: JsonObject) -> None:
        live = self._live
        config = live.state.config.changed(update)
        check_models(live.ports, config)
        live.state.config = config
        self._turns.configure()
        await live.keep()
        session = config.render(live.state.id)
        await live.outbox.send({"type": "session.updated", "session": session})

    async def _truncate(self, event: TruncateItem) -> None:
        live = self._live
        body = live.state.conversation.get(event.item_id)
        if not has_output_audio(body, event.content_index):
            raise InvalidRequest(
                "only what the assistant said can be truncated", param="content_index"
            )
        if self._responder.is_telling(event.item_id):
            await self._responder.cancel("client_cancelled")
        live.state.conversation.truncate(event.item_id, event.audio_end_ms, live.next_event)
        await live.keep()
        await live.store()
        await live.outbox.send(
            {
                "type": "conversation.item.truncated",
                "item_id": event.item_id,
                "content_index": event.content_index,
                "audio_end_ms": event.audio_end_ms,
            }
        )

    # --- new items ----------------------------------------------------------------------------

    async def _create(self, event: CreateItem) -> None:
        live = self._live
        if event.item.id is not None and live.state.conversation.has(event.item.id):
            raise Conflict(f"there is an item {event.item.id!r} already", param="item.id")
        said = self._recording_in(event)
        media = [await self._media(part, said) for part in media_of(event.item)]
        body = new_item(event.item, media)
        before = await live.put(body, after=event.previous_item_id)
        place = {"previous_item_id": before, "item": body}
        await live.outbox.send({"type": "conversation.item.added", **place})
        if said is not None:
            self._turns.understand(body["id"], said)
        else:
            await live.outbox.send({"type": "conversation.item.done", **place})

    def _recording_in(self, event: CreateItem) -> bytes | None:
        """The sound of an item whose words are yet to be written down."""
        parts = [part for part in media_of(event.item) if isinstance(part, InputAudioPart)]
        if len(parts) > 1:
            raise InvalidRequest("an item holds one recording", param="item.content")
        wanted = [part.audio for part in parts if part.audio is not None]
        return self._turns.recorded(wanted[0]) if wanted else None

    async def _media(self, part: InputAudioPart | InputImagePart, said: bytes | None) -> MediaRef:
        if isinstance(part, InputAudioPart) and said is not None:
            return await self._turns.keep_recording(said)
        source = MediaSource(
            asset_id=part.file_id,
            url=part.image_url if isinstance(part, InputImagePart) else None,
            expect=MediaKind.IMAGE if isinstance(part, InputImagePart) else MediaKind.AUDIO,
            param="item.content",
        )
        return await self._live.ports.intake.resolve(self._live.caller, source)


def check_models(ports: IngressPorts, config: SessionConfig) -> None:
    """Refuse models and voices that are not there. Raises ``UnknownModel``, ``InvalidRequest``."""
    ports.models.choose("generator", config.model)
    wanted = config.audio.input.transcription
    ports.models.choose("audio_encoder", wanted.model if wanted else None)
    speaker = ports.models.choose("speech_generator", None)
    voice = config.audio.output.voice_name or ""
    choose_voice(speaker.voices, voice, param="session.audio.output.voice")


def _own_items(state: SessionState) -> tuple[str, ...]:
    """How the ids of the last response's items end: those are told again with it."""
    if state.answer is None:
        return ()
    suffix = state.answer.response_id.removeprefix("resp_")
    return tuple(f"{suffix}_{index}" for index in range(8))
