"""Which tools there are, and what happens when the model calls one."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from graphs.online.telling import Teller
from graphs.online.writer import EventWriter
from serve.domain.asks import RequestClock, ServerToolUse, Watch
from serve.domain.errors import InvalidRequest, PolymodalError
from serve.domain.messages import (
    Progress,
    Stage,
    StageFinished,
    StageStarted,
    ToolAnswered,
    ToolCall,
    ToolPreviewed,
    ToolSpec,
)
from serve.domain.records import Caller, JsonObject

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call: ``arguments`` are the model's, ``options`` the caller's.

    ``media``: assets of the turn, from which the tool may make something.
    """

    caller: Caller
    response_id: str
    arguments: JsonObject
    options: JsonObject = field(default_factory=dict)
    media: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """An argument that must be there. Raises ``InvalidRequest``, which the model reads."""
        value = self.arguments.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InvalidRequest(f"the argument {name!r} is missing or empty")
        return value.strip()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool has for the model, in words or as JSON, and the asset it made, if any."""

    output: str
    asset_id: str = ""


class ServerTool(Protocol):
    """One tool. ``stage`` and ``node`` are what a person sees at work."""

    @property
    def spec(self) -> ToolSpec:
        """As the model is told of it."""
        ...

    @property
    def stage(self) -> Stage:
        """What a person sees happening."""
        ...

    @property
    def makes_assets(self) -> bool:
        """It makes something, instead of finding something out."""
        ...

    @property
    def node(self) -> str:
        """Which node does the work, for the trace."""
        ...

    async def run(self, asked: Asked, watch: Watch) -> Outcome:
        """Do it. A ``PolymodalError`` becomes an answer that says so."""
        ...


class ServerTools:
    """The tools by name."""

    def __init__(self, tools: Sequence[ServerTool]) -> None:
        self._tools: Mapping[str, ServerTool] = {tool.spec.name: tool for tool in tools}

    @property
    def makers(self) -> frozenset[str]:
        """Names of those that make something to keep."""
        return frozenset(name for name, tool in self._tools.items() if tool.makes_assets)

    def specs(self, uses: Sequence[ServerToolUse]) -> tuple[ToolSpec, ...]:
        """Of those that a request wants."""
        return tuple(self._tools[use.name].spec for use in uses)

    def check(self, uses: Sequence[ServerToolUse]) -> None:
        """Raise ``InvalidRequest`` for a tool that is not served here."""
        for use in uses:
            if use.name not in self._tools:
                there = ", ".join(self._tools) or "none"
                raise InvalidRequest(
                    f"the tool {use.name!r} is not served here; there are: {there}", param="tools"
                )

    async def answer(
        self,
        call: ToolCall,
        asked: Asked,
        *,
        clock: RequestClock,
        writer: EventWriter,
    ) -> ToolAnswered:
        """Run what the model called, telling how far it has come."""
        tool = self._tools[call.name]
        told = Teller(tool.stage, call.call_id, writer)
        numbers = count()

        async def watch(progress: Progress) -> None:
            if progress.preview:
                webp = base64.b64encode(progress.preview).decode()
                await writer.write(ToolPreviewed(call.call_id, next(numbers), webp))
            await told.watch(progress)

        await writer.write(StageStarted(tool.stage, call.call_id, time.time()))
        failed = ""
        outcome = Outcome("")
        with clock.span(call.name, tool.node) as attributes:
            try:
                outcome = await tool.run(asked, watch)
            except PolymodalError as error:
                _log.warning("tool failed", extra={"tool": call.name, "code": error.code})
                attributes["error"] = error.code
                failed = error.message
        await writer.write(StageFinished(tool.stage, call.call_id, time.time()))
        return ToolAnswered(
            call_id=call.call_id,
            output=f"It failed: {failed}" if failed else outcome.output,
            at_unix_s=time.time(),
            asset_id=outcome.asset_id,
            has_failed=bool(failed),
        )
