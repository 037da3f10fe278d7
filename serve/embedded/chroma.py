"""Chroma as a server of its own: its in-process client is not safe across processes."""

from __future__ import annotations

import signal
import sys
from typing import Final

from serve.config.settings import process_environment
from serve.embedded.home import Home
from serve.embedded.process import Child
from serve.embedded.stalls import replies

_START_TIMEOUT_S: Final = 60.0
_HEARTBEAT: Final = (
    b"GET /api/v2/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
)


class ChromaStore:
    """The embedded vector store."""

    name = "chroma"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._child = Child(home, self.name, stop_signal=signal.SIGTERM)
        self._port = 0

    @property
    def child(self) -> Child:
        """The server process."""
        return self._child

    @property
    def url(self) -> str:
        """Address of the running server."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server; does not wait for it."""
        self._child.end_leftover()
        self._port = self._home.port(self.name)
        self._child.start(
            [
                sys.executable,
                "-m",
                "serve.embedded.chroma_server",
                str(self._home.folder(self.name)),
                str(self._port),
            ],
            environment={**process_environment(), "ANONYMIZED_TELEMETRY": "False"},
            # Its graceful end waits for open connections; SQLite needs no grace.
            death_signal=signal.SIGKILL,
        )

    def wait_ready(self) -> None:
        """Return when it answers. Raises ``StartFailed``."""
        self._child.wait_until(self.answers, timeout_s=_START_TIMEOUT_S)

    def stop(self, *, grace_s: float) -> None:
        """Stop it."""
        self._child.stop(grace_s=grace_s)

    def answers(self) -> bool:
        """Whether it says that it lives; takes a second at most."""
        return replies(self._port, _HEARTBEAT, begins=b"HTTP/1.1 200")
