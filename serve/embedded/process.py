"""One supervised child process: started to die with us, awaited, stopped gently, found again."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import psutil

from serve.embedded import launcher
from serve.embedded.home import Home, write_private
from serve.observability.processes import process_stat

_log = logging.getLogger(__name__)
_LOG_LIMIT_BYTES: Final = 16 * 1024 * 1024
_POLL_S: Final = 0.02
_KILL_PATIENCE_S: Final = 10.0

Identity = Literal["same", "namespace", "nobody"]


class StartFailed(RuntimeError):
    """A child ended or stayed silent while starting. The message ends with its last words."""


class Child:
    """A program that runs as long as we do, or shorter.

    Start it from the main thread only: the kernel's parent-death signal watches the thread.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        *,
        stop_signal: signal.Signals,
        kill_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """``stop_signal`` asks it to end, and is sent as well when we are killed."""
        self.name = name
        self._home = home
        self._stop_signal = stop_signal
        self._kill_signal = kill_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """Where its output goes."""
        return self._home.logs / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.pid is not None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process else None

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        become: Identity = "same",
        death_signal: signal.Signals | None = None,
    ) -> None:
        """Run ``command`` in a session of its own, its output appended to ``log_path``.

        Whatever a killed predecessor of ours left behind under this name is ended first.
        """
        self.end_leftover()
        launch = [sys.executable, "-I", "-S", launcher.__file__, "--parent", str(os.getpid())]
        launch += ["--signal", str(int(death_signal or self._stop_signal)), "--become", become]
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*launch, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                # Ctrl-C on the terminal must reach us alone: we stop children in order.
                start_new_session=True,
            )
        write_private(self._pid_path, f"{self._process.pid} {_started_at(self._process.pid)}")

    def wait_until(self, answers: Callable[[], bool], *, timeout_s: float) -> None:
        """Return once ``answers`` is true.

        Raises:
            StartFailed: The child ended, or ``timeout_s`` passed.
        """
        deadline = time.monotonic() + timeout_s
        while not answers():
            if not self.is_running:
                raise StartFailed(f"{self.name} ended while starting{self.last_words()}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.name} did not answer within {timeout_s:g} s{self.last_words()}"
                )
            time.sleep(_POLL_S)

    def ask_to_stop(self) -> None:
        """Send the stop signal; does not wait."""
        if self._process and self.is_running:
            self._process.send_signal(self._stop_signal)

    def stop(self, *, grace_s: float) -> None:
        """Ask, wait up to ``grace_s``, then kill. Harmless when it is not running."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(timeout=max(grace_s, 0.01))
        except subprocess.TimeoutExpired:
            _log.warning("child had to be killed", extra={"child": self.name})
            self.kill()
        self._process = None
        self._pid_path.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it at once."""
        if self._process and self.is_running:
            self._process.send_signal(self._kill_signal)
            try:
                self._process.wait(timeout=_KILL_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def last_words(self) -> str:
        """The end of its log, to be put behind an error message."""
        if not self.log_path.exists():
            return ""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        return "\n".join([f"; the end of {self.log_path}:", *(f"  {line}" for line in lines)])

    def end_leftover(self, *, grace_s: float = 10.0) -> None:
        """End the process that an earlier owner of the home started and could not stop."""
        try:
            pid_text, started_at = self._pid_path.read_text(encoding="ascii").split()
        except (FileNotFoundError, ValueError):
            return
        pid = int(pid_text)
        if _started_at(pid) == started_at:
            _log.warning("ending a leftover process", extra={"child": self.name, "pid": pid})
            leftover = psutil.Process(pid)
            leftover.send_signal(self._stop_signal)
            try:
                leftover.wait(timeout=grace_s)
            except psutil.TimeoutExpired:
                leftover.send_signal(self._kill_signal)
                leftover.wait(timeout=grace_s)
        self._pid_path.unlink(missing_ok=True)

    @property
    def _pid_path(self) -> Path:
        return self._home.run / f"{self.name}.pid"


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it.

    Raises:
        StartFailed: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise StartFailed(f"the package {package} is not installed; run `make setup`")
    return Path(spec.origin).parent


def _started_at(pid: int) -> str:
    """Start time of a process in kernel ticks: with the pid, it names a process for good."""
    stat = process_stat(pid)
    return "gone" if stat is None or stat.is_gone else str(stat.started_ticks)
