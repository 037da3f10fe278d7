"""The state of a clip in the object store: tensors and a few words, nothing that runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

import safetensors
import safetensors.torch

from deployments.filming.film import Reached, Resume
from serve.domain.errors import NotFound

if TYPE_CHECKING:
    from serve.domain.messages import FilmRequest
    from serve.domain.ports import ObjectStore

_MIME_TYPE: Final = "application/octet-stream"
_HEADER_BYTES: Final = 8


class FilmCheckpoint:
    """Where one clip leaves its state. Does nothing for a request without a ``checkpoint_key``.

    Another request under the same key, or another model, begins anew.
    """

    def __init__(self, request: FilmRequest, revision: str, store: ObjectStore) -> None:
        self._key = request.checkpoint_key
        self._recipe = _recipe(request, revision)
        self._store = store

    async def load(self) -> Resume | None:
        """Where to go on, if an earlier attempt left anything that can be read."""
        if not self._key:
            return None
        try:
            content = await self._store.get(self._key)
            size = int.from_bytes(content[:_HEADER_BYTES], "little")
            said = json.loads(content[_HEADER_BYTES : _HEADER_BYTES + size])["__metadata__"]
            if said["recipe"] != self._recipe:
                return None
            return Resume(int(said["done"]), safetensors.torch.load(content)["latents"])
        except (NotFound, LookupError, ValueError, safetensors.SafetensorError):
            return None

    async def save(self, reached: Reached) -> None:
        """Leave it for the next attempt."""
        if not self._key:
            return
        content = safetensors.torch.save(
            {"latents": reached.latents.cpu().contiguous()},
            metadata={"done": str(reached.done), "recipe": self._recipe},
        )
        await self._store.put(self._key, content, mime_type=_MIME_TYPE)


def _recipe(request: FilmRequest, revision: str) -> str:
    """What must be equal for a clip to be the same."""
    source = request.source.content_hash if request.source is not None else ""
    facts = asdict(replace(request, source=None, checkpoint_key=""))
    words = json.dumps([facts, source, revision], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()
