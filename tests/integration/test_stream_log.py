"""The stream log against a real Valkey."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from serve.domain.errors import Conflict, InternalError, StoreUnavailable
from serve.domain.messages import Finished, FinishReason, LogEntry, TextDelta, Usage
from serve.embedded.home import Home
from serve.embedded.valkey import ValkeyStore
from serve.storage.redis.stream_log import RedisStreamLog


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[RedisStreamLog]:
    async with await RedisStreamLog.open(redis_url) as log:
        yield log


def new_id() -> str:
    return f"resp_{secrets.token_hex(8)}"


def text(seq: int, word: str = "word") -> LogEntry:
    return LogEntry(seq, TextDelta(word, (seq,)))


def end(seq: int) -> LogEntry:
    return LogEntry(seq, Finished(FinishReason.STOP, Usage(output_tokens=seq), 1.5))


async def collected(log: RedisStreamLog, response_id: str, from_seq: int = 0) -> list[LogEntry]:
    async with asyncio.timeout(20):
        return [entry async for entry in log.follow(response_id, from_seq=from_seq)]


async def test_what_was_written_before_and_after_arrives_once_in_order_and_ends(
    log: RedisStreamLog,
) -> None:
    response_id = new_id()
    await log.append([(response_id, text(0)), (response_id, text(1))])
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collected(log, response_id))
        await log.append([(response_id, text(2))])
        await log.append([(response_id, end(3))])
    assert reader.result() == [text(0), text(1), text(2), end(3)]
    assert await log.read(response_id) == tuple(reader.result())


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("follow"), st.integers(0, 12)),
        st.tuples(st.just("leave"), st.integers(0, 12)),
        st.tuples(st.just("pause"), st.integers(0, 3)),
    ),
    max_size=14,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
async def test_any_interleaving_gives_every_follower_each_entry_once_in_order(
    log: RedisStreamLog, steps: list[Step]
) -> None:
    response_id = new_id()
    n_entries = sum(count for action, count in steps if action == "append")
    readers: list[tuple[int, asyncio.Task[list[LogEntry]]]] = []
    seq = 0
    async with asyncio.TaskGroup() as group:
        for action, number in steps:
            match action:
                case "append":
                    batch = [(response_id, text(seq + i)) for i in range(number)]
                    await log.append(batch)
                    seq += number
                case "follow":
                    start = min(number, n_entries)
                    readers.append((start, group.create_task(collected(log, response_id, start))))
                case "leave" if seq:
                    async with aclosing(log.follow(response_id)) as left_early:
                        assert await anext(left_early) == text(0)
                case _:
                    await asyncio.sleep(number / 1000)
        await log.append([(response_id, end(seq))])
    written = [*map(text, range(seq)), end(seq)]
    for start, reader in readers:
        assert reader.result() == written[start:]


async def test_many_followers_cost_one_blocking_read(log: RedisStreamLog, redis_url: str) -> None:
    ids = [new_id() for _ in range(20)]
    async with Redis.from_url(redis_url) as probe, asyncio.TaskGroup() as group:
        before = (await probe.info("clients"))["blocked_clients"]
        readers = [group.create_task(collected(log, id_)) for id_ in ids for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (await probe.info("clients"))["blocked_clients"] == before + 1
        await log.append([(id_, end(0)) for id_ in ids])
    assert all(reader.result() == [end(0)] for reader in readers)


WRITER = """
import asyncio, sys
from serve.domain.messages import *
from serve.storage.redis.stream_log import RedisStreamLog
async def main(url, response_id):
    async with await RedisStreamLog.open(url) as log:
        for seq in range(100):
            await log.append([(response_id, LogEntry(seq, TextDelta("word", (seq,))))])
        end = Finished(FinishReason.STOP, Usage(output_tokens=100), 1.5)
        await log.append([(response_id, LogEntry(100, end))])
