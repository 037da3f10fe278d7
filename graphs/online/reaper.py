"""Ends processes of ours that live but do nothing, so that Ray puts others in their place.

A killed process is seen at once by everybody who talks to it; a stopped or hung one by nobody. What
it held was given up by then or can be taken over: killing it only makes that plain.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from serve.domain.journal import Beat
from serve.observability.processes import StoppedTwice, process_stat, tree_of

_log = logging.getLogger(__name__)
# Replicas, the controller and engines by the titles they give themselves. Not Ray's own servers:
# without those nothing runs, and whoever watches the graph starts it again.
_TITLES: Final = ("ray::", "VLLM::")
_CONTROLLER: Final = "ray::ServeController"
_LOOK_EVERY_S: Final = 0.3
# The tree changes rarely, and reading it costs more than looking at it.
_LOOKS_PER_TREE: Final = 6
_CONTROLLER_MISSES: Final = 2


def end_silent_peer(beat: Beat) -> bool:
    """Kill the process that once sent ``beat``. False if it is not ours to kill, or gone.

    It must be on this host, of our user, and the same life of its process id.
    """
    if beat.host != socket.gethostname() or beat.pid == os.getpid():
        return False
    return _kill(beat.pid, beat.started_ticks)


class Reaper(threading.Thread):
    """Watches everything below one process until told to end, and kills what is stopped."""

    def __init__(self, root: int) -> None:
        """``root`` itself is not watched."""
        super().__init__(name="reaper", daemon=True)
        self._root = root
        self._stopped = StoppedTwice()
        self._told_to_end = threading.Event()

    def run(self) -> None:
        """The thread: look, and look again."""
        tree: tuple[int, ...] = ()
        n_looks = 0
        while not self._told_to_end.wait(_LOOK_EVERY_S):
            if n_looks % _LOOKS_PER_TREE == 0:
                tree = tree_of(self._root)[1:]
            n_looks += 1
            for pid in self._stopped.look(tree):
                _end(pid, "stopped")

    def end(self) -> None:
        """Watch no longer; returns when the thread has ended."""
        self._told_to_end.set()
        self.join()


class ControllerWatch(threading.Thread):
    """Asks Serve's controller whether it answers, and kills it when it twice did not."""

    def __init__(self, root: int, answers: Callable[[], bool], *, period_s: float) -> None:
        """``answers`` may block for some seconds; the controller is below ``root``."""
        super().__init__(name="controller-watch", daemon=True)
        self._root = root
        self._answers = answers
        self._period_s = period_s
        self._told_to_end = threading.Event()

    def run(self) -> None:
        """The thread: ask, and ask again."""
        misses = 0
        while not self._told_to_end.wait(self._period_s):
            misses = 0 if self._answers() else misses + 1
            if misses == _CONTROLLER_MISSES:
                misses = 0
                for pid in tree_of(self._root)[1:]:
                    if _title(pid).startswith(_CONTROLLER):
                        _end(pid, "silent")

    def end(self) -> None:
        """Watch no longer; does not wait for an answer."""
        self._told_to_end.set()


def _end(pid: int, failure: str) -> None:
    title = _title(pid)
    stat = process_stat(pid)
    if stat is not None and title.startswith(_TITLES) and _kill(pid, stat.started_ticks):
        _log.error("ended a process", extra={"title": title, "pid": pid, "failure": failure})


def _title(pid: int) -> str:
    """What the process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def _kill(pid: int, started_ticks: int) -> bool:
    """Kill this life of ``pid``, if it is our user's and not over."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # From here on the descriptor names one process, whoever gets the number next.
        stat = process_stat(pid)
        if stat is None or stat.is_gone or stat.started_ticks != started_ticks:
            return False
        if Path(f"/proc/{pid}").stat().st_uid != os.geteuid():
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(descriptor)
    return True
