"""What lies in a prepared model's folder, and whether it is what the catalog means."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from serve.registry.archives import sha256_of
from serve.registry.specs import ModelSpec

MANIFEST_NAME: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One file of a model; ``path`` is relative to its folder."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Written last, so a folder that has one is complete."""

    name: str
    revision: str
    licence: str
    origins: tuple[str, ...]
    files: tuple[FileFacts, ...]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


def write_manifest(spec: ModelSpec, folder: Path) -> Manifest:
    """Describe every file of the folder but the manifest itself."""
    manifest = Manifest(
        name=spec.name,
        revision=spec.revision,
        licence=spec.licence,
        origins=tuple(
            f"{source.kind.value} {source.name} {source.version} sha256:{source.sha256} "
            f"({source.licence}): {source.origin}"
            for source in spec.sources
        ),
        files=tuple(
            FileFacts(
                path=path.relative_to(folder).as_posix(),
                size_bytes=path.stat().st_size,
                sha256=sha256_of(path),
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path != folder / MANIFEST_NAME
        ),
    )
    text = json.dumps(asdict(manifest), indent=1)
    (folder / MANIFEST_NAME).write_text(f"{text}\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """What ``write_manifest`` wrote; None when there is nothing or nothing legible."""
    try:
        raw = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        return Manifest(
            name=raw["name"],
            revision=raw["revision"],
            licence=raw["licence"],
            origins=tuple(raw["origins"]),
            files=tuple(FileFacts(**file) for file in raw["files"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def current_manifest(spec: ModelSpec, folder: Path) -> Manifest | None:
    """The manifest when the folder holds this revision with every file at its size."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.revision != spec.revision:
        return None
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return None
    return manifest
