"""An object store in an S3 bucket."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import BinaryIO

from botocore.exceptions import BotoCoreError, ClientError
from s3fs import S3FileSystem

from serve.domain.errors import NotFound, StoreUnavailable
from serve.storage.object_keys import checked_key

# Held in memory while it is sent.
_PART_BYTES = 8 * 1024 * 1024


@asynccontextmanager
async def open_s3_objects(
    *,
    bucket: str,
    prefix: str,
    endpoint_url: str | None,
    access_key_id: str | None,
    secret_access_key: str | None,
    region: str | None,
) -> AsyncIterator[S3ObjectStore]:
    """A store below ``prefix`` of ``bucket``. Without keys, the machine's own role is used."""
    filesystem = S3FileSystem(
        asynchronous=True,
        # Instances are cached per thread by default and would outlive their event loop.
        skip_instance_cache=True,
        use_listings_cache=False,
        endpoint_url=endpoint_url,
        key=access_key_id,
        secret=secret_access_key,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "s3": {"addressing_style": "path" if endpoint_url else "auto"},
            "connect_timeout": 5,
            "read_timeout": 30,
        },
    )
    session = await filesystem.set_session()
    try:
        yield S3ObjectStore(filesystem, f"{bucket}/{prefix}" if prefix else bucket)
    finally:
        await session.close()


class S3ObjectStore:
    """``ObjectStore`` over s3fs, used asynchronously."""

    def __init__(self, filesystem: S3FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root

    async def put(self, key: str, content: bytes, *, mime_type: str) -> None:
        """See ``ObjectStore``."""
        path = self._path(key)
        with _s3_errors():
            await self._filesystem._pipe_file(path, content, ContentType=mime_type)

    async def put_file(self, key: str, file: BinaryIO, *, mime_type: str) -> None:
        """See ``ObjectStore``. The file needs a descriptor: s3fs opens it anew by its path."""
        path = self._path(key)
        file.flush()
        with _s3_errors():
            await self._filesystem._put_file(
                f"/proc/self/fd/{file.fileno()}",
                path,
                chunksize=_PART_BYTES,
                max_concurrency=1,
                ContentType=mime_type,
            )

    async def get(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        path = self._path(key)
        with _s3_errors():
            content: bytes = await self._filesystem._cat_file(path)
        return content

    async def exists(self, key: str) -> bool:
        """See ``ObjectStore``."""
        path = self._path(key)
        try:
            with _s3_errors():
                info = await self._filesystem._info(path, refresh=True)
        except NotFound:
            return False
        return bool(info["type"] == "file")

    async def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        path = self._path(key)
        with _s3_errors():
            await self._filesystem._rm_file(path)

    async def ping(self) -> None:
        """See ``ObjectStore``: writes and removes a probe."""
        key = f"probes/{uuid.uuid4().hex}"
        await self.put(key, b"probe", mime_type="text/plain")
        await self.delete(key)

    def _path(self, key: str) -> str:
        return f"{self._root}/{checked_key(key)}"


@contextmanager
def _s3_errors() -> Iterator[None]:
    """s3fs raises OSErrors for what the server answered, botocore's own for the way there."""
    try:
        yield
    except FileNotFoundError as exc:
        raise NotFound("no such object") from exc
    except (OSError, BotoCoreError, ClientError) as exc:
        raise StoreUnavailable(
            "the object store does not answer; try again", reason=type(exc).__name__
        ) from exc
