"""The folder that holds an installation: who owns it now, its secrets, its ports."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


class HomeInUse(RuntimeError):
    """Another process runs on this home. The message names it."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where things are below one ``POLYMODAL_HOME``. Folders are made on first use."""

    path: Path

    @property
    def run(self) -> Path:
        """What describes the processes of now: addresses, pids, effective configuration."""
        return private_folder(self.path / "run")

    @property
    def logs(self) -> Path:
        """One file per child process."""
        return private_folder(self.path / "logs")

    @property
    def objects(self) -> Path:
        """The embedded object store."""
        return private_folder(self.path / "objects")

    def folder(self, name: str) -> Path:
        """A private folder of one store."""
        return private_folder(self.path / name)

    def secret(self, name: str) -> str:
        """A random password that stays the same, readable by its owner only."""
        path = private_folder(self.path / "secrets") / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text(encoding="ascii").strip()

    def secret_path(self, name: str) -> Path:
        """The file of ``secret(name)``, which exists afterwards."""
        self.secret(name)
        return self.path / "secrets" / name

    def port(self, name: str) -> int:
        """The loopback port of a store: the one of last time if it is free, else a free one."""
        path = self.run / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        if not _is_free(ports.get(name)):
            ports[name] = _free_port(frozenset(ports.values()))
            write_private(path, json.dumps(ports))
        return ports[name]

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the home for ourselves, until the block or the process ends.

        Raises:
            HomeInUse: Somebody else holds it.
        """
        path = private_folder(self.path) / "lock"
        # Never truncated before it is ours: it names the owner. Not inherited by children.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        with os.fdopen(descriptor, "r+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = file.read().strip() or "unknown"
                raise HomeInUse(
                    f"{self.path} is in use by process {owner}; stop that one first, or choose "
                    "another POLYMODAL_HOME (and POLYMODAL_PORT)"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def is_owned(self) -> bool:
        """Whether a process holds the home right now."""
        try:
            with self.owned():
                return False
        except HomeInUse:
            return True


def private_folder(path: Path) -> Path:
    """Make the folder for its owner only; one that exists keeps its mode."""
    path.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _is_free(port: int | None) -> bool:
    if port is None:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(taken: frozenset[int]) -> int:
    """Below the ports that Serve and the kernel hand out, so that nobody gets it first."""
    generator = secrets.SystemRandom()
    for _ in range(1_000):
        port = generator.randrange(12_000, 30_000)
        if port not in taken and _is_free(port):
            return port
    raise OSError("no free port between 12000 and 30000")
