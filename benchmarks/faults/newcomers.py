"""Those who come while something is broken: new requests, one after another, all over new lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from benchmarks.faults.asking import ask
from benchmarks.load.wire import Address

# Cheap enough that asking often costs the service nothing to speak of.
_PATHS = ("/healthz", "/v1/models")
_EVERY_S = 0.05
_ANSWER_EVERY_S = 0.25


@dataclass(slots=True)
class Noticed:
    """What newcomers met.

    Attributes:
        served_at_s: when a new request was answered as it should be.
        answered_at_s: when a new question to the model was.
        woken: when this process was to ask next, and how many seconds later it got to it.
        failures: how often what went wrong, by path and status or kind.
    """

    served_at_s: list[float] = field(default_factory=list)
    answered_at_s: list[float] = field(default_factory=list)
    woken: list[tuple[float, float]] = field(default_factory=list)
    n_asked: int = 0
    n_not_found: int = 0
    failures: dict[str, int] = field(default_factory=dict)


class Newcomers:
    """Asks without pause what anybody may ask, and a short answer of the model now and then."""

    def __init__(self, url: str, headers: Mapping[str, str], model: str) -> None:
        self._address = Address.of(url)
        self._headers = dict(headers)
        question = {"model": model, "input": "Hello", "max_output_tokens": 2, "store": False}
        self._question = orjson.dumps(question)
        self._noticed = Noticed()

    @asynccontextmanager
    async def coming(self) -> AsyncIterator[Noticed]:
        """Ask inside the block; what was noticed is complete after it."""
        noticed = self._noticed
        async with asyncio.TaskGroup() as group:
            clocks = [
                group.create_task(self._come(group, path, b"", _EVERY_S, noticed.served_at_s))
                for path in _PATHS
            ]
            clocks.append(
                group.create_task(
                    self._come(
                        group,
                        "/v1/responses",
                        self._question,
                        _ANSWER_EVERY_S,
                        noticed.answered_at_s,
                    )
                )
            )
            try:
                yield noticed
            finally:
                for clock in clocks:
                    clock.cancel()

    async def _come(
        self,
        group: asyncio.TaskGroup,
        path: str,
        body: bytes,
        every_s: float,
        succeeded_at_s: list[float],
    ) -> None:
        while True:
            group.create_task(self._ask(path, body, succeeded_at_s))
            due_s = time.perf_counter() + every_s
            await asyncio.sleep(every_s)
            self._noticed.woken.append((due_s, time.perf_counter() - due_s))

    async def _ask(self, path: str, body: bytes, succeeded_at_s: list[float]) -> None:
        self._noticed.n_asked += 1
        told = await ask(self._address, path, self._headers, body)
        if told == "200":
            succeeded_at_s.append(time.perf_counter())
            return
        self._noticed.n_not_found += told == "404"
        failures, what = self._noticed.failures, f"{path}: {told}"
        failures[what] = failures.get(what, 0) + 1
