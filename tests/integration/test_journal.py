"""The journal and the notices against a real Valkey."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from serve.domain.errors import StoreUnavailable
from serve.domain.journal import (
    Adopted,
    Beat,
    CancelAsked,
    CredentialRevoked,
    Ended,
    Notice,
    Restarted,
    Wrote,
)
from serve.domain.messages import Finished, FinishReason, LogEntry, LogEvent, TextDelta, Usage
from serve.domain.ports import Journal, LiveResponse
from serve.embedded.home import Home
from serve.embedded.valkey import ValkeyStore
from serve.storage.redis.streams import RedisStreams, connect_notices

END = Finished(FinishReason.STOP, Usage(output_tokens=1), 1.5)


@pytest.fixture
async def streams(redis_url: str) -> AsyncIterator[RedisStreams]:
    async with await RedisStreams.connect(redis_url) as streams:
        yield streams


@pytest.fixture
def journal(streams: RedisStreams) -> Journal:
    return streams.journal


@pytest.fixture
async def elsewhere(redis_url: str) -> AsyncIterator[RedisStreams]:
    """Another process, as far as the journal can tell."""
    async with await RedisStreams.connect(redis_url) as streams:
        yield streams


def new_id() -> str:
    return f"resp_{secrets.token_hex(8)}"


def text(seq: int, word: str = "word") -> TextDelta:
    return TextDelta(word, (seq,))


def words(response_id: str, seq: int, n: int = 1, *, epoch: int = 1) -> Wrote:
    return Wrote(response_id, epoch, seq, tuple(map(text, range(seq, seq + n))))


def end(response_id: str, *, term: int = 1) -> Ended:
    return Ended(response_id, term, END)


def entries(*events: LogEvent, from_seq: int = 0) -> list[LogEntry]:
    return [LogEntry(seq, event) for seq, event in enumerate(events)][from_seq:]


async def followed(journal: Journal, response_id: str, from_seq: int = 0) -> list[LogEntry]:
    async with (
        asyncio.timeout(20),
        aclosing(journal.follow(response_id, from_seq=from_seq)) as batches,
    ):
        return [entry async for batch in batches for entry in batch]


async def reach(live: LiveResponse, n_entries: int) -> None:
    version = 0
    while live.fold.next_seq < n_entries:
        version = await live.changed(version)


async def test_what_was_written_before_and_after_arrives_once_in_order_and_ends(
    journal: Journal,
) -> None:
    response_id = new_id()
    await journal.append([words(response_id, 0), words(response_id, 1)])
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(followed(journal, response_id))
        await journal.append([words(response_id, 2)])
        await journal.append([end(response_id)])
    assert reader.result() == entries(text(0), text(1), text(2), END)
    assert await followed(journal, response_id) == reader.result()
    assert await followed(journal, response_id, from_seq=2) == entries(
        text(0), text(1), text(2), END, from_seq=2
    )


async def test_a_batch_sent_twice_counts_once(journal: Journal) -> None:
    response_id = new_id()
    for batch in ([words(response_id, 0)], [words(response_id, 1, 2)], [end(response_id)]):
        await journal.append(batch)
        await journal.append(batch)
    assert await followed(journal, response_id) == entries(text(0), text(1), text(2), END)


async def test_a_supervisor_sees_the_fold_change_from_the_first_record_on(
    journal: Journal,
) -> None:
    response_id = new_id()
    async with asyncio.timeout(10), journal.open(response_id, is_new=True) as live:
        assert live.fold.next_seq == 0
        await journal.append([words(response_id, 0)])
        version = await live.changed(0)
        assert live.fold.next_seq == 1
        await journal.append([Restarted(response_id, 1, 2), Adopted(response_id, 2, "heir")])
        await live.changed(version)
        assert (live.fold.epoch, live.fold.term, live.fold.supervisor) == (2, 2, "heir")


async def test_a_gap_is_seen_and_healed_by_the_next_epoch(journal: Journal) -> None:
    response_id = new_id()
    async with asyncio.timeout(10), journal.open(response_id, is_new=True) as live:
        await journal.append([words(response_id, 0)])
        version = await live.changed(0)
        await journal.append([words(response_id, 2)])
        await live.changed(version)
        assert live.fold.has_gap
        await journal.append([Restarted(response_id, 1, 2), words(response_id, 1, epoch=2)])
        await journal.append([end(response_id)])
        assert await followed(journal, response_id) == entries(text(0), text(1), END)


async def test_followers_in_one_process_share_one_blocking_read(
    journal: Journal, redis_url: str
) -> None:
    ids = [new_id() for _ in range(20)]
    async with Redis.from_url(redis_url) as probe, asyncio.TaskGroup() as group:
        before = (await probe.info("clients"))["blocked_clients"]
        readers = [group.create_task(followed(journal, id_)) for id_ in ids for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await probe.info("clients"))["blocked_clients"] == before + 1
        await journal.append([words(id_, 0) for id_ in ids])
        await journal.append([end(id_) for id_ in ids])
    assert all(reader.result() == entries(text(0), END) for reader in readers)


async def test_a_slow_follower_gets_all_that_came_meanwhile_at_once(journal: Journal) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(10),
        journal.open(response_id, is_new=True) as live,
        aclosing(journal.follow(response_id)) as batches,
    ):
        await journal.append([words(response_id, 0)])
        assert await anext(batches) == entries(text(0))
        for seq in range(1, 5):
            await journal.append([words(response_id, seq)])
        await reach(live, 5)
        assert len(await anext(batches)) == 4


async def test_an_end_that_comes_while_a_follower_is_busy_is_not_lost(journal: Journal) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(10),
        journal.open(response_id, is_new=True) as live,
        aclosing(journal.follow(response_id)) as batches,
    ):
        await journal.append([words(response_id, 0)])
        assert await anext(batches) == entries(text(0))
        await journal.append([end(response_id)])
        await reach(live, 2)
        assert [batch async for batch in batches] == [entries(text(0), END, from_seq=1)]


async def test_large_appends_are_cut_into_rows_of_bounded_size(
    journal: Journal, redis_url: str
) -> None:
    many, one = new_id(), new_id()
    big = [TextDelta("x" * 1000, (seq,)) for seq in range(1000)]
    await journal.append(
        [Wrote(many, 1, seq, (event,)) for seq, event in enumerate(big)]
        + [Wrote(one, 1, 0, tuple(big)), end(many), end(one)]
    )
    assert await followed(journal, many) == entries(*big, END)
    assert await followed(journal, one) == entries(*big, END)
    async with Redis.from_url(redis_url) as probe:
        rows: Any = await probe.xrange("pm:journal")
    assert all(len(row[b"r"]) <= 256 * 1024 for _, row in rows)


async def test_what_many_append_at_once_shares_rows_and_one_that_fails_or_leaves_disturbs_nobody(
    journal: Journal, redis_url: str
) -> None:
    ids = [new_id() for _ in range(50)]
    unwritable = Wrote(new_id(), 1, 0, (TextDelta("half a pair: \ud83d", ()),))
    async with Redis.from_url(redis_url) as probe:
        n_rows = await probe.xlen("pm:journal")
    appends = [asyncio.ensure_future(journal.append([end(each)])) for each in ids]
    refused = asyncio.ensure_future(journal.append([unwritable]))
    await asyncio.sleep(0)
    appends[-1].cancel()
    results = await asyncio.gather(*appends, refused, return_exceptions=True)
    assert results[:-2] == [None] * 49
    assert isinstance(results[-2], asyncio.CancelledError)
    assert isinstance(results[-1], TypeError)
    async with Redis.from_url(redis_url) as probe:
        assert await probe.xlen("pm:journal") - n_rows <= 2
    for each in ids[:-1]:
        assert await followed(journal, each) == entries(END)


# --- the past -----------------------------------------------------------------------------------


async def test_a_late_reader_starts_from_the_checkpoint_when_the_journal_is_trimmed(
    journal: Journal, elsewhere: RedisStreams, redis_url: str
) -> None:
    response_id = new_id()
    async with asyncio.timeout(10), journal.open(response_id, is_new=True) as live:
        await journal.append([words(response_id, 0, 3)])
        await live.changed(0)
        await journal.checkpoint([response_id])
        async with Redis.from_url(redis_url) as probe:
            await probe.xtrim("pm:journal", maxlen=0, approximate=False)
        await journal.append([words(response_id, 3), end(response_id)])
        expected = entries(*map(text, range(4)), END)
        assert await followed(elsewhere.journal, response_id) == expected


async def test_checkpoints_of_several_processes_add_up(
    journal: Journal, elsewhere: RedisStreams, redis_url: str
) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(10),
        journal.open(response_id, is_new=True) as here,
        elsewhere.journal.open(response_id) as there,
    ):
        for seq, (live, keeper) in enumerate(2 * [(here, journal), (there, elsewhere.journal)]):
            await journal.append([words(response_id, seq)])
            await reach(live, seq + 1)
            await keeper.checkpoint([response_id, "resp_unknown"])
        async with Redis.from_url(redis_url) as probe:
            await probe.xtrim("pm:journal", maxlen=0, approximate=False)
        async with (
            await RedisStreams.connect(redis_url) as late,
            late.journal.open(response_id) as live,
        ):
            assert live.fold == there.fold


async def test_a_checkpoint_that_the_server_lost_is_made_again(
    journal: Journal, elsewhere: RedisStreams, redis_url: str
) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(10),
        Redis.from_url(redis_url) as probe,
        journal.open(response_id, is_new=True) as live,
    ):
        await journal.append([words(response_id, 0, 3)])
        await live.changed(0)
        await journal.checkpoint([response_id])
        await probe.delete(f"pm:log:{response_id}")
        await probe.xtrim("pm:journal", maxlen=0, approximate=False)
        await journal.checkpoint([response_id])
        await journal.checkpoint([response_id])
        async with elsewhere.journal.open(response_id) as recovered:
            assert recovered.fold == live.fold


async def test_a_damaged_checkpoint_is_none(
    journal: Journal, elsewhere: RedisStreams, redis_url: str
) -> None:
    response_id = new_id()
    await journal.append([words(response_id, 0), end(response_id)])
    async with Redis.from_url(redis_url) as probe:
        await probe.hset(f"pm:log:{response_id}", mapping={"0+1": "[[", "=other": "{}"})
    assert await followed(elsewhere.journal, response_id) == entries(text(0), END)


async def test_a_response_whose_beginning_is_lost_is_reported_not_begun_in_the_middle(
    journal: Journal,
) -> None:
    response_id = new_id()
    await journal.append([words(response_id, 7), end(response_id)])
    with pytest.raises(StoreUnavailable, match="lost"):
        await followed(journal, response_id)


async def test_checkpoints_are_forgotten_some_day_and_sooner_when_told(
    journal: Journal, redis_url: str
) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(10),
        Redis.from_url(redis_url) as probe,
        journal.open(response_id, is_new=True) as live,
    ):
        await journal.append([words(response_id, 0)])
        await live.changed(0)
        await journal.checkpoint([response_id])
        assert 600 < await probe.ttl(f"pm:log:{response_id}") < 24 * 3600
        await journal.forget(response_id, 60)
        assert 0 < await probe.ttl(f"pm:log:{response_id}") <= 60


async def test_rows_older_than_the_retention_go_and_what_they_held_can_still_be_read(
    redis_url: str,
) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(20),
        Redis.from_url(redis_url) as probe,
        await RedisStreams.connect(redis_url, retention_s=0.5) as streams,
        streams.journal.open(response_id, is_new=True) as live,
    ):
        await probe.delete("pm:journal")
        seq = 0
        # The server drops rows by the hundred.
        while await probe.xlen("pm:journal") == seq:
            await streams.journal.append([words(response_id, seq)])
            seq += 1
            if seq % 20 == 0:
                await reach(live, seq)
                await streams.journal.checkpoint([response_id])
        await streams.journal.append([end(response_id)])
        async with await RedisStreams.connect(redis_url) as late:
            assert await followed(late.journal, response_id) == entries(*map(text, range(seq)), END)


async def test_damaged_rows_and_records_are_left_out(
    journal: Journal, elsewhere: RedisStreams, redis_url: str
) -> None:
    response_id = new_id()
    async with Redis.from_url(redis_url) as probe, asyncio.TaskGroup() as group:
        reader = group.create_task(followed(journal, response_id))
        await journal.append([words(response_id, 0)])
        for damaged in (
            b"\xff", b"{}", b"7", b"[7]", b"[[]]", b'[["T",[]]]',
            f'[["T","{response_id}"],["W","{response_id}",1,1,[["Martian",1,2]]]]',
            f'[["Z","{response_id}",1],["E","{response_id}",1,["x",[1]]]]',
        ):  # fmt: skip
            await probe.xadd("pm:journal", {"r": damaged})
        await journal.append([words(response_id, 1), end(response_id)])
    assert reader.result() == entries(text(0), text(1), END)
    assert await followed(elsewhere.journal, response_id) == reader.result()


# --- outages ------------------------------------------------------------------------------------


@asynccontextmanager
async def own_server(tmp_path: Path) -> AsyncIterator[ValkeyStore]:
    home = Home(tmp_path / "home")
    with home.owned():
        server = ValkeyStore(home)
        server.start()
        try:
            await asyncio.to_thread(server.wait_ready)
            yield server
        finally:
            await asyncio.to_thread(server.stop, grace_s=10)


async def kill_and_restart(server: ValkeyStore) -> None:
    pid = server.child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    # Reaps it.
    await asyncio.to_thread(server.stop, grace_s=10)
    await asyncio.to_thread(server.start)


async def test_a_killed_server_loses_nothing_for_writers_and_readers(tmp_path: Path) -> None:
    response_id, late_id = new_id(), new_id()
    async with (
        asyncio.timeout(60),
        own_server(tmp_path) as server,
        await RedisStreams.connect(server.url) as writing,
        await RedisStreams.connect(server.url) as reading,
        asyncio.TaskGroup() as group,
    ):
        reader = group.create_task(followed(reading.journal, response_id))
        await writing.journal.append([words(late_id, 0)])
        n_words = 0
        for _ in range(3):
            for _ in range(50):
                await writing.journal.append([words(response_id, n_words)])
                n_words += 1
            restart = group.create_task(kill_and_restart(server))
            while not restart.done():
                await writing.journal.append([words(response_id, n_words)])
                n_words += 1
        # Who begins to read while the server is away waits for it, too.
        restart = group.create_task(kill_and_restart(server))
        late = group.create_task(followed(reading.journal, late_id))
        await restart
        await writing.journal.append([end(response_id), end(late_id)])
    assert reader.result() == entries(*map(text, range(n_words)), END)
    assert late.result() == entries(text(0), END)


async def test_an_append_whose_answer_was_lost_counts_once(redis_url: str) -> None:
    response_id = new_id()
    async with (
        losing_first_append_answer(redis_url) as url,
        await RedisStreams.connect(url) as streams,
    ):
        await streams.journal.append([words(response_id, 0, 2)])
        await streams.journal.append([words(response_id, 2), end(response_id)])
        assert await followed(streams.journal, response_id) == entries(*map(text, range(3)), END)
        assert await rows_about(response_id, redis_url) == 3


async def rows_about(response_id: str, redis_url: str) -> int:
    async with Redis.from_url(redis_url) as probe:
        rows: Any = await probe.xrange("pm:journal")
    return sum(response_id.encode() in fields[b"r"] for _, fields in rows)


@asynccontextmanager
async def losing_first_append_answer(redis_url: str) -> AsyncIterator[str]:
    """A way to the server that breaks once, between an append and its answer."""
    parts = urlsplit(redis_url)
    losses = iter([True])

    async def relay(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_connection(parts.hostname, parts.port)
        loses_answer = False

        async def requests() -> None:
            nonlocal loses_answer
            while chunk := await client.read(65536):
                loses_answer = b"XADD" in chunk and next(losses, False)
                forth.write(chunk)
            forth.close()
            await forth.wait_closed()

        async def answers() -> None:
            while chunk := await server.read(65536):
                if loses_answer:
                    break
                back.write(chunk)
            back.close()
            await back.wait_closed()

        async with asyncio.TaskGroup() as group:
            group.create_task(requests())
            group.create_task(answers())

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as relaying:
        port = relaying.sockets[0].getsockname()[1]
        credentials = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
        yield f"redis://{credentials}127.0.0.1:{port}{parts.path}"


async def test_a_server_that_stays_away_is_reported_to_everybody() -> None:
    async with await RedisStreams.connect("redis://127.0.0.1:1", patience_s=0.2) as streams:
        journal = streams.journal
        for attempt in (
            journal.append([words(new_id(), 0)]),
            followed(journal, new_id()),
            journal.ping(),
            journal.forget(new_id(), 1),
            streams.notices.send(CancelAsked(new_id())),
            anext(streams.notices.listen()),
        ):
            with pytest.raises(StoreUnavailable):
                await attempt


async def test_who_follows_is_told_when_the_server_stays_away_and_may_come_again(
    tmp_path: Path,
) -> None:
    response_id = new_id()
    async with (
        asyncio.timeout(60),
        own_server(tmp_path) as server,
        await RedisStreams.connect(server.url, patience_s=0.3) as streams,
    ):
        await streams.journal.append([words(response_id, 0)])
        batches = streams.journal.follow(response_id)
        assert await anext(batches) == entries(text(0))
        await asyncio.to_thread(server.stop, grace_s=10)
        with pytest.raises(StoreUnavailable):
            await anext(batches)
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.wait_ready)
        await streams.journal.append([end(response_id)])
        assert await followed(streams.journal, response_id) == entries(text(0), END)


async def test_a_reader_that_stood_still_for_too_long_begins_again(redis_url: str) -> None:
    async with (
        asyncio.timeout(20),
        await RedisStreams.connect(redis_url, retention_s=0.0) as streams,
        streams.journal.open(new_id(), is_new=True) as live,
    ):
        await streams.notices.send(CancelAsked(new_id()))
        with pytest.raises(StoreUnavailable, match="missed"):
            await live.changed(0)


async def test_closing_ends_the_followers(redis_url: str) -> None:
    streams = await RedisStreams.connect(redis_url)
    response_id = new_id()
    await streams.journal.append([words(response_id, 0)])
    batches = streams.journal.follow(response_id)
    await anext(batches)
    await streams.aclose()
    with pytest.raises(StoreUnavailable):
        await anext(batches)


async def test_a_reader_that_leaves_while_the_past_is_read_disturbs_nobody(
    journal: Journal, elsewhere: RedisStreams
) -> None:
    ids = [new_id() for _ in range(10)]
    await elsewhere.journal.append([record for id_ in ids for record in (words(id_, 0), end(id_))])
    tasks = [asyncio.get_running_loop().create_task(followed(journal, id_)) for id_ in (*ids, *ids)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert results[1::2] == 10 * [entries(text(0), END)]


# --- any interleaving ---------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "repeat", "restart", "adopt", "zombie",
                         "follow", "follow", "leave", "checkpoint", "newcomer", "pause"]),
        st.integers(0, 12),
    ),
    max_size=25,
)  # fmt: skip


class Story:
    """One response, written by a rightful generator and disturbed by others."""

    def __init__(self, url: str, group: asyncio.TaskGroup, stack: AsyncExitStack) -> None:
        self.id = new_id()
        self.events: list[LogEvent] = []
        self.readers: list[tuple[int, asyncio.Task[list[LogEntry]]]] = []
        self._url = url
        self._group = group
        self._stack = stack
        self._processes: list[RedisStreams] = []
        self._batches: list[list[Wrote]] = []
        self._epoch = self._term = 1

    async def newcomer(self) -> None:
        process = await self._stack.enter_async_context(await RedisStreams.connect(self._url))
        self._processes.append(process)

    async def step(self, action: str, number: int) -> None:
        journal = self._processes[number % len(self._processes)].journal
        seq = len(self.events)
        match action:
            case "write":
                batch = [words(self.id, seq, number % 3 + 1, epoch=self._epoch)]
                self.events += batch[0].events
                self._batches.append(batch)
                await journal.append(batch)
            case "repeat" if self._batches:
                await journal.append(self._batches[-1 - number % len(self._batches)])
            case "restart":
                self._epoch += 1
                await journal.append([Restarted(self.id, self._term, self._epoch)])
            case "adopt":
                self._term += 1
                await journal.append([Adopted(self.id, self._term, f"p{number}")])
            case "zombie" if self._epoch > 1 and self._term > 1:
                late = Wrote(self.id, self._epoch - 1, seq, (text(seq, "zombie"),))
                await journal.append([late, end(self.id, term=self._term - 1)])
            case "follow":
                start = min(number, seq)
                task = self._group.create_task(followed(journal, self.id, start))
                self.readers.append((start, task))
            case "leave" if seq:
                async with aclosing(journal.follow(self.id)) as left_early:
                    await anext(left_early)
            case "checkpoint":
                await journal.checkpoint([self.id])
            case "newcomer":
                await self.newcomer()
            case _:
                await asyncio.sleep(number / 2000)

    async def finish(self) -> None:
        await self._processes[0].journal.append([end(self.id, term=self._term)])
        self.events.append(END)
        await self.newcomer()
        self.readers.append((0, self._group.create_task(self.newest())))

    async def newest(self) -> list[LogEntry]:
        return await followed(self._processes[-1].journal, self.id)

    def check(self) -> None:
        for start, reader in self.readers:
            assert reader.result() == entries(*self.events, from_seq=start)


async def tell(url: str, steps: Sequence[tuple[str, int]]) -> None:
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            story = Story(url, group, stack)
            await story.newcomer()
            await story.newcomer()
            for action, number in steps:
                await story.step(action, number)
            await story.finish()
        story.check()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
async def test_any_interleaving_gives_every_reader_each_entry_once_in_order(
    redis_url: str, steps: list[tuple[str, int]]
) -> None:
    await tell(redis_url, steps)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=STEPS, after=STEPS)
async def test_so_does_any_interleaving_with_a_kill_of_the_server_in_between(
    killable: ValkeyStore, before: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            story = Story(killable.url, group, stack)
            await story.newcomer()
            await story.newcomer()
            for action, number in before:
                await story.step(action, number)
            group.create_task(kill_and_restart(killable))
            for action, number in after:
                # A checkpoint is not repeated: its maker has the next one to make soon anyway.
                if action != "checkpoint":
                    await story.step(action, number)
            await story.finish()
        story.check()


@pytest.fixture
async def killable(tmp_path: Path) -> AsyncIterator[ValkeyStore]:
    async with own_server(tmp_path) as server:
        yield server


WRITER = """
import asyncio, sys
from serve.domain.journal import *
from serve.domain.messages import *
from serve.storage.redis.streams import RedisStreams, connect_notices
async def main(url, response_id):
    async with await RedisStreams.connect(url) as streams:
        for seq in range(100):
            await streams.journal.append([Wrote(response_id, 1, seq, (TextDelta("word", (seq,)),))])
        end = Finished(FinishReason.STOP, Usage(output_tokens=1), 1.5)
        await streams.journal.append([Ended(response_id, 1, end)])
