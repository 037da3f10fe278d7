"""Generator-ready features as files that encoder and engine of one node share."""

from __future__ import annotations

import re
from pathlib import Path

from serve.domain.errors import InvalidRequest

_KEY = re.compile(r"[0-9a-f]{64}")


class LocalFeatureStore:
    """``FeatureStore`` in a folder; writers put a finished file in place by renaming it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, key: str) -> str:
        """See ``FeatureStore``. Creates the folder around it, so that a writer can begin."""
        if not _KEY.fullmatch(key):
            raise InvalidRequest("a feature key is 64 hexadecimal characters")
        folder = self._root / key[:2]
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / f"{key}.safetensors")
