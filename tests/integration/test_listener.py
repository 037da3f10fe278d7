"""One queue of connections for all ingress replicas: real processes, killed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.installation import free_port
from graphs.online.listener import AddressTaken, share_listener

# Answers every connection with its own process id.
_REPLICA = """
import os, select, sys
from pathlib import Path
from graphs.online.listener import share_listener
shared = share_listener("127.0.0.1", int(sys.argv[1]), Path(sys.argv[2]))
shared.socket.listen(128)
shared.socket.setblocking(False)
print("first" if shared.is_first else "later", flush=True)
while True:
    select.select([shared.socket], [], [])
    try:
        client, _ = shared.socket.accept()
    except BlockingIOError:
        continue
    client.sendall(str(os.getpid()).encode())
    client.close()
"""


@contextmanager
def _replica(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _REPLICA, str(port), str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _came_up(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _answers(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        return int(client.recv(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # Longer than the path of a UNIX socket may be.
    return tmp_path / ("home" * 20) / "ingress"


def test_starters_at_once_share_one_socket(folder: Path) -> None:
    port = free_port()
    with _replica(port, folder) as one, _replica(port, folder) as two:
        assert sorted([_came_up(one), _came_up(two)]) == ["first", "later"]
        assert {_answers(port) for _ in range(20)} <= {one.pid, two.pid}


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_no_new_connection_is_lost_with_a_replica(folder: Path, fate: signal.Signals) -> None:
    port = free_port()
    with _replica(port, folder) as one:
        _came_up(one)
        with _replica(port, folder) as two:
            assert _came_up(two) == "later"
            one.send_signal(fate)
            if fate is signal.SIGKILL:
                one.wait()
            assert {_answers(port) for _ in range(20)} == {two.pid}
            with _replica(port, folder) as three:
                assert _came_up(three) == "later"


def test_a_replica_alone_begins_again_where_a_dead_one_left(folder: Path) -> None:
    port = free_port()
    with _replica(port, folder) as one:
        _came_up(one)
    assert [path.name for path in folder.glob("*.sock")] == [f"{one.pid}.sock"]
    shared = share_listener("127.0.0.1", port, folder)
    try:
        assert shared.is_first
        assert [path.name for path in folder.glob("*.sock")] == [f"{os.getpid()}.sock"]
    finally:
        shared.withdraw()
        shared.socket.close()
    assert not list(folder.glob("*.sock"))


def test_another_address_is_another_socket(folder: Path) -> None:
    with _replica(free_port(), folder) as other:
        _came_up(other)
        shared = share_listener("127.0.0.1", free_port(), folder)
        try:
            assert shared.is_first
        finally:
            shared.withdraw()
            shared.socket.close()


def test_an_address_that_strangers_hold_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.online.listener._BIND_WITHIN_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(AddressTaken, match=str(port)):
            share_listener("127.0.0.1", port, folder)
