"""Processes that live but do nothing are ended, those and no others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from graphs.online.reaper import ControllerWatch, Reaper, end_silent_peer
from serve.domain.journal import Beat
from serve.observability.processes import process_stat
from tests.fixtures.scripts import told_by

Titled = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def titled() -> Iterator[Titled]:
    """Starts processes that call themselves as told."""
    with ExitStack() as stack:

        def start(title: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([title, "1000"], executable="/bin/sleep")
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    watching = Reaper(os.getpid())
    watching.start()
    yield watching
    watching.end()


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _beat(pid: int, *, host: str = "", ticks: int | None = None) -> Beat:
    stat = process_stat(pid)
    return Beat(
        process_id="ing_1",
        kind="ingress",
        host=host or socket.gethostname(),
        pid=pid,
        started_ticks=(stat.started_ticks if stat else 0) if ticks is None else ticks,
    )


def test_stopped_workers_are_ended_and_others_are_left(titled: Titled, reaper: Reaper) -> None:
    stopped = [titled("ray::ServeReplica:polymodal:Ingress"), titled("VLLM::EngineCore")]
    foreign, working = titled("somebody else's"), titled("ray::ServeReplica:polymodal:Generator")
    for process in (*stopped, foreign):
        process.send_signal(signal.SIGSTOP)
    assert [process.wait(timeout=30) for process in stopped] == [-signal.SIGKILL] * 2
    assert foreign.poll() is None
    assert working.poll() is None
    assert reaper.is_alive()


def test_who_started_later_is_watched_as_well(titled: Titled, reaper: Reaper) -> None:
    for _ in range(2):
        process = titled("ray::ServeController")
        process.send_signal(signal.SIGSTOP)
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert reaper.is_alive()


def test_a_silent_controller_is_ended_and_nothing_else(titled: Titled) -> None:
    controller, replica = titled("ray::ServeController"), titled("ray::ServeReplica:a:b")
    is_silent = threading.Event()
    n_asked = threading.Semaphore(0)

    def answers() -> bool:
        n_asked.release()
        return not is_silent.is_set()

    watch = ControllerWatch(os.getpid(), answers, period_s=0.05)
    watch.start()
    try:
        for _ in range(5):
            n_asked.acquire()
        assert controller.poll() is None
        is_silent.set()
        assert controller.wait(timeout=30) == -signal.SIGKILL
        assert replica.poll() is None
    finally:
        watch.end()
        watch.join()


def test_a_silent_peer_on_this_host_is_ended(titled: Titled) -> None:
    peer = titled("ray::ServeReplica:polymodal:Ingress")
    peer.send_signal(signal.SIGSTOP)
    beat = _beat(peer.pid)
    assert end_silent_peer(beat)
    assert peer.wait(timeout=30) == -signal.SIGKILL
    assert not end_silent_peer(beat), "it is gone"


def test_nobody_else_is_taken_for_a_silent_peer(titled: Titled) -> None:
    peer = titled("ray::ServeReplica:polymodal:Ingress")
    assert not end_silent_peer(_beat(peer.pid, host="elsewhere"))
    assert not end_silent_peer(_beat(peer.pid, ticks=1)), "an earlier life of this number"
    assert not end_silent_peer(_beat(os.getpid())), "ourselves"
    assert peer.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start somebody else's process")
def test_another_users_process_is_not_ours_to_end() -> None:
    with subprocess.Popen(["/bin/sleep", "1000"], user=65_534) as theirs:
        assert not end_silent_peer(_beat(theirs.pid))
        assert theirs.poll() is None
        theirs.kill()


def test_serve_puts_others_in_the_place_of_the_dead_and_the_stopped() -> None:
    became = told_by("tests.integration.reaped_graph")
    assert became == {"killed": True, "stopped": True, "controller": True, "after": True}
