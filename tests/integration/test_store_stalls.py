"""Embedded stores that stop answering without ending: found, killed, started again, data kept."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from signal import SIGCONT, SIGKILL, SIGSTOP

import asyncpg
import psutil
import pytest
import redis

from serve.config.settings import load_settings
from serve.embedded.home import Home
from serve.embedded.stalls import StallWatch
from serve.embedded.stores import EmbeddedStores
from serve.observability.processes import StoppedTwice, children_of, tree_of

_POLL_S = 0.05
# What the supervisor leaves between two looks, more or less.
_LOOK_EVERY_S = 0.2


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("stalls") / "home")


@pytest.fixture(scope="module")
def stores(home: Home) -> Iterator[EmbeddedStores]:
    embedded = EmbeddedStores(load_settings({"POLYMODAL_HOME": str(home.path)}))
    with home.owned():
        embedded.start()
        yield embedded
        embedded.stop(grace_s=10)


def _pid(home: Home, store: str) -> int:
    return int((home.run / f"{store}.pid").read_text().split()[0])


def _until_restarted(stores: EmbeddedStores) -> dict[str, str]:
    """Look as the supervisor does, until it had something to do."""
    deadline = time.monotonic() + 60
    while not (failed := stores.restart_the_failed()):
        assert time.monotonic() < deadline
        time.sleep(_LOOK_EVERY_S)
    return failed


async def _remembers(stores: EmbeddedStores, text: str) -> None:
    connection = await asyncpg.connect(stores.settings.postgres_dsn)
    try:
        assert await connection.fetchval("SELECT max(said) FROM remembered") == text
    finally:
        await connection.close()
    with redis.Redis.from_url(stores.settings.redis_url) as client:
        assert client.get("remembered") == text.encode()


async def _remember(stores: EmbeddedStores, text: str) -> None:
    connection = await asyncpg.connect(stores.settings.postgres_dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS remembered (said text)")
    await connection.execute("TRUNCATE remembered")
    await connection.execute("INSERT INTO remembered VALUES ($1)", text)
    await connection.close()
    with redis.Redis.from_url(stores.settings.redis_url) as client:
        client.set("remembered", text)
        # What is not on disk yet may go with the process.
        client.execute_command("WAITAOF", 1, 0, 5000)


def test_stores_that_live_are_left_alone(stores: EmbeddedStores) -> None:
    for _ in range(4):
        assert stores.restart_the_failed() == {}
        time.sleep(_LOOK_EVERY_S)


@pytest.mark.parametrize("name", ["valkey", "postgres", "chroma"])
async def test_a_stopped_store_is_started_again_with_its_data(
    home: Home, stores: EmbeddedStores, name: str
) -> None:
    await _remember(stores, f"before {name} stopped")
    victim = _pid(home, name)
    os.kill(victim, SIGSTOP)
    assert _until_restarted(stores) == {name: "stalled"}
    assert not psutil.pid_exists(victim)
    await _remembers(stores, f"before {name} stopped")
    assert stores.restart_the_failed() == {}


async def test_stores_that_stop_together_are_started_again_together(
    home: Home, stores: EmbeddedStores
) -> None:
    await _remember(stores, "before two stopped")
    for name in ("valkey", "postgres"):
        os.kill(_pid(home, name), SIGSTOP)
    failed: dict[str, str] = {}
    while len(failed) < 2:
        failed |= _until_restarted(stores)
    assert failed == {"postgres": "stalled", "valkey": "stalled"}
    await _remembers(stores, "before two stopped")


@pytest.mark.parametrize("died", [True, False])
async def test_stopped_sessions_of_a_lost_server_do_not_keep_the_next_one_out(
    home: Home, stores: EmbeddedStores, died: bool
) -> None:
    await _remember(stores, f"before all stopped {died}")
    connection = await asyncpg.connect(stores.settings.postgres_dsn)
    session = await connection.fetchval("SELECT pg_backend_pid()")
    server = _pid(home, "postgres")
    [stopped] = [pid for pid in children_of(server) if _is_session(pid)]
    os.kill(stopped, SIGSTOP)
    os.kill(server, SIGKILL if died else SIGSTOP)
    assert session
    assert _until_restarted(stores) == {"postgres": "ended" if died else "stalled"}
    assert not psutil.pid_exists(stopped)
    with suppress(asyncpg.PostgresError, OSError):
        await connection.close(timeout=2)
    await _remembers(stores, f"before all stopped {died}")


def _is_session(pid: int) -> bool:
    return "polymodal" in " ".join(psutil.Process(pid).cmdline())


async def test_one_stopped_session_is_enough(home: Home, stores: EmbeddedStores) -> None:
    await _remember(stores, "before one session stopped")
    connection = await asyncpg.connect(stores.settings.postgres_dsn)
    [stopped] = [pid for pid in children_of(_pid(home, "postgres")) if _is_session(pid)]
    os.kill(stopped, SIGSTOP)
    assert _until_restarted(stores) == {"postgres": "stalled"}
    with suppress(asyncpg.PostgresError, OSError):
        await connection.close(timeout=2)
    await _remembers(stores, "before one session stopped")


async def test_a_store_that_runs_in_circles_is_started_again(
    home: Home, stores: EmbeddedStores
) -> None:
    await _remember(stores, "before the circle")
    victim = _pid(home, "valkey")

    def run_in_circles() -> None:
        with (
            suppress(redis.RedisError),
            redis.Redis.from_url(stores.settings.redis_url) as client,
        ):
            client.eval("while true do end", 0)

    with_client = threading.Thread(target=run_in_circles)
    with_client.start()
    assert _until_restarted(stores) == {"valkey": "stalled"}
    with_client.join()
    assert _pid(home, "valkey") != victim
    await _remembers(stores, "before the circle")


@pytest.fixture
def sleeper() -> Iterator[psutil.Popen]:
    with psutil.Popen(["/bin/sh", "-c", "sleep 1000 & wait"]) as process:
        _eventually(lambda: len(tree_of(process.pid)) == 2)
        yield process
        for pid in reversed(tree_of(process.pid)):
            os.kill(pid, SIGKILL)


def test_silence_counts_once_it_lasted(sleeper: psutil.Popen) -> None:
    speaks = threading.Event()
    speaks.set()
    watch = StallWatch(sleeper.pid, speaks.is_set)
    try:
        assert not watch.is_stalled()
        speaks.clear()
        assert not watch.is_stalled()
        _eventually(watch.is_stalled)
        speaks.set()
        _eventually(lambda: not watch.is_stalled())
    finally:
        watch.end()


def test_two_looks_in_a_row_tell_who_is_stopped(sleeper: psutil.Popen) -> None:
    stopped = StoppedTwice()
    [child] = children_of(sleeper.pid)
    os.kill(child, SIGSTOP)
    _eventually(lambda: psutil.Process(child).status() == psutil.STATUS_STOPPED)
    assert stopped.look(tree_of(sleeper.pid)) == ()
    assert stopped.look(tree_of(sleeper.pid)) == (child,)
    os.kill(child, SIGCONT)
    _eventually(lambda: psutil.Process(child).status() != psutil.STATUS_STOPPED)
    assert stopped.look(tree_of(sleeper.pid)) == ()


def test_who_is_gone_has_no_children() -> None:
    with psutil.Popen(["/bin/true"]) as process:
        process.wait()
    assert children_of(process.pid) == ()
    assert StoppedTwice().look([process.pid]) == ()


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)
