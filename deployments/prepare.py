"""Bring models to this machine: fetch, check, convert once, describe.

``python -m deployments.prepare --models-dir DIR [NAME …]``
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deployments.conversion.table import converter
from deployments.loading import model_dir
from deployments.manifest import Manifest, current_manifest, write_manifest
from serve.domain.errors import UnknownModel
from serve.registry.archives import ArchiveError, archive_path, fetch, locked, unpack
from serve.registry.catalog import catalog
from serve.registry.specs import ModelSpec, SourceKind

Report = Callable[[str], None]

_MB: Final = 1_000_000
_ARCHIVES: Final = ".archives"
_STAGING_PREFIX: Final = ".preparing-"


def prepare_all(
    specs: Sequence[ModelSpec], models_dir: Path, report: Report, *, keep_archives: bool = False
) -> None:
    """Prepare every model that is not here yet. One process at a time works on a folder.

    Archives are deleted once all models are made, since several may share them. After a failure
    they stay, and the next run goes on with them.

    Raises:
        ArchiveError: an archive cannot be had.
    """
    waiting = [spec for spec in specs if spec.sources and not _is_here(spec, models_dir, report)]
    if not waiting:
        return
    models_dir.mkdir(parents=True, exist_ok=True)
    with locked(models_dir / ".lock", report):
        for left_over in models_dir.glob(f"{_STAGING_PREFIX}*"):
            shutil.rmtree(left_over)
        for spec in waiting:
            prepare(spec, models_dir, report)
        if not keep_archives:
            shutil.rmtree(models_dir / _ARCHIVES, ignore_errors=True)


def prepare(spec: ModelSpec, models_dir: Path, report: Report) -> Manifest | None:
    """Prepare one model; the caller holds the lock. None for one that needs no conversion."""

    def say(text: str) -> None:
        report(f"{spec.name}: {text}")

    if not spec.is_prepared:
        if any(source.kind is SourceKind.HUB for source in spec.sources):
            say("fetching from the model hub")
        model_dir(spec, models_dir)
        return None
    target = models_dir / spec.name
    manifest = current_manifest(spec, target)
    if manifest is not None:
        return manifest
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=_STAGING_PREFIX) as scratch:
        out = Path(scratch) / "model"
        out.mkdir()
        folders = _unpacked(spec, models_dir / _ARCHIVES, Path(scratch), say)
        converter(spec.converter)(folders, out, say)
        for path in out.rglob("*"):
            # Some writers make private files; replicas may run as somebody else.
            path.chmod(0o755 if path.is_dir() else 0o644)
        manifest = write_manifest(spec, out)
        if target.exists():
            target.replace(Path(scratch) / "replaced")
        out.replace(target)
    say(f"ready, {manifest.size_bytes / _MB:.0f} MB, {time.monotonic() - started:.0f} s")
    return manifest


def _is_here(spec: ModelSpec, models_dir: Path, report: Report) -> bool:
    if spec.sources[0].kind is SourceKind.PATH:
        return True
    manifest = current_manifest(spec, models_dir / spec.name) if spec.is_prepared else None
    if manifest is not None:
        report(f"{spec.name}: already here, {manifest.size_bytes / _MB:.0f} MB")
    return manifest is not None


def _unpacked(spec: ModelSpec, cache: Path, scratch: Path, say: Report) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for number, source in enumerate(spec.sources, start=1):
        place = f"{number} of {len(spec.sources)}: {source.name} {source.version}"
        if not archive_path(source, cache).exists():
            say(f"fetching {place}")
        started = time.monotonic()
        archive = fetch(source, cache, say)
        size_mb = archive.stat().st_size / _MB
        say(f"checked {place}, {size_mb:.0f} MB, {time.monotonic() - started:.0f} s")
        folders[source.name] = scratch / f"source-{number}"
        unpack(archive, folders[source.name], source.members)
    return folders


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m deployments.prepare", description=__doc__)
    parser.add_argument("--models-dir", type=Path, required=True, help="where models live")
    parser.add_argument("--profile", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--keep-archives", action="store_true", help="do not delete downloads")
    parser.add_argument("names", nargs="*", help="catalog names; the profile's defaults if none")
    options = parser.parse_args(arguments)

    def report(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    registry = catalog(options.profile)
    try:
        specs = [registry.get(name) for name in options.names] or registry.defaults()
        prepare_all(
            specs, options.models_dir.absolute(), report, keep_archives=options.keep_archives
        )
    except (UnknownModel, ArchiveError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
