"""What a token costs on its way through the journal: processor time of each process it passes.

    make bench NAME=journal_cost ARGS="--responses 200 --steps 200"

A writer appends one row per engine step with one token of every response, at the pace of an
engine; a reader in another process follows all of them, folds all of them, or follows only one; a
Valkey of our own is in between. Nothing else of the service runs. Figures are microseconds of
processor time per token, medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.load.processes import processor_s
from benchmarks.report import keep
from serve.domain.journal import Ended, Wrote
from serve.domain.messages import Finished, FinishReason, TextDelta, Usage
from serve.embedded.home import Home
from serve.embedded.valkey import ValkeyStore
from serve.storage.redis.streams import RedisStreams


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is written, where, and how fast."""

    url: str
    prefix: str
    n_responses: int
    n_steps: int
    steps_per_s: float

    @property
    def response_ids(self) -> list[str]:
        """As long as real ones."""
        return [f"resp_{self.prefix}{number:024x}" for number in range(self.n_responses)]

    @property
    def n_tokens(self) -> int:
        """Over all responses."""
        return self.n_responses * self.n_steps


async def write(load: Load) -> float:
    """Be the generator. Seconds of processor time that appending took this process."""
    end = Finished(FinishReason.STOP, Usage(), 0.0)
    async with await RedisStreams.connect(load.url) as streams:
        journal, response_ids = streams.journal, load.response_ids
        await journal.ping()
        started_at, spent_s = time.monotonic(), 0.0
        for step in range(load.n_steps):
            words = [
                Wrote(response_id, 1, step, (TextDelta(" word", (step,)),))
                for response_id in response_ids
            ]
            await asyncio.sleep(started_at + step / load.steps_per_s - time.monotonic())
            cpu_s = time.thread_time()
            await journal.append(words)
            spent_s += time.thread_time() - cpu_s
        await journal.append([Ended(response_id, 1, end) for response_id in response_ids])
        return spent_s


async def fold(load: Load) -> float:
    """Be a supervisor: know all that is written. Seconds of processor time of this process."""
    return await _fold(load, load.response_ids)


async def pass_by(load: Load) -> float:
    """Be an ingress that has one client. Seconds of processor time of this process."""
    return await _fold(load, load.response_ids[-1:])


async def _fold(load: Load, response_ids: Sequence[str]) -> float:
    async with await RedisStreams.connect(load.url) as streams, AsyncExitStack() as stack:
        cpu_s = time.process_time()
        lives = [
            await stack.enter_async_context(streams.journal.open(each, is_new=True))
            for each in response_ids
        ]
        for live in lives:
            version = 0
            while not live.fold.has_ended:
                version = await live.changed(version)
        spent_s = time.process_time() - cpu_s
    assert all(live.fold.next_seq == load.n_steps + 1 for live in lives)
    return spent_s


async def follow(load: Load) -> float:
    """Be an ingress: tell every client every token. Seconds of processor time of this process."""
    async with await RedisStreams.connect(load.url) as streams:

        async def tell(response_id: str) -> int:
            n_entries = 0
            async for batch in streams.journal.follow(response_id):
                n_entries += len(batch)
            return n_entries

        cpu_s = time.process_time()
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(tell(each)) for each in load.response_ids]
        spent_s = time.process_time() - cpu_s
    assert all(client.result() == load.n_steps + 1 for client in clients)
    return spent_s


def run(part: Callable[[Load], Coroutine[None, None, float]], load: Load) -> float:
    """In a process of its own, in the loop that Serve's replicas have."""
    return uvloop.run(part(load))


READERS = {"follow": follow, "fold": fold, "pass_by": pass_by}


def measure(
    pool: ProcessPoolExecutor, valkey: ValkeyStore, load: Load, reader: str
) -> dict[str, float]:
    """One round with one reader: microseconds per token by process."""
    pid = valkey.child.pid
    assert pid is not None
    server_s = processor_s(pid)
    reading = pool.submit(run, READERS[reader], load)
    # Reading begins before writing does: what is read back at the start is another question.
    time.sleep(1.0)
    write_s = pool.submit(run, write, load).result()
    spent_s = {"append": write_s, reader: reading.result(), "server": processor_s(pid) - server_s}
    return {part: 1e6 * seconds / load.n_tokens for part, seconds in spent_s.items()}


def main() -> None:
    """Run the rounds and keep the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--steps-per-s", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        (home := Home(Path(folder) / "home")).owned(),
        ProcessPoolExecutor(2, mp_context=spawn) as pool,
    ):
        valkey = ValkeyStore(home)
        valkey.start()
        try:
            valkey.wait_ready()
            for number, reader in enumerate(args.rounds * list(READERS)):
                load = Load(
                    url=valkey.url,
                    prefix=f"{number:08x}",
                    n_responses=args.responses,
                    n_steps=args.steps,
                    steps_per_s=args.steps_per_s,
                )
                for part, cost_us in measure(pool, valkey, load, reader).items():
                    found[part].append(cost_us)
        finally:
            valkey.stop(grace_s=10)
    medians = {part: round(statistics.median(each), 2) for part, each in found.items()}
    for part, median in medians.items():
        print(f"{part:8} {median:6.2f} us/token   {min(found[part]):.2f} to {max(found[part]):.2f}")
    path = keep(
        "journal-cost", {"load": vars(args), "us_per_token": medians, "rounds_us": dict(found)}
    )
    print(f"kept in {path}")


if __name__ == "__main__":
    main()
