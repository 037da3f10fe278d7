"""What goes to the client, numbered so that it can come back behind the last one it saw."""

from __future__ import annotations

import asyncio
import re
from typing import Final, NamedTuple

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from serve.domain.records import JsonObject

_EVENT_ID: Final = re.compile(r"event_(\d{1,15})(?:_(\d{1,9})_(\d{1,9})_(\d{1,12}))?")


class Cursor(NamedTuple):
    """How far a response was told: the next entry of its log, and the next byte of sound."""

    seq: int = 0
    sentence: int = 0
    n_bytes: int = 0


BEGINNING: Final = Cursor()


class Seen(NamedTuple):
    """The last event that a client saw. ``cursor`` is None if it was not of a response."""

    number: int
    cursor: Cursor | None


def parse_event_id(event_id: str) -> Seen | None:
    """What an event's id says; None for one that is not ours."""
    found = _EVENT_ID.fullmatch(event_id)
    if found is None:
        return None
    number, *place = found.groups()
    cursor = Cursor(*map(int, place)) if place[0] is not None else None
    return Seen(int(number), cursor)


class Outbox:
    """Sends events one after the other. ``cursor`` is that of the response being told."""

    def __init__(self, socket: WebSocket, n_sent: int) -> None:
        self._socket = socket
        self._lock = asyncio.Lock()
        self.n_sent = n_sent
        self.cursor: Cursor | None = None

    async def send(self, *events: JsonObject, cursor: Cursor | None = None) -> None:
        """Send them in order. With the last one, the response has been told up to ``cursor``.

        Raises ``WebSocketDisconnect`` once nobody listens any more.
        """
        async with self._lock:
            for place, event in enumerate(events, 1):
                if cursor is not None and place == len(events):
                    self.cursor = cursor
                self.n_sent += 1
                told = {"event_id": self._name(), **event}
                await self._write(orjson.dumps(told).decode())

    def _name(self) -> str:
        place = "" if self.cursor is None else "_{}_{}_{}".format(*self.cursor)
        return f"event_{self.n_sent}{place}"

    async def _write(self, text: str) -> None:
        if self._socket.application_state is not WebSocketState.CONNECTED:
            raise WebSocketDisconnect
        try:
            await self._socket.send_text(text)
        except RuntimeError as exc:  # starlette's word for "the socket is closed"
            raise WebSocketDisconnect from exc
