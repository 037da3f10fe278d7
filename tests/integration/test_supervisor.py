"""The supervisor with real stores and a real Ray Serve, but a graph without models."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
import yaml

# Long: Ray starts slowly where other work goes on.
_START_S = 600
_REPOSITORY = Path(__file__).parents[2]


class Supervised:
    """A home, and a supervisor on it in a process of its own."""

    def __init__(self, home: Path, serve_config: Path) -> None:
        self.home = home
        self.serve_config = serve_config
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = home.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "POLYMODAL_HOME": str(self.home),
            "POLYMODAL_PORT": str(self.port),
        }
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.integration.supervised", str(self.serve_config)],
                env=environment,
                cwd=_REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_and_wait(self) -> None:
        self.process = self.start()
        eventually(self._is_ready, _START_S, self.explain)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.explain()
        return "READY" in self.log.read_text()

    def explain(self) -> str:
        logs = [self.log, *self.home.glob("logs/*.log")]
        return "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in logs)

    @property
    def addresses(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.home / "run" / "stores.json").read_text())
        return found

    def processes(self) -> list[psutil.Process]:
        """Everything that has to do with this home, whoever started it."""
        mark = str(self.home)
        found = []
        for process in psutil.process_iter():
            try:
                told = [process.cwd(), *process.cmdline(), *process.environ().values()]
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if any(mark in text for text in told):
                found.append(process)
        return found


def eventually(holds: Callable[[], bool], within_s: float, explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    home = tmp_path / "home"
    serve_config = tmp_path / "serve_config.yaml"
    application = {
        "name": "polymodal",
        "import_path": "tests.integration.small_graph:build",
        "route_prefix": "/",
        "args": {"marker": str(home)},
    }
    service = Supervised(home, serve_config)
    http_options = {"host": "127.0.0.1", "port": service.port}
    serve_config.write_text(
        yaml.safe_dump({"http_options": http_options, "applications": [application]})
    )
    yield service
    for process in service.processes():
        process.kill()


async def test_a_killed_supervisor_leaves_nothing_running_and_loses_nothing(
    supervised: Supervised,
) -> None:
    supervised.start_and_wait()
    names = {process.name() for process in supervised.processes()}
    assert {"postgres", "valkey-server", "raylet", "gcs_server", "sleep"} <= names
    await _remember(supervised)
    _everything_listens_on_loopback(supervised)

    second = supervised.start()
    assert second.wait(timeout=30) == 1
    assert "is in use by process" in supervised.log.read_text()

    assert supervised.process is not None
    supervised.process.kill()
    supervised.process.wait()
    eventually(lambda: not supervised.processes(), 15, lambda: str(supervised.processes()))

    supervised.start_and_wait()
    assert await _remembered(supervised) == (1, b"1")

    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.process.wait(timeout=60) == 0
    assert supervised.processes() == []
    assert not (supervised.home / "run" / "stores.json").exists()


def test_what_ends_is_started_again_and_ctrl_c_stops_all(supervised: Supervised) -> None:
    supervised.start_and_wait()
    assert supervised.process is not None
    for name in ("valkey-server", "postgres"):
        _oldest(supervised, name).kill()
        _is_said(supervised, name.removesuffix("-server") + " had ended and was started again")
    _oldest(supervised, "valkey-server").send_signal(signal.SIGSTOP)
    _is_said(supervised, "valkey had stalled and was started again")
    assert redis.Redis.from_url(supervised.addresses["redis_url"]).ping()

    # Whoever holds the graph together is not replaced but goes on.
    for process in _holders_of_the_graph(supervised):
        process.send_signal(signal.SIGSTOP)
        _is_said(supervised, f"Process {process.pid} of the graph had been stopped and goes on")

    _oldest(supervised, "raylet").kill()
    _is_said(supervised, "The graph ended")
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.wait(timeout=60) == 0
    assert supervised.processes() == []


def _oldest(supervised: Supervised, name: str) -> psutil.Process:
    found = [process for process in supervised.processes() if process.name() == name]
    return min(found, key=lambda process: process.create_time())


def _is_said(supervised: Supervised, line: str) -> None:
    eventually(lambda: line in supervised.log.read_text(), 60, supervised.explain)


def _holders_of_the_graph(supervised: Supervised) -> list[psutil.Process]:
    pid = int((supervised.home / "run" / "graph.pid").read_text().split()[0])
    keeper = psutil.Process(pid)
    return [keeper, *keeper.children()]


def _everything_listens_on_loopback(supervised: Supervised) -> None:
    addresses = set()
    for process in supervised.processes():
        with suppress(psutil.NoSuchProcess):
            addresses |= {
                connection.laddr.ip
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            }
    assert "127.0.0.1" in addresses
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


async def _remember(supervised: Supervised) -> None:
    connection = await asyncpg.connect(supervised.addresses["postgres_dsn"])
    await connection.execute("CREATE TABLE remembered AS SELECT 1 AS number")
    await connection.close()
    with redis.Redis.from_url(supervised.addresses["redis_url"]) as client:
        client.set("remembered", "1")


async def _remembered(supervised: Supervised) -> tuple[int, bytes]:
    connection = await asyncpg.connect(supervised.addresses["postgres_dsn"])
    number: int = await connection.fetchval("SELECT number FROM remembered")
    await connection.close()
    with redis.Redis.from_url(supervised.addresses["redis_url"]) as client:
        kept = client.get("remembered")
    assert isinstance(kept, bytes)
    return number, kept
