"""Tells when a running store has stopped answering."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from serve.observability.processes import StoppedTwice, children_of

_SILENT_AFTER_S: Final = 3.0
# As well: time may have passed for us alone, in a machine that slept.
_SILENT_AFTER_PROBES: Final = 3
_PROBE_PERIOD_S: Final = 0.5
_PROBE_TIMEOUT_S: Final = 1.0


def replies(port: int, request: bytes, *, begins: bytes) -> bool:
    """Whether a server on loopback answers ``request`` within a second, and how it ``begins``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.sendall(request)
            return connection.recv(len(begins), socket.MSG_WAITALL) == begins
    except OSError:
        return False


class StallWatch:
    """Watches one server that has begun to answer, from a thread of its own until ``end``."""

    def __init__(self, pid: int, answers: Callable[[], bool]) -> None:
        """``answers`` may block for about a second; it is called from the thread."""
        self._pid = pid
        self._answers = answers
        self._stopped = StoppedTwice()
        self._answered_at = time.monotonic()
        self._n_silent = 0
        self._ended = threading.Event()
        threading.Thread(target=self._probe, name=f"stalls-{pid}", daemon=True).start()

    def end(self) -> None:
        """Watch no longer; does not wait for a probe that is under way."""
        self._ended.set()

    def is_stalled(self) -> bool:
        """Stopped, or a process of it is, at this call and the last; or silent for too long."""
        if self._stopped.look((self._pid, *children_of(self._pid))):
            return True
        silent_s = time.monotonic() - self._answered_at
        return self._n_silent >= _SILENT_AFTER_PROBES and silent_s > _SILENT_AFTER_S

    def _probe(self) -> None:
        while not self._ended.wait(_PROBE_PERIOD_S):
            if self._answers():
                self._answered_at = time.monotonic()
                self._n_silent = 0
            else:
                self._n_silent += 1
