"""From a catalog row to the folder with its weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import snapshot_download

from deployments.manifest import current_manifest
from serve.registry.specs import ModelSpec, SourceKind


class ModelNotPrepared(RuntimeError):
    """The weights are not on this machine. The message has the command that brings them."""


def model_dir(spec: ModelSpec, models_dir: Path) -> Path:
    """The folder of a model, ready to load. Hub models are downloaded on their first use.

    Raises:
        ModelNotPrepared: the folder is missing, incomplete or of another revision.
    """
    source = spec.sources[0]
    match source.kind:
        case SourceKind.PYPI | SourceKind.NPM:
            folder = models_dir / spec.name
            if current_manifest(spec, folder) is None:
                raise ModelNotPrepared(
                    f"the model {spec.name} (revision {spec.revision}) is not in {models_dir}; run "
                    f"`python -m deployments.prepare --models-dir {models_dir} {spec.name}`"
                )
            return folder
        case SourceKind.PATH:
            # A relative one lies beside our own code.
            folder = Path(__file__).parents[1] / source.name
            if not folder.is_dir():
                raise ModelNotPrepared(f"the model {spec.name} needs the folder {folder}")
            return folder
        case SourceKind.INSTALLED:
            package = find_spec(source.name)
            if package is None or package.origin is None:
                raise ModelNotPrepared(f"the model {spec.name} needs the package {source.name}")
            return Path(package.origin).parent
        case SourceKind.HUB:
            found = snapshot_download(
                source.name,
                revision=source.version,
                cache_dir=models_dir / "hub",
                allow_patterns=list(source.members) or None,
            )
            return Path(found)
