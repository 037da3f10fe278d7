"""One response being made, and what making it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.online.assemble import Seen
from serve.domain.asks import Ask, Perceiving, RequestClock
from serve.domain.catalogue import ServedModel
from serve.domain.ports import (
    Assets,
    Conversations,
    Generator,
    ImageEncoder,
    Responses,
    StreamLog,
)
from serve.domain.records import Caller, Item, ResponseRecord


@dataclass(slots=True)
class ActiveRun:
    """``domain.asks.Run``: one response that this process is making."""

    record: ResponseRecord
    ask: Ask
    caller: Caller
    clock: RequestClock
    history: tuple[Item, ...]
    outcome: asyncio.Future[ResponseRecord]
    task: asyncio.Task[None] | None = None
    cancel_requested: bool = False
    seen: dict[str, Seen] = field(default_factory=dict)

    async def finished(self) -> ResponseRecord:
        """Wait for the end; leaving early does not disturb the run."""
        return await asyncio.shield(self.outcome)

    def abandon(self) -> None:
        """Stop, unless already done."""
        if not self.outcome.done() and not self.cancel_requested and self.task is not None:
            self.cancel_requested = True
            self.task.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """What a run needs. ``generators`` and ``models`` are by catalog name."""

    responses: Responses
    conversations: Conversations
    assets: Assets
    log: StreamLog
    perceiving: Perceiving
    images: ImageEncoder
    generators: Mapping[str, Generator]
    models: Mapping[str, ServedModel]