asyncio.run(main(*sys.argv[1:]))
"""


async def test_another_process_writes_what_this_one_follows(
    log: RedisStreamLog, redis_url: str
) -> None:
    response_id = new_id()
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collected(log, response_id))
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, redis_url, response_id
        )
        assert await writer.wait() == 0
    assert reader.result() == [*map(text, range(100)), end(100)]


async def test_a_restart_of_the_server_loses_nothing_for_writer_and_follower(
    tmp_path: Path,
) -> None:
    response_id = new_id()
    home = Home(tmp_path / "home")
    with home.owned():
        server = ValkeyStore(home)
        server.start()
        try:
            server.wait_ready()
            async with (
                await RedisStreamLog.open(server.url) as log,
                asyncio.TaskGroup() as group,
            ):
                reader = group.create_task(collected(log, response_id))
                await log.append([(response_id, text(0)), (response_id, text(1))])
                await asyncio.to_thread(server.stop, grace_s=10)
                late_write = group.create_task(log.append([(response_id, text(2))]))
                await asyncio.sleep(0.2)
                server.start()
                await asyncio.to_thread(server.wait_ready)
                await late_write
                await log.append([(response_id, end(3))])
        finally:
            server.stop(grace_s=10)
    assert reader.result() == [text(0), text(1), text(2), end(3)]


async def test_a_taken_place_is_a_conflict_and_stays_as_it_was(log: RedisStreamLog) -> None:
    contested, other = new_id(), new_id()
    await log.append([(contested, text(0, "first")), (contested, text(1, "first"))])
    with pytest.raises(Conflict) as refused:
        await log.append(
            [(contested, text(1, "second")), (contested, text(2, "second")), (other, text(0))]
        )
    assert refused.value.context == {"response_ids": contested}
    assert await log.read(contested) == (text(0, "first"), text(1, "first"))
    assert await log.read(other) == (text(0),)


async def test_writing_the_same_entry_twice_is_a_conflict_too(log: RedisStreamLog) -> None:
    response_id = new_id()
    await log.append([(response_id, text(0))])
    with pytest.raises(Conflict):
        await log.append([(response_id, text(0))])


async def test_an_answer_lost_on_the_way_is_no_conflict_with_ourselves(redis_url: str) -> None:
    response_id = new_id()
    async with (
        losing_first_append_answer(redis_url) as url,
        await RedisStreamLog.open(url) as log,
    ):
        await log.ping()
        await log.append([(response_id, text(0)), (response_id, text(1))])
        assert await log.read(response_id) == (text(0), text(1))


@asynccontextmanager
async def losing_first_append_answer(redis_url: str) -> AsyncIterator[str]:
    """A way to the server that breaks once, between an append and its answer."""
    parts = urlsplit(redis_url)
    losses = iter([True])

    async def relay(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_connection(parts.hostname, parts.port)
        with_answer = True

        async def requests() -> None:
            nonlocal with_answer
            while chunk := await client.read(65536):
                # The script is loaded with EVALSHA, SCRIPT LOAD, EVALSHA: the last one appends.
                if b"EVALSHA" in chunk and await server_knows_script() and next(losses, False):
                    with_answer = False
                forth.write(chunk)
            forth.close()
            await forth.wait_closed()

        async def answers() -> None:
            while chunk := await server.read(65536):
                if not with_answer:
                    break
                back.write(chunk)
            back.close()
            await back.wait_closed()

        async with asyncio.TaskGroup() as group:
            group.create_task(requests())
            group.create_task(answers())

    async def server_knows_script() -> bool:
        async with await RedisStreamLog.open(redis_url) as helper:
            await helper.append([(new_id(), text(0))])
        return True

    relaying = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with relaying:
        port = relaying.sockets[0].getsockname()[1]
        credentials = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
        yield f"redis://{credentials}127.0.0.1:{port}{parts.path}"


async def test_a_cancel_reaches_every_process_that_listens(
    log: RedisStreamLog, redis_url: str
) -> None:
    response_id = new_id()
    async with (
        await RedisStreamLog.open(redis_url) as elsewhere,
        asyncio.timeout(10),
        asyncio.TaskGroup() as group,
    ):
        for listener in (log, log, elsewhere):
            group.create_task(heard(listener, response_id))
        await asyncio.sleep(0.05)
        await elsewhere.request_cancel(response_id)


async def test_a_cancel_is_heard_by_who_starts_listening_just_after(log: RedisStreamLog) -> None:
    response_id = new_id()
    await log.request_cancel(response_id)
    async with asyncio.timeout(10):
        await heard(log, response_id)


async def heard(log: RedisStreamLog, response_id: str) -> None:
    async with aclosing(log.cancellations()) as cancelled:
        async for cancelled_id in cancelled:
            if cancelled_id == response_id:
                return


async def test_an_expired_log_is_gone(log: RedisStreamLog) -> None:
    response_id = new_id()
    await log.append([(response_id, text(0))])
    await log.expire(response_id, 0)
    assert await log.read(response_id) == ()


async def test_every_log_is_forgotten_some_day(log: RedisStreamLog, redis_url: str) -> None:
    response_id = new_id()
    await log.append([(response_id, text(7))])
    async with Redis.from_url(redis_url) as probe:
        assert 3600 < await probe.ttl(f"pm:log:{response_id}") < 24 * 3600


async def test_entries_lost_in_between_are_reported_not_skipped(
    log: RedisStreamLog, redis_url: str
) -> None:
    response_id = new_id()
    await log.append([(response_id, text(0))])
    async with Redis.from_url(redis_url) as probe:
        await probe.delete(f"pm:log:{response_id}")
    await log.append([(response_id, text(1)), (response_id, end(2))])
    with pytest.raises(StoreUnavailable) as failed:
        await collected(log, response_id)
    assert failed.value.context == {"expected_seq": 0, "found_seq": 1}
    assert await collected(log, response_id, from_seq=1) == [text(1), end(2)]


async def test_a_damaged_entry_fails_its_followers_and_nobody_else(
    log: RedisStreamLog, redis_url: str
) -> None:
    damaged, sound = new_id(), new_id()
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(collected(log, sound))
        async with Redis.from_url(redis_url) as probe:
            await probe.xadd(f"pm:log:{damaged}", {"e": b"\xff not ours"}, id="1-0")
        with pytest.raises(InternalError):
            await collected(log, damaged)
        await log.append([(sound, end(0))])
    assert reader.result() == [end(0)]


async def test_a_server_that_stays_away_is_reported_to_writers_and_followers() -> None:
    async with await RedisStreamLog.open("redis://127.0.0.1:1", patience_s=0.2) as log:
        with pytest.raises(StoreUnavailable):
            await log.append([(new_id(), text(0))])
        with pytest.raises(StoreUnavailable):
            await collected(log, new_id())
        with pytest.raises(StoreUnavailable):
            await log.ping()


async def test_closing_the_log_ends_its_followers(redis_url: str) -> None:
    log = await RedisStreamLog.open(redis_url)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(failing_follow(log))
        await asyncio.sleep(0.05)
        await log.aclose()
    assert isinstance(reader.result(), StoreUnavailable)


async def failing_follow(log: RedisStreamLog) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as failed:
        await collected(log, new_id())
    return failed.value
