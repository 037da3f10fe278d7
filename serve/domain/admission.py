"""Who may use the generators now and who waits: cost, capacity and a fair queue. Pure.

One unit counts everything: tokens that a request keeps in a generator's KV cache while it runs.
Times are seconds on the caller's own monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from serve.domain.errors import Overloaded, RateLimited
from serve.domain.journal import Beat

# UTF-8 bytes, because characters of some scripts are whole tokens and take three bytes.
_BYTES_PER_TOKEN: Final = 3.5
# A vision tower makes about one token of 28 x 28 pixels, and scales down what is larger.
_PX_PER_TOKEN: Final = 784
_MAX_TOKENS_PER_PICTURE: Final = 2_048
_TOKENS_PER_AUDIO_S: Final = 25
# Media whose size nobody told us, and earlier turns that nobody read yet.
USUAL_PICTURE_PX: Final = 1_000_000
USUAL_RECORDING_S: Final = 30.0
USUAL_HISTORY_BYTES: Final = 2_000
# Before anything was measured: an answer of two paragraphs, in ten seconds.
_FIRST_OUTPUT_TOKENS: Final = 256
_FIRST_HOLD_S: Final = 10.0
# How much one more observation weighs, once there were some.
_LEARNING: Final = 0.1
# Before the first beat nobody knows better: enough to keep any one engine busy.
_UNKNOWN_REQUESTS: Final = 256
# Part of the time that a request holds its place it is not in the engine.
_OVERCOMMIT: Final = 1.25
_LEAST_DELAY: Final = 0.5
_MOST_DELAY: Final = 4.0
# A generator that died is back about then.
_RESTART_S: Final = 15.0
_MAX_ETA_S: Final = 3_600.0


# --- cost -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What can be known of a request before any work: sizes, not content.

    ``prompt_tokens`` when somebody counted them, else ``prompt_bytes`` of UTF-8 tell.
    ``picture_px`` has an entry for each picture.
    """

    prompt_bytes: int = 0
    prompt_tokens: int | None = None
    max_output_tokens: int | None = None
    picture_px: tuple[int, ...] = ()
    audio_s: float = 0.0

    @property
    def input_tokens(self) -> int:
        """What goes in, at least 1."""
        text = self.prompt_tokens
        if text is None:
            text = math.ceil(self.prompt_bytes / _BYTES_PER_TOKEN)
        pictures = sum(
            min(math.ceil(px / _PX_PER_TOKEN), _MAX_TOKENS_PER_PICTURE) for px in self.picture_px
        )
        return max(1, text + pictures + math.ceil(self.audio_s * _TOKENS_PER_AUDIO_S))


class Experience:
    """What past requests of one model teach: how long answers get, how long places are held."""

    def __init__(self) -> None:
        self._output_tokens = float(_FIRST_OUTPUT_TOKENS)
        self._deviation = 0.0
        self._hold_s = _FIRST_HOLD_S
        self._n_outputs = self._n_holds = 0
        self._waited_s = self._foretold_s = 1.0

    def cost(self, demand: Demand) -> int:
        """Predicted tokens of a request: its input and what most answers stay below."""
        typical = math.ceil(self._output_tokens + 2 * self._deviation)
        asked = demand.max_output_tokens
        return demand.input_tokens + (typical if asked is None else min(asked, typical))

    @property
    def hold_s(self) -> float:
        """Mean seconds from a grant to its release."""
        return self._hold_s

    @property
    def delay(self) -> float:
        """How much longer waits turn out than what is ahead explains: others come and go first."""
        return min(max(self._waited_s / self._foretold_s, _LEAST_DELAY), _MOST_DELAY)

    def learn_wait(self, *, waited_s: float, foretold_s: float) -> None:
        """Compare one wait with what was foretold for it, before ``delay`` was applied."""
        self._waited_s += _LEARNING * (waited_s - self._waited_s)
        self._foretold_s += _LEARNING * (max(foretold_s, 1e-3) - self._foretold_s)

    def learn(self, *, held_s: float, output_tokens: int | None) -> None:
        """Take one finished request into account."""
        self._n_holds += 1
        self._hold_s += max(_LEARNING, 1 / (self._n_holds + 1)) * (held_s - self._hold_s)
        if output_tokens is None:
            return
        self._n_outputs += 1
        if self._n_outputs == 1:
            self._output_tokens, self._deviation = float(output_tokens), output_tokens / 2
            return
        weight = max(_LEARNING, 1 / self._n_outputs)
        error = output_tokens - self._output_tokens
        self._output_tokens += weight * error
        self._deviation += weight * (abs(error) - self._deviation)


