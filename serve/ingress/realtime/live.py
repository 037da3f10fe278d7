"""What all parts of one live session share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from starlette.websockets import WebSocketDisconnect

from serve.domain.errors import StoreUnavailable
from serve.domain.records import Caller, JsonObject
from serve.ingress.context import IngressPorts
from serve.ingress.errors import as_error
from serve.ingress.realtime.outbox import Outbox
from serve.ingress.realtime.state import SessionState
from serve.protocol.realtime import render_error_event

RESUME_S: Final = 300
"""How long a session waits for its client to come back."""


class TakenOver(Exception):
    """Another connection has the session now."""


class Live:
    """A session while it is connected. ``term`` counts its connections."""

    def __init__(
        self,
        ports: IngressPorts,
        state: SessionState,
        term: int,
        outbox: Outbox,
        group: asyncio.TaskGroup,
    ) -> None:
        self.ports = ports
        self.state = state
        self.outbox = outbox
        self.group = group
        self._term = term

    @property
    def caller(self) -> Caller:
        """Whose session it is."""
        return self.state.caller

    @property
    def next_event(self) -> int:
        """The number of the event that will be told next."""
        return self.outbox.n_sent + 1

    async def keep(self) -> None:
        """Save the session, so that nothing told after this is lost. Raises ``TakenOver``."""
        self.state.n_events = self.outbox.n_sent
        try:
            is_ours = await self.ports.realtime.save(
                self.state.id, self._term, self.state.to_json(), ttl_s=RESUME_S
            )
        except StoreUnavailable:
            # The conversation goes on; it could not be resumed right now, and is saved again soon.
            return
        if not is_ours:
            raise TakenOver

    async def put(self, body: JsonObject, *, after: str | None = None) -> str | None:
        """Put an item into the conversation and save. Returns the id of the one before it."""
        before = self.state.conversation.put(body, self.next_event, after=after)
        await self.keep()
        return before

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it beside the others; what goes wrong is told and ends nothing else."""
        return self.group.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (WebSocketDisconnect, TakenOver):
            raise
        except Exception as error:  # noqa: BLE001 - the border of a task: log, tell
            await self.outbox.send(render_error_event(as_error(error), None))
