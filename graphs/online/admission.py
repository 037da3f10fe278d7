"""Admission to the generators: this process' part of what their beats say they can hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import orjson

from serve.domain.admission import (
    UNKNOWN_CAPACITY,
    USUAL_HISTORY_BYTES,
    USUAL_PICTURE_PX,
    USUAL_RECORDING_S,
    Capacity,
    Demand,
    Experience,
    FairQueue,
    QueueBounds,
    QueuePosition,
    Request,
    Standing,
    TokenRoom,
    capacity_of,
    share,
)
from serve.domain.asks import Ask, Ticket
from serve.domain.errors import Overloaded
from serve.domain.journal import Beat
from serve.domain.records import Caller, Item

Alive = Callable[[str], Sequence[Beat]]

_TELL_PERIOD_S = 1.0
# A wait that develops otherwise than by counting down is news beyond these.
_NEWS_S = 2.0
_NEWS_RATIO = 0.25


@dataclass(slots=True)
class _Pool:
    """The generators of one model, their queue, and whoever waits in it."""

    queue: FairQueue
    experience: Experience
    was_heard: bool = False
    turns: dict[Request, asyncio.Event] = field(default_factory=dict)

    def announce(self, granted: Iterable[Request]) -> None:
        for request in granted:
            turn = self.turns.pop(request, None)
            if turn is not None:
                turn.set()


class AdmissionDesk:
    """``domain.asks.Admission`` of one ingress process.

    ``alive`` gives the last beat of every living process of a kind. A generator of no told model
    counts for all of them.
    """

    def __init__(self, bounds: QueueBounds, *, my_id: str, alive: Alive) -> None:
        self._bounds = bounds
        self._my_id = my_id
        self._alive = alive
        self._pools: dict[str, _Pool] = {}

    def admit(self, caller: Caller, ask: Ask) -> Ticket:
        """See ``Admission``."""
        if ask.ticket is not None:
            return ask.ticket
        pool = self._pool(ask.model)
        self.refresh(ask.model)
        cost = pool.experience.cost(ask.demand or _demand_of(ask))
        request = pool.queue.offer(caller.user_id, cost, time.monotonic())
        if not request.is_granted:
            pool.turns[request] = asyncio.Event()
        return AdmissionTicket(self, ask.model, request)

    def readmit(self, caller: Caller, ask: Ask) -> Ticket:
        """See ``Admission``."""
        pool = self._pool(ask.model)
        cost = pool.experience.cost(ask.demand or _demand_of(ask))
        request = pool.queue.readmit(caller.user_id, cost, time.monotonic())
        return AdmissionTicket(self, ask.model, request)

    def room(self, model: str) -> TokenRoom | None:
        """See ``Admission``."""
        return self._pool(model).queue.room()

    def load(self) -> dict[str, float]:
        """What the other ingresses must know: goes into this process' beat."""
        return {
            f"{figure} {model}": value
            for model, pool in self._pools.items()
            for figure, value in zip(_FIGURES, _figures(pool.queue.standing), strict=True)
        }

    # --- for tickets --------------------------------------------------------------------------

    def refresh(self, model: str) -> None:
        """Take the latest beats into account; whoever has room now is granted."""
        pool = self._pool(model)
        generators = [beat for beat in self._alive("generator") if beat.model in ("", model)]
        pool.was_heard = pool.was_heard or bool(generators)
        whole = capacity_of(generators) if pool.was_heard else UNKNOWN_CAPACITY
        others = [
            _standing(beat, model)
            for beat in self._alive("ingress")
            if beat.process_id != self._my_id
        ]
        part: Capacity = share(whole, pool.queue.standing, others)
        pool.announce(pool.queue.resize(part, time.monotonic()))

    def position(self, model: str, request: Request) -> QueuePosition:
        """Where a waiting request stands. Raises ``Overloaded`` when it has waited too long."""
        queue = self._pool(model).queue
        overdue: Overloaded | None = queue.overdue(request, time.monotonic())
        if overdue is not None:
            raise overdue
        return queue.position(request)

    def turn(self, model: str, request: Request) -> asyncio.Event | None:
        """Set once a waiting request is granted or has left; None if it is not waiting."""
        return self._pool(model).turns.get(request)

    def leave(self, model: str, request: Request, output_tokens: int | None) -> None:
        """The request needs its place no more."""
        pool = self._pool(model)
        pool.announce((request,))
        pool.announce(pool.queue.leave(request, time.monotonic(), output_tokens=output_tokens))

    def _pool(self, model: str) -> _Pool:
        if model not in self._pools:
            experience = Experience()
            self._pools[model] = _Pool(FairQueue(self._bounds, experience), experience)
        return self._pools[model]


class AdmissionTicket:
    """``domain.asks.Ticket``."""

    def __init__(self, desk: AdmissionDesk, model: str, request: Request) -> None:
        self._desk = desk
        self._model = model
        self._request = request

    @property
    def is_granted(self) -> bool:
        """Go on, or wait."""
        return self._request.is_granted

    async def waiting(self) -> AsyncGenerator[QueuePosition, None]:
        """See ``Ticket``."""
        told: QueuePosition | None = None
        told_at_s = 0.0
        while (turn := self._desk.turn(self._model, self._request)) is not None:
            try:
                position = self._desk.position(self._model, self._request)
            except Overloaded:
                self.release()
                raise
            now_s = time.monotonic()
            if told is None or _is_news(position, told, elapsed_s=now_s - told_at_s):
                told, told_at_s = position, now_s
                yield position
            try:
                async with asyncio.timeout(_TELL_PERIOD_S):
                    await turn.wait()
            except TimeoutError:
                self._desk.refresh(self._model)

    def release(self, *, output_tokens: int | None = None) -> None:
        """See ``Ticket``."""
        self._desk.leave(self._model, self._request, output_tokens)


def _is_news(now: QueuePosition, told: QueuePosition, *, elapsed_s: float) -> bool:
    expected_s = max(0.0, told.eta_s - elapsed_s)
    surprise_s = abs(now.eta_s - expected_s)
    return now.place != told.place or surprise_s > max(_NEWS_S, _NEWS_RATIO * expected_s)


# --- beats of ingresses -----------------------------------------------------------------------

_FIGURES = ("granted_tokens", "granted", "waiting")


def _figures(standing: Standing) -> tuple[float, float, float]:
    return (standing.tokens, standing.requests, standing.waiting)


def _standing(beat: Beat, model: str) -> Standing:
    return Standing(*(beat.load.get(f"{figure} {model}", 0.0) for figure in _FIGURES))


# --- cost of what is stored already -----------------------------------------------------------


def _demand_of(ask: Ask) -> Demand:
    kinds = [kind for item in ask.input_items for kind in _part_types(item)]
    has_history = ask.conversation_id is not None or ask.previous_response_id is not None
    return Demand(
        prompt_bytes=len((ask.instructions or "").encode())
        + sum(len(orjson.dumps(item.body.get("content", ""))) for item in ask.input_items)
        + sum(len(tool.parameters_json) for tool in ask.tools)
        + (USUAL_HISTORY_BYTES if has_history else 0),
        max_output_tokens=ask.sampling.max_output_tokens,
        picture_px=(USUAL_PICTURE_PX,) * kinds.count("input_image"),
        audio_s=USUAL_RECORDING_S * kinds.count("input_file"),
    )


def _part_types(item: Item) -> list[str]:
    content = item.body.get("content")
    return [part.get("type", "") for part in content] if isinstance(content, list) else []