# --- capacity ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capacity:
    """What may be granted at once, in tokens and in requests. Infinite where nothing is known."""

    tokens: float
    requests: float


UNKNOWN_CAPACITY: Final = Capacity(math.inf, _UNKNOWN_REQUESTS)


def capacity_of(generators: Iterable[Beat]) -> Capacity:
    """What these generators can hold together.

    Reads ``capacity_tokens`` and ``max_running`` of their loads; a missing one sets no limit.
    """
    tokens = requests = 0.0
    for beat in generators:
        tokens += beat.load.get("capacity_tokens") or math.inf
        requests += beat.load.get("max_running") or math.inf
    return Capacity(tokens, requests * _OVERCOMMIT)


@dataclass(frozen=True, slots=True)
class Standing:
    """What one ingress has granted of a model, and how many requests wait there."""

    tokens: float = 0.0
    requests: float = 0.0
    waiting: float = 0.0


def share(whole: Capacity, mine: Standing, others: Sequence[Standing]) -> Capacity:
    """How much of ``whole`` one of several ingresses may have granted at once.

    An equal part always; while nobody else waits, also an equal part of what is free. So a busy
    ingress takes over what idle ones leave, and gives it back once they need it.
    """
    n = len(others) + 1
    somebody_waits = any(other.waiting for other in others)

    def of(total: float, granted: float, elsewhere: float) -> float:
        if somebody_waits or math.isinf(total):
            return total / n
        free = max(0.0, total - granted - elsewhere)
        return max(total / n, granted + free / n)

    return Capacity(
        of(whole.tokens, mine.tokens, sum(other.tokens for other in others)),
        of(whole.requests, mine.requests, sum(other.requests for other in others)),
    )


# --- the queue --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBounds:
    """How long the queue of one model may get. 0 running per owner: no limit."""

    waiting: int
    waiting_per_owner: int
    running_per_owner: int = 0
    wait_s: float


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """``place`` 1 is next. ``eta_s``: seconds until the turn comes, as far as one can tell."""

    place: int
    eta_s: float


@dataclass(frozen=True, slots=True)
class TokenRoom:
    """Tokens that may be granted at once, how many of them are free, and when all will be."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True, eq=False)
class Request:
    """One request that waits, runs or has left."""

    owner_id: str
    cost: int
    asked_at_s: float
    granted_at_s: float | None = None
    foretold_s: float | None = None
    has_left: bool = False

    @property
    def is_granted(self) -> bool:
        """Whether its turn has come."""
        return self.granted_at_s is not None


@dataclass(slots=True)
class _Owner:
    """One owner's requests, oldest first. ``tag``: virtual time at which its next one starts."""

    number: int
    tag: float = 0.0
    running: int = 0
    waiting: deque[Request] = field(default_factory=deque)


