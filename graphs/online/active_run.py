"""One response being made, and what making it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.online.assemble import Seen
from graphs.online.tools.registry import ServerTools
from serve.domain.asks import Admission, Ask, Perceiving, RequestClock, Ticket
from serve.domain.catalogue import ServedModel
from serve.domain.journal import FIRST_TERM, ResponseFold
from serve.domain.media import MediaKind
from serve.domain.ports import (
    Assets,
    Conversations,
    FeatureEncoder,
    Generator,
    Journal,
    LiveResponse,
    Notices,
    Responses,
)
from serve.domain.records import Caller, Item, ResponseRecord
from serve.protocol.items import media_ids


@dataclass(slots=True)
class ActiveRun:
    """``domain.asks.Run``: one response that this process supervises.

    ``term`` is ours in the journal; once the fold has another one, the run is lost to whoever
    adopted it. ``attention`` wakes the run when something besides its call has happened.
    """

    record: ResponseRecord
    ask: Ask
    caller: Caller
    clock: RequestClock
    history: tuple[Item, ...]
    outcome: asyncio.Future[ResponseRecord]
    term: int = FIRST_TERM
    ticket: Ticket | None = None
    begun: asyncio.Task[None] | None = None
    task: asyncio.Task[None] | None = None
    live: LiveResponse | None = None
    attention: asyncio.Event = field(default_factory=asyncio.Event)
    called_at_s: float | None = None
    cancel_requested: bool = False
    is_settling: bool = False
    is_handed_over: bool = False
    is_void: bool = False
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def tool_names(self) -> frozenset[str]:
        """Of the tools of ours that the model may call."""
        return frozenset(tool.name for tool in self.ask.server_tools)

    @property
    def own_media(self) -> tuple[str, ...]:
        """Assets of this turn, each once, in order."""
        return tuple(
            dict.fromkeys(asset for item in self.ask.input_items for asset in media_ids(item))
        )

    @property
    def fold(self) -> ResponseFold:
        """The response as far as this process has read; only while it is being made."""
        if self.live is None:
            raise RuntimeError("the run has not begun")
        return self.live.fold

    async def finished(self) -> ResponseRecord:
        """Wait for the end; leaving early does not disturb the run."""
        return await asyncio.shield(self.outcome)

    def abandon(self) -> None:
        """Stop, unless the end is being committed already."""
        if not self.outcome.done() and not self.is_settling and not self.cancel_requested:
            self.cancel_requested = True
            # Before it is open there is nothing to interrupt, and its maker looks here then.
            if self.live is not None:
                self._interrupt()

    def hand_over(self) -> None:
        """Leave it, and the generator at work on it, to another supervisor."""
        if not self.is_handed_over and not self.outcome.done():
            self.is_handed_over = True
            self._interrupt()

    def avoid(self) -> None:
        """It could not be committed, so it never was."""
        self.is_void = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self.task is not None:
            self.task.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """What a run needs. ``generators`` and ``models`` are by catalog name.

    ``towers`` are asked for media of a kind that the model takes itself.
    """

    responses: Responses
    conversations: Conversations
    assets: Assets
    journal: Journal
    notices: Notices
    perceiving: Perceiving
    towers: Mapping[MediaKind, FeatureEncoder]
    generators: Mapping[str, Generator]
    models: Mapping[str, ServedModel]
    admission: Admission
    tools: ServerTools
