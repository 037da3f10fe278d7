"""What being a job adds to work: the same work bare and as a job, in turns.

    make bench NAME=job_overhead ARGS="--rounds 5"

The work is a number of paced steps, each of which reports its progress, as a film's do; a pace
makes it last equally long however busy the machine is. The job is asked for, claimed, done and
written down by one ingress process' supervisor, on a PostgreSQL and a Valkey of our own, while a
client follows its events. ``done_over_bare`` is the time from the claim to the last event against
the bare time, ``asked_over_bare`` from the request on. Figures are medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.report import keep
from graphs.online.jobs.supervisor import JobSupervisor
from graphs.online.peers import Peers
from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.domain.jobs import Job, JobContext
from serve.domain.messages import Progress
from serve.domain.records import Caller, JsonObject, Scope
from serve.embedded.home import Home
from serve.embedded.postgres import PostgresStore
from serve.embedded.valkey import ValkeyStore
from serve.observability.processes import this_process
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.jobs import PostgresJobs
from serve.storage.postgres.migrate import migrate
from serve.storage.postgres.pool import open_database
from serve.storage.redis.streams import RedisStreams

_KIND = "paced"


@dataclass(frozen=True, slots=True)
class Paced:
    """``JobKind``: steps at a pace."""

    n_steps: int
    step_s: float

    async def work(self, context: JobContext | None) -> None:
        """Every step begins when it should have, whatever the one before took."""
        started_s = time.perf_counter()
        for step in range(1, self.n_steps + 1):
            await asyncio.sleep(started_s + step * self.step_s - time.perf_counter())
            if context is not None:
                context.report(Progress(step / self.n_steps, f"step {step}"), step=step)

    async def run(self, context: JobContext) -> JsonObject:
        """See ``JobKind``."""
        await self.work(context)
        return {}

    async def tidy(self, job: Job) -> None:
        """See ``JobKind``."""


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds; ``cpu_s`` are this process' own."""

    bare_s: float
    bare_cpu_s: float
    asked_s: float
    done_s: float
    cpu_s: float


@asynccontextmanager
async def _desk(
    postgres: str, valkey: str, kind: Paced
) -> AsyncIterator[tuple[JobSupervisor, Caller]]:
    await migrate(postgres)
    async with open_database(postgres) as database, await RedisStreams.connect(valkey) as streams:
        accounts = PostgresAccounts(database, passwords=Argon2Passwords(), secrets=RandomSecrets())
        user = await accounts.create_user(
            email="bench@example.org", name="", password=None, is_admin=False
        )
        peers = Peers(streams.notices, this_process("ingress"))
        supervisor = JobSupervisor(PostgresJobs(database), {_KIND: kind}, peers)
        async with peers.met(), supervisor.running():
            yield supervisor, Caller(user_id=user.id, scopes=frozenset(Scope))


async def _round(desk: JobSupervisor, caller: Caller, kind: Paced) -> Round:
    started_s, cpu_s = time.perf_counter(), time.process_time()
    await kind.work(None)
    bare_s, bare_cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    started_s, cpu_s = time.perf_counter(), time.process_time()
    job = await desk.start(caller, _KIND, {})
    claimed_s = 0.0
    async for batch in desk.follow(caller, job.id):
        if not claimed_s and any(event.type.value == "job.started" for event in batch):
            claimed_s = time.perf_counter()
    ended_s = time.perf_counter()
    return Round(
        bare_s, bare_cpu_s, ended_s - started_s, ended_s - claimed_s, time.process_time() - cpu_s
    )


async def measure(postgres: str, valkey: str, kind: Paced, rounds: int) -> dict[str, object]:
    """All rounds, after one that is not counted."""
    async with _desk(postgres, valkey, kind) as (desk, caller):
        await _round(desk, caller, Paced(1, 0.01))
        done = [await _round(desk, caller, kind) for _ in range(rounds)]
    return {
        "work_s": round(statistics.median(one.bare_s for one in done), 3),
        "done_over_bare": round(statistics.median(one.done_s / one.bare_s for one in done), 5),
        "asked_over_bare": round(statistics.median(one.asked_s / one.bare_s for one in done), 5),
        "added_cpu_over_bare": round(
            statistics.median((one.cpu_s - one.bare_cpu_s) / one.bare_s for one in done), 5
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--step-s", type=float, default=0.1)
    options = parser.parse_args(arguments)
    kind = Paced(options.steps, options.step_s)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Home(Path(folder))
        stack.enter_context(home.owned())
        urls = []
        for store in (PostgresStore(home), ValkeyStore(home)):
            stack.callback(store.stop, grace_s=10)
            store.start()
            store.wait_ready()
            urls.append(store.url)
        postgres, valkey = urls
        figures = uvloop.run(measure(postgres, valkey, kind, options.rounds))
    print(keep("job-overhead", {"steps": kind.n_steps, "rounds": options.rounds, **figures}))
    print(figures)


if __name__ == "__main__":
    main()
