"""A recording that is being heard, put into bytes between its parts, without the models.

Replicas write them and replicas read them; what is between only carries them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

from deployments.hearing.listening import Listening


def paused(listening: Listening, models: Mapping[str, object]) -> bytes:
    """All that must be known to go on, but for the models, which are known by name."""
    names = {id(model): name for name, model in models.items()}
    written = io.BytesIO()
    _Pickler(written, names).dump(listening)
    return written.getvalue()


def resumed(content: bytes, models: Mapping[str, object]) -> Listening:
    """Go on with what ``paused`` wrote, here or elsewhere."""
    listening: Listening = _Unpickler(io.BytesIO(content), models).load()
    return listening


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, names: Mapping[int, str]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, obj: Any) -> str | None:
        return self._names.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, models: Mapping[str, object]) -> None:
        super().__init__(file)
        self._models = models

    def persistent_load(self, pid: Any) -> object:
        return self._models[pid]
