"""One round of one level, whoever answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

from benchmarks.load.outcomes import Measured
from benchmarks.load.schedule import Asker, Level, Watch, arriving, closed_loop, open_loop
from benchmarks.load.workload import Session, Workload


@dataclass(frozen=True, slots=True)
class Round:
    """What is to be done. Everybody who does it asks the same questions.

    ``trace``: replayed instead of drawn sessions when it is not empty.
    """

    level: Level
    workload: Workload
    number: int
    trace: tuple[Session, ...] = ()

    async def run(self, asker: Asker, watch: Watch) -> Measured:
        """Do it."""
        if self.trace:
            return await open_loop(asker, self.trace, watch)
        if self.level.concurrency:
            numbers = range(self.level.n_sessions) if self.level.n_sessions else itertools.count()
            sessions = (self.workload.session(self.number, index) for index in numbers)
            return await closed_loop(asker, sessions, self.level, watch)
        seed = f"{self.workload.seed}/arrivals/{self.number}"
        drawn = arriving(partial(self.workload.session, self.number), self.level, seed)
        return await open_loop(asker, drawn, watch)
