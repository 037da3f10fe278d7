"""``polymodal up`` in a home of its own, started and stopped by a test or a measurement."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve.config.settings import process_environment

_REPOSITORY = Path(__file__).resolve().parents[1]
_START_LIMIT_S = 600.0
_STOP_LIMIT_S = 60.0
_SHOWN_CHARACTERS = 8000
_POLL_S = 0.3


class NotStarted(RuntimeError):
    """The service ended or stayed silent while starting. The message has its last words."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A service that answers, and what a person at its machine could do with it.

    ``supervisor`` is the process id of ``polymodal up``; ``environment`` makes any ``polymodal``
    command mean this one. ``setup_link`` is how its admin signs in the first time.
    """

    url: str
    home: Path
    environment: Mapping[str, str]
    supervisor: int
    setup_link: str = ""

    def command(self, *words: str, stdin: str = "") -> str:
        """Output of a ``polymodal`` command against this installation."""
        done = subprocess.run(
            [sys.executable, "-m", "serve.cli", *words],
            env=dict(self.environment),
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
            check=True,
        )
        return done.stdout

    def new_key(self, *words: str) -> str:
        """The secret of a fresh API key, the last word of the command."""
        return self.command("keys", "create", "--name", "test", *words).split()[-1]


@contextmanager
def started(home: Path, variables: Mapping[str, str]) -> Iterator[Installation]:
    """Start a service in ``home`` and stop it at the end.

    Args:
        home: an empty folder, or none yet; a file beside it gets the output.
        variables: settings beside the home and the port.

    Raises:
        NotStarted: It did not come up.
    """
    port = free_port()
    environment = {
        **process_environment(),
        "POLYMODAL_HOME": str(home),
        "POLYMODAL_PORT": str(port),
        **variables,
    }
    output = home.with_name(f"{home.name}.log")
    with output.open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "serve.cli", "up"],
            env=environment,
            cwd=_REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        link = _setup_link(supervisor, output)
        yield Installation(f"http://127.0.0.1:{port}", home, environment, supervisor.pid, link)
    finally:
        supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        # pytest shows it with the first failure only if it is on stdout.
        print(output.read_text(errors="replace")[-_SHOWN_CHARACTERS:])


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _setup_link(supervisor: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        told = output.read_text(errors="replace")
        found = re.search(r"http\S+/setup#token=\S+", told)
        if found:
            return found[0]
        if supervisor.poll() is not None:
            break
        time.sleep(_POLL_S)
    told = output.read_text(errors="replace")[-_SHOWN_CHARACTERS:]
    raise NotStarted(f"polymodal up did not come up ({supervisor.poll()}):\n{told}")
