"""Bytes by key: which object store a URL means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from serve.domain.ports import ObjectStore
from serve.storage.local_objects import LocalObjectStore


@asynccontextmanager
async def open_object_store(
    url: str,
    *,
    s3_endpoint_url: str | None = None,
    s3_access_key_id: str | None = None,
    s3_secret_access_key: str | None = None,
    s3_region: str | None = None,
) -> AsyncIterator[ObjectStore]:
    """The store behind ``file:///folder`` or ``s3://bucket/prefix``, closed afterwards.

    A local folder is created when absent; a bucket has to exist.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        yield LocalObjectStore(Path(unquote(parts.path)))
        return
    if parts.scheme != "s3":
        message = f"object store URL must start with file:// or s3://, not {parts.scheme!r}"
        raise ValueError(message)
    # Imported late: S3 clients cost memory that a local folder should not pay for.
    from serve.storage.s3_objects import open_s3_objects

    async with open_s3_objects(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        endpoint_url=s3_endpoint_url,
        access_key_id=s3_access_key_id,
        secret_access_key=s3_secret_access_key,
        region=s3_region,
    ) as store:
        yield store