class FairQueue:
    """Requests for one model: granted while there is room, in fair order when there is not.

    Start-time fair queueing: each owner's requests stand in the order they came, and the owner
    that has been granted the least, counted in cost, goes first. Nobody overtakes the first one,
    so that a large request is not starved by small ones.
    """

    def __init__(self, bounds: QueueBounds, experience: Experience) -> None:
        self._bounds = bounds
        self._experience = experience
        self._owners: dict[str, _Owner] = {}
        self._numbers = count()
        self._now_tag = 0.0
        self._n_waiting = 0
        self._tokens_waiting = 0
        self._granted = Standing()
        self._capacity = UNKNOWN_CAPACITY
        self._places: Mapping[Request, tuple[int, float]] | None = None

    @property
    def standing(self) -> Standing:
        """What is granted, and how many wait."""
        return Standing(self._granted.tokens, self._granted.requests, self._n_waiting)

    def room(self) -> TokenRoom | None:
        """What a client may be told; None while no limit is known."""
        limit = self._capacity.tokens
        if math.isinf(limit):
            return None
        remaining = max(0.0, limit - self._granted.tokens)
        return TokenRoom(int(limit), int(remaining), self._eta_s(self._tokens_waiting + limit, 0))

    def resize(self, capacity: Capacity, now_s: float) -> tuple[Request, ...]:
        """There is more or less room now. Returns what was granted, in order."""
        if capacity != self._capacity:
            self._capacity = capacity
            self._places = None
        return self._grant(now_s)

    def offer(self, owner_id: str, cost: int, now_s: float) -> Request:
        """Take a request in. It is granted at once if there is room and nobody waits.

        Raises:
            RateLimited: the owner has too many waiting.
            Overloaded: too many wait in all, or its turn would not come within ``wait_s``.
        """
        request = Request(owner_id, cost, now_s)
        owner = self._owner(owner_id)
        self._enqueue(owner, request)
        self._grant(now_s)
        if not request.is_granted:
            refusal = self._refusal(owner, request)
            if refusal is not None:
                self.leave(request, now_s)
                raise refusal
        return request

    def readmit(self, owner_id: str, cost: int, now_s: float) -> Request:
        """Take in what was granted elsewhere, whether there is room or not."""
        request = Request(owner_id, cost, now_s)
        self._let_in(self._owner(owner_id), request, now_s)
        return request

    def leave(
        self, request: Request, now_s: float, *, output_tokens: int | None = None
    ) -> tuple[Request, ...]:
        """The request is done or given up. Returns what was granted in its place, in order."""
        if request.has_left:
            return ()
        request.has_left = True
        self._places = None
        owner = self._owners[request.owner_id]
        if request.granted_at_s is None:
            owner.waiting.remove(request)
            self._n_waiting -= 1
            self._tokens_waiting -= request.cost
        else:
            if self._is_capped(owner):
                # What it was kept from by its own limit is not owed to it.
                owner.tag = max(owner.tag, self._now_tag)
            owner.running -= 1
            self._granted = Standing(
                self._granted.tokens - request.cost, self._granted.requests - 1
            )
            self._experience.learn(held_s=now_s - request.granted_at_s, output_tokens=output_tokens)
        granted = self._grant(now_s)
        self._forget_idle_owners()
        return granted

    def position(self, request: Request) -> QueuePosition:
        """Where a waiting request stands."""
        if self._places is None:
            self._places = self._all_places()
        place, tokens_ahead = self._places[request]
        eta_s = self._eta_s(tokens_ahead + request.cost, place)
        if request.foretold_s is None:
            request.foretold_s = eta_s
        return QueuePosition(place, eta_s * self._experience.delay)

    # --- granting -----------------------------------------------------------------------------

    def _owner(self, owner_id: str) -> _Owner:
        if owner_id not in self._owners:
            self._owners[owner_id] = _Owner(next(self._numbers))
        return self._owners[owner_id]

    def _enqueue(self, owner: _Owner, request: Request) -> None:
        if not owner.waiting:
            owner.tag = max(owner.tag, self._now_tag)
        owner.waiting.append(request)
        self._n_waiting += 1
        self._tokens_waiting += request.cost
        self._places = None

    def _grant(self, now_s: float) -> tuple[Request, ...]:
        granted = []
        while (owner := self._next_owner()) is not None and self._has_room(owner.waiting[0]):
            request = owner.waiting.popleft()
            self._n_waiting -= 1
            self._tokens_waiting -= request.cost
            self._now_tag = max(self._now_tag, owner.tag)
            self._let_in(owner, request, now_s)
            granted.append(request)
        return tuple(granted)

    def _let_in(self, owner: _Owner, request: Request, now_s: float) -> None:
        owner.tag = max(owner.tag, self._now_tag) + request.cost
        owner.running += 1
        request.granted_at_s = now_s
        if request.foretold_s is not None:
            self._experience.learn_wait(
                waited_s=now_s - request.asked_at_s, foretold_s=request.foretold_s
            )
        self._granted = Standing(self._granted.tokens + request.cost, self._granted.requests + 1)
        self._places = None

    def _next_owner(self) -> _Owner | None:
        if not self._n_waiting:
            return None
        ready = (
            owner for owner in self._owners.values() if owner.waiting and not self._is_capped(owner)
        )
        return min(ready, key=lambda owner: (owner.tag, owner.number), default=None)

    def _has_room(self, request: Request) -> bool:
        capacity = self._capacity
        if self._granted.requests < 1:
            # One that exceeds the capacity alone must run some day.
            return capacity.requests > 0
        return (
            self._granted.tokens + request.cost <= capacity.tokens
            and self._granted.requests + 1 <= capacity.requests
        )

    def _is_capped(self, owner: _Owner) -> bool:
        cap = self._bounds.running_per_owner
        return bool(cap) and owner.running >= cap

    def _forget_idle_owners(self) -> None:
        if not self._n_waiting and not self._granted.requests:
            # Nobody is owed anything: virtual time begins anew.
            self._owners.clear()
            self._now_tag = 0.0

    # --- telling ------------------------------------------------------------------------------

    def _refusal(self, owner: _Owner, request: Request) -> RateLimited | Overloaded | None:
        bounds = self._bounds
        everything_s = self._eta_s(self._tokens_waiting, self._n_waiting)
        if len(owner.waiting) > bounds.waiting_per_owner:
            return RateLimited(
                f"{bounds.waiting_per_owner} of your requests are waiting already, the limit",
                retry_after_s=_whole_s(everything_s / self._n_waiting),
                limit=bounds.waiting_per_owner,
            )
        if self._n_waiting > bounds.waiting:
            return Overloaded(
                f"{bounds.waiting} requests are waiting already, the limit",
                retry_after_s=_whole_s(everything_s / self._n_waiting),
                limit=bounds.waiting,
            )
        # Places are only worked out when the end of the queue is too far away.
        if everything_s > bounds.wait_s:
            eta_s = self.position(request).eta_s
            if eta_s > bounds.wait_s:
                return Overloaded(
                    f"the wait would be about {eta_s:.0f} s, the limit is {bounds.wait_s:g} s",
                    retry_after_s=_whole_s(eta_s - bounds.wait_s),
                    limit=self._n_waiting - 1,
                )
        return None

    def overdue(self, request: Request, now_s: float) -> Overloaded | None:
        """Why a request that has waited for longer than allowed must go, if it has."""
        wait_s = self._bounds.wait_s
        if now_s - request.asked_at_s <= wait_s:
            return None
        return Overloaded(
            f"no generator was free for {wait_s:g} s, the limit",
            retry_after_s=_whole_s(self.position(request).eta_s),
            limit=self._n_waiting,
        )

    def _all_places(self) -> Mapping[Request, tuple[int, float]]:
        """Place and tokens ahead of everything that waits, in the order it will be granted.

        What its owner's own limit holds back comes after all that is not held back.
        """
        cap = self._bounds.running_per_owner
        ranked = []
        for owner in self._owners.values():
            tag = owner.tag
            for index, request in enumerate(owner.waiting):
                is_held_back = bool(cap) and owner.running + index >= cap
                ranked.append(((is_held_back, tag, owner.number, index), request))
                tag = max(tag, self._now_tag) + request.cost
        ranked.sort(key=lambda pair: pair[0])
        places: dict[Request, tuple[int, float]] = {}
        tokens_ahead = 0.0
        for place, (_, request) in enumerate(ranked, start=1):
            places[request] = (place, tokens_ahead)
            tokens_ahead += request.cost
        return places

    def _eta_s(self, tokens: float, requests: float) -> float:
        """Until there is room for this much more, by Little's law on what is granted now."""
        granted, capacity = self._granted, self._capacity
        if not granted.requests:
            return _RESTART_S if capacity.requests <= 0 else 0.0
        hold_s = max(self._experience.hold_s, 1e-3)
        eta_s = max(
            0.0,
            (granted.tokens + tokens - capacity.tokens) * hold_s / granted.tokens,
            (granted.requests + requests - capacity.requests) * hold_s / granted.requests,
        )
        return min(eta_s, _MAX_ETA_S)


def _whole_s(seconds: float) -> int:
    return max(1, math.ceil(seconds))