asyncio.run(main(*sys.argv[1:]))
"""


async def test_another_process_writes_what_this_one_follows(
    journal: Journal, redis_url: str
) -> None:
    response_id = new_id()
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(followed(journal, response_id))
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, redis_url, response_id
        )
        assert await writer.wait() == 0
    assert reader.result() == entries(*map(text, range(100)), END)


# --- notices ------------------------------------------------------------------------------------

BEAT = Beat(
    process_id="gen_1", kind="generator", host="here", pid=7, started_ticks=8,
    response_ids=("resp_1",), load={"running": 1.0},
)  # fmt: skip


async def heard(streams: RedisStreams, *awaited: Notice) -> list[Notice]:
    told: list[Notice] = []
    missing = set(map(repr, awaited))
    async with asyncio.timeout(10), aclosing(streams.notices.listen()) as batches:
        async for batch in batches:
            told += batch
            missing -= set(map(repr, batch))
            if not missing:
                break
    return told


async def test_a_notice_reaches_every_process_that_listens(
    streams: RedisStreams, elsewhere: RedisStreams
) -> None:
    cancel, revoked = CancelAsked(new_id()), CredentialRevoked(new_id())
    async with asyncio.TaskGroup() as group:
        for listener in (streams, streams, elsewhere):
            group.create_task(heard(listener, cancel, revoked, BEAT))
        await asyncio.sleep(0.05)
        for notice in (cancel, revoked, BEAT):
            await elsewhere.notices.send(notice)


async def test_a_replica_hears_notices_beside_what_was_said_before_it_came(
    streams: RedisStreams, redis_url: str
) -> None:
    cancel = CancelAsked(new_id())
    for notice in (BEAT, cancel):
        await streams.notices.send(notice)
    async with connect_notices(redis_url) as alone, aclosing(alone.listen()) as batches:
        assert cancel in await anext(batches)


async def test_who_comes_late_hears_of_cancels_and_revocations_but_not_of_old_beats(
    streams: RedisStreams, elsewhere: RedisStreams, redis_url: str
) -> None:
    cancel, revoked, last = (
        CancelAsked(new_id()),
        CredentialRevoked(new_id()),
        CancelAsked(new_id()),
    )
    for notice in (cancel, BEAT, revoked):
        await elsewhere.notices.send(notice)
    async with Redis.from_url(redis_url) as probe:
        await probe.xadd("pm:notices", {"n": "[]"})
    await elsewhere.notices.send(last)
    told = await heard(streams, cancel, revoked, last)
    assert not any(isinstance(notice, Beat) for notice in told)


async def test_the_notices_stay_few(streams: RedisStreams, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as probe:
        async with probe.pipeline(transaction=False) as pipe:
            for _ in range(12_000):
                pipe.xadd("pm:notices", {"n": "[]"})
            await pipe.execute()
        await streams.notices.send(BEAT)
        assert await probe.xlen("pm:notices") < 11_000
