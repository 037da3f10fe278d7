"""Generator-ready features as safetensors files in a folder that encoders and engines share."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serve.domain.errors import StoreUnavailable
from serve.domain.messages import FeatureRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_FEATURES: Final = "features"
# An engine reads a file within one step of being asked to: minutes are plenty.
_KEEP_AT_LEAST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class MediaFeatures:
    """What a generator's own tower made of one medium.

    ``features``: shape ``(n_tokens, dim)``. ``shape``: what the engine must know of the medium
    beside them, by vLLM's names for one item, such as ``image_grid_thw`` of shape ``(3,)``.
    """

    features: torch.Tensor
    shape: Mapping[str, torch.Tensor]


class FeatureFolder:
    """Features by key. Whole files only, and nothing in them is ever executed."""

    def __init__(self, folder: str, *, max_bytes: int = 1 << 30) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes

    def path(self, key: str) -> str:
        """The file of a key; it may not exist yet. Raises ``ValueError`` for what is no key."""
        if not _KEY.fullmatch(key):
            raise ValueError("a feature key is 64 lower-case hex digits")
        return str(self._folder / f"{key}.safetensors")

    def has(self, key: str) -> bool:
        """Whether the features are here, whole."""
        return Path(self.path(key)).exists()

    def find(self, key: str) -> FeatureRef | None:
        """A reference to the features of a key, if they are here; they are not read."""
        from safetensors import safe_open

        path = Path(self.path(key))
        try:
            with safe_open(path, "pt") as file:
                n_tokens, dim = file.get_slice(_FEATURES).get_shape()
        except FileNotFoundError:
            return None
        self._touch(path)
        return FeatureRef(key=key, n_tokens=n_tokens, dim=dim)

    def save(self, key: str, made: MediaFeatures) -> FeatureRef:
        """Write whole or not at all, then drop the longest unread if the folder is too full."""
        from safetensors.torch import save_file

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = Path(self.path(key))
        partial = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        tensors = {**made.shape, _FEATURES: made.features.contiguous()}
        try:
            save_file(tensors, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        self._make_room()
        n_tokens, dim = made.features.shape
        return FeatureRef(key=key, n_tokens=n_tokens, dim=dim)

    def load(self, key: str) -> MediaFeatures:
        """Read all. Raises ``StoreUnavailable`` when they are not here (any more)."""
        tensors = self._read(key, but="")
        return MediaFeatures(tensors.pop(_FEATURES), tensors)

    def shape(self, key: str) -> dict[str, torch.Tensor]:
        """``shape`` alone; the features are not read. Raises ``StoreUnavailable``."""
        return self._read(key, but=_FEATURES)

    def _read(self, key: str, *, but: str) -> dict[str, torch.Tensor]:
        from safetensors import safe_open

        path = Path(self.path(key))
        try:
            with safe_open(path, "pt") as file:
                names = [name for name in file.keys() if name != but]  # noqa: SIM118 - no mapping
                tensors = {name: file.get_tensor(name) for name in names}
        except FileNotFoundError:
            raise _gone() from None
        self._touch(path)
        return tensors

    @staticmethod
    def _touch(path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)

    def _make_room(self) -> None:
        files = []
        for path in self._folder.glob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
        excess = sum(size for _, size, _ in files) - self._max_bytes
        for read_at, size, path in sorted(files):
            if excess <= 0 or time.time() - read_at < _KEEP_AT_LEAST_S:
                return
            path.unlink(missing_ok=True)
            excess -= size


def _gone() -> StoreUnavailable:
    return StoreUnavailable("the medium's features are no longer in the store; try again")
