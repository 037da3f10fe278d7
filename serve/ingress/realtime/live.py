"""What all parts of one live session share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from starlette.websockets import WebSocketDisconnect

from serve.domain.errors import NotFound, StoreUnavailable
from serve.domain.records import Caller, Item, JsonObject
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
        self._storing = asyncio.Lock()
        self._stored: dict[str, JsonObject] = {}

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

    async def store(self) -> None:
        """Write what was said into the caller's conversation, if the session belongs to one.

        An item that is there is replaced, so nothing is there twice. Raises ``TakenOver``.
        """
        if not self.state.is_stored:
            return
        async with self._storing:
            # Who has lost the session must not put back what the other one has changed.
            await self.keep()
            conversation = self.state.conversation
            items = [
                item for item in conversation.prompt() if self._stored.get(item.id) != item.body
            ]
            if not items:
                return
            try:
                await self.ports.conversations.put_items(self.caller, conversation.id, items)
            except StoreUnavailable:
                # It is written with what comes next.
                return
            except NotFound:
                # Deleted meanwhile: whoever did that wants none of it.
                self.state.is_stored = False
                return
            self._stored |= {item.id: item.body for item in items}

    async def delete(self, item_id: str) -> None:
        """Forget an item, wherever it is. Raises ``NotFound`` unless it is of this session."""
        conversation = self.state.conversation
        conversation.delete(item_id)
        await self.keep()
        if self.state.is_stored:
            async with self._storing:
                self._stored.pop(item_id, None)
                with suppress(NotFound):
                    await self.ports.conversations.delete_item(
                        self.caller, conversation.id, item_id
                    )

    async def prompt(self) -> tuple[Item, ...]:
        """All that was said, with what the caller's conversation held before."""
        said = self.state.conversation.prompt()
        if not self.state.is_stored:
            return said
        try:
            everything = await self.ports.conversations.all_items(
                self.caller, self.state.conversation.id
            )
        except NotFound:
            self.state.is_stored = False
            return said
        earlier = [item for item in everything if not self.state.conversation.has(item.id)]
        return (*earlier, *said)

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
