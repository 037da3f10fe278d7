"""What a client asked for, once the wire is forgotten."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from serve.domain.admission import Demand, QueuePosition, TokenRoom
from serve.domain.media import MediaRef
from serve.domain.messages import (
    Heard,
    LogEntry,
    Perception,
    Progress,
    Sampling,
    ToolSpec,
    TraceSpan,
    TranscriptionOptions,
)
from serve.domain.ports import ArrivingAsset
from serve.domain.records import Caller, Item, JsonObject, ResponseRecord


class RequestClock(Protocol):
    """Spans of one request on one clock."""

    def now_s(self) -> float:
        """Seconds since the request arrived."""
        ...

    def span(self, name: str, node: str) -> AbstractContextManager[dict[str, str | int | float]]:
        """Time a block; attributes put into the yielded dict are kept."""
        ...

    def add(
        self,
        name: str,
        node: str,
        start_s: float,
        end_s: float,
        attributes: dict[str, str | int | float] | None = None,
    ) -> None:
        """Record a span that was timed elsewhere."""
        ...

    def spans(self) -> tuple[TraceSpan, ...]:
        """All spans so far, by start."""
        ...


class Ticket(Protocol):
    """Leave to use the generators, now or when the turn comes."""

    @property
    def is_granted(self) -> bool:
        """Go on, or wait."""
        ...

    def waiting(self) -> AsyncGenerator[QueuePosition, None]:
        """The place in the queue, at once and whenever it changes; ends when granted.

        Tells at most once a second, and nothing that counting down the last ETA would give.
        Raises ``Overloaded`` after the longest wait; the ticket is released then.
        """
        ...

    def release(self, *, output_tokens: int | None = None) -> None:
        """Finished, cancelled or left. May be called again.

        ``output_tokens``: how long the answer became, from which later predictions learn.
        """
        ...


@dataclass(frozen=True, slots=True)
class ServerToolUse:
    """A tool that we run ourselves, which the model may call. ``options`` are the caller's."""

    name: str
    options: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One turn: every medium in ``input_items`` is stored already, every default decided.

    ``echo`` holds the parameters that the Response object repeats back; ``clock`` the spans of
    what was done before the ask was complete. ``response_id`` is the id that the response must
    get, so that asking again finds it. ``demand`` is what the ask was admitted for, ``ticket``
    what it got: whoever holds the ask releases it.
    """

    model: str
    input_items: tuple[Item, ...]
    instructions: str | None = None
    conversation_id: str | None = None
    previous_response_id: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[ToolSpec, ...] = ()
    server_tools: tuple[ServerToolUse, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    json_schema: str | None = None
    stored: bool = True
    background: bool = False
    echo: JsonObject = field(default_factory=dict)
    clock: RequestClock | None = None
    response_id: str | None = None
    demand: Demand | None = None
    ticket: Ticket | None = None


class Admission(Protocol):
    """Who may use the generators now, who waits, who is refused. Decides without I/O."""

    def admit(self, caller: Caller, ask: Ask) -> Ticket:
        """The ask's own ticket if it has one, else a new one.

        Raises ``RateLimited`` when this caller has too many waiting, ``Overloaded`` when too many
        wait in all or the wait would be too long; both say when to come back.
        """
        ...

    def readmit(self, caller: Caller, ask: Ask) -> Ticket:
        """A granted ticket for a response that another process had admitted: never refused."""
        ...

    def room(self, model: str) -> TokenRoom | None:
        """What this process may grant of a model; None while nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class Perceived:
    """A perception and whether the cache had it."""

    perception: Perception
    cache_hit: bool


Watch = Callable[[Progress], Awaitable[None]]
"""Is told how far something has come."""


class Perceiving(Protocol):
    """Media to perceptions, by way of the cache that all replicas share."""

    async def perceive(
        self,
        media: MediaRef,
        options: TranscriptionOptions | None = None,
        *,
        watch: Watch | None = None,
    ) -> Perceived:
        """Encode unless the cache knows. ``options`` matter for what can be heard only.

        ``watch`` is told how far long work has come.
        """
        ...

    def hear(self, media: MediaRef, options: TranscriptionOptions) -> AsyncGenerator[Heard, None]:
        """A recording's transcript while it is being written, and the perception last.

        What the cache knows comes at once. Closing it stops the work.
        """
        ...

    def hear_arriving(
        self, recording: ArrivingAsset, options: TranscriptionOptions
    ) -> AsyncGenerator[Heard | MediaRef, None]:
        """The same while the recording is being uploaded; the asset comes before the perception.

        What can only be decoded whole is heard when it is there.
        """
        ...

    async def recall(self, media: MediaRef) -> Perception | None:
        """What the cache knows, without encoding."""
        ...

    async def nearest(
        self, owner_id: str, vector: Sequence[float], n: int
    ) -> tuple[tuple[str, float], ...]:
        """``(asset_id, cosine similarity)`` of what was perceived for an owner, best first."""
        ...

    async def forget(self, media: MediaRef) -> None:
        """Search must not find a deleted asset."""
        ...


class Run(Protocol):
    """One response being made, as seen by the process that makes it."""

    @property
    def record(self) -> ResponseRecord:
        """As it was committed at the start."""
        ...

    async def finished(self) -> ResponseRecord:
        """Wait for the final record. Raises what the run was refused or failed with."""
        ...

    def abandon(self) -> None:
        """The client that waited has left: stop, unless already done. Returns at once."""
        ...


class Runs(Protocol):
    """Where responses are made."""

    async def start(self, caller: Caller, ask: Ask) -> Run:
        """Commit the response and begin. Raises before anything is kept if it cannot begin."""
        ...

    async def cancel(self, caller: Caller, response_id: str) -> ResponseRecord:
        """Stop a response wherever it runs, and wait until it is settled.

        A response that is final already stays as it is.
        """
        ...

    def follow(
        self, response_id: str, *, from_seq: int = 0
    ) -> AsyncGenerator[Sequence[LogEntry], None]:
        """The entries of a response that some process is making, live, in batches."""
        ...


class Graph(Protocol):
    """The deployments behind the ingress."""

    async def ping(self) -> dict[str, str]:
        """Name of every deployment and store, with "ok" or what is wrong."""
        ...
