"""Those who come while something is broken: new requests, one after another, all over new lines."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

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
        outage_s: longest time in which no new request was answered as it should be.
        answer_outage_s: the same for new questions to the model.
        n_not_found: 404s.
        failures: how often what went wrong, by status or kind.
    """

    outage_s: float = 0.0
    answer_outage_s: float = 0.0
    n_asked: int = 0
    n_not_found: int = 0
    failures: Counter[str] = field(default_factory=Counter)


class Newcomers:
    """Asks without pause what anybody may ask, and a short answer of the model now and then."""

    def __init__(self, url: str, headers: Mapping[str, str], model: str) -> None:
        self._address = Address.of(url)
        self._headers = dict(headers)
        question = {"model": model, "input": "Hello", "max_output_tokens": 2, "store": False}
        self._question = orjson.dumps(question)
        self._served_at_s = [time.perf_counter()]
        self._answered_at_s = [time.perf_counter()]
        self._noticed = Noticed()

    @asynccontextmanager
    async def coming(self) -> AsyncIterator[Noticed]:
        """Ask inside the block; what was noticed is complete after it."""
        async with asyncio.TaskGroup() as group:
            clocks = [
                group.create_task(self._come(group, path, b"", _EVERY_S, self._served_at_s))
                for path in _PATHS
            ]
            clocks.append(
                group.create_task(
                    self._come(
                        group,
                        "/v1/responses",
                        self._question,
                        _ANSWER_EVERY_S,
                        self._answered_at_s,
                    )
                )
            )
            try:
                yield self._noticed
            finally:
                for clock in clocks:
                    clock.cancel()
        self._noticed.outage_s = _longest_pause(self._served_at_s)
        self._noticed.answer_outage_s = _longest_pause(self._answered_at_s)

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
            await asyncio.sleep(every_s)

    async def _ask(self, path: str, body: bytes, succeeded_at_s: list[float]) -> None:
        self._noticed.n_asked += 1
        told = await ask(self._address, path, self._headers, body)
        if told == "200":
            succeeded_at_s.append(time.perf_counter())
            return
        self._noticed.n_not_found += told == "404"
        self._noticed.failures[f"{path}: {told}"] += 1


def _longest_pause(moments_s: list[float]) -> float:
    """Between two moments, or since the last one."""
    ordered = [*sorted(moments_s), time.perf_counter()]
    return max(after - before for before, after in pairwise(ordered))
