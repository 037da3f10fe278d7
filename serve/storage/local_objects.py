"""An object store in a local folder."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from serve.domain.errors import NotFound, StoreUnavailable
from serve.storage.object_keys import checked_key

T = TypeVar("T")


class LocalObjectStore:
    """``ObjectStore`` as files below ``root``, one per key. Several processes may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, content: bytes, *, mime_type: str) -> None:
        """See ``ObjectStore``. On disk before it returns."""
        await self.put_file(key, io.BytesIO(content), mime_type=mime_type)

    async def put_file(self, key: str, file: BinaryIO, *, mime_type: str) -> None:
        """See ``ObjectStore``. On disk before it returns."""
        await _in_thread(lambda: _write_whole(self._path(key), file))

    async def get(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        return await _in_thread(self._path(key).read_bytes)

    async def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return await _in_thread(self._path(key).is_file)

    async def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        path = self._path(key)
        await _in_thread(lambda: path.unlink(missing_ok=True))

    async def ping(self) -> None:
        """See ``ObjectStore``: writes and removes a probe."""

        def probe() -> None:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root) as file:
                file.write(b"probe")

        await _in_thread(probe)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)


def _write_whole(path: Path, content: BinaryIO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keys cannot start with a dot, so a half-written file is never read as an object.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            content.seek(0)
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise NotFound("no such object") from exc
    except OSError as exc:
        raise StoreUnavailable(
            "the object store does not answer; try again", reason=exc.strerror or str(exc)
        ) from exc
