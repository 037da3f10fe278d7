"""Finding, joining and checking the files that archives bring."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def only_file(folder: Path, pattern: str) -> Path:
    """The one file below a folder that matches. Raises ``ValueError`` for none or several."""
    found = [path for path in folder.rglob(pattern) if path.is_file()]
    if len(found) != 1:
        raise ValueError(f"expected one {pattern} in {folder.name}, found {len(found)}")
    return found[0]


def join_files(parts: Iterable[Path], target: Path, sha256: str) -> None:
    """Write the parts one after the other and check the whole.

    Raises:
        ValueError: the whole is not what was pinned.
    """
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
    if digest.hexdigest() != sha256:
        raise ValueError(f"{target.name} has sha256 {digest.hexdigest()}, expected {sha256}")


def copy_files(names: Iterable[str], source: Path, target: Path) -> None:
    """Copy files by their paths relative to both folders."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
