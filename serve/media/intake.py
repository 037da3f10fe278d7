"""How a medium becomes an asset, wherever it came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from blake3 import blake3

from serve.domain.errors import InvalidRequest, UnsupportedMedia
from serve.domain.media import (
    Making,
    MediaKind,
    MediaLimits,
    MediaRef,
    SanitizedFile,
    SanitizedMedia,
    asset_storage_key,
)
from serve.domain.ports import (
    ArrivingAsset,
    ArrivingMedia,
    Assets,
    MediaSanitizer,
    ObjectStore,
    ProvenanceSigner,
    UrlFetcher,
)
from serve.domain.records import Caller
from serve.media.data_url import decode_base64, parse_data_url
from serve.media.sniff import check_length

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSource:
    """One medium of a request: an asset id, a URL (https or data) or base64. Exactly one is set.

    ``param`` is the part of the request that errors point at.
    """

    asset_id: str | None = None
    url: str | None = None
    base64: str | None = None
    expect: MediaKind | None = None
    filename: str = ""
    param: str = "input"


class MediaIntake:
    """Sniffs, limits, strips, hashes and stores. The same bytes of one owner are stored once."""

    def __init__(
        self,
        *,
        sanitizer: MediaSanitizer,
        fetcher: UrlFetcher,
        objects: ObjectStore,
        assets: Assets,
        limits: MediaLimits,
        signer: ProvenanceSigner,
    ) -> None:
        self._sanitizer = sanitizer
        self._fetcher = fetcher
        self._objects = objects
        self._assets = assets
        self._limits = limits
        self._signer = signer

    async def resolve(self, caller: Caller, source: MediaSource) -> MediaRef:
        """The asset that ``source`` names, storing it first where it brings its own bytes."""
        given = [x for x in (source.asset_id, source.url, source.base64) if x]
        if len(given) != 1:
            raise InvalidRequest(
                "a media part needs exactly one of: an asset id, a URL, inline data",
                param=source.param,
            )
        if source.asset_id:
            media = await self._assets.get(caller, source.asset_id)
            self._check_kind(media.kind, source)
            return media
        content, declared = await self._read(source)
        return await self.store(
            caller,
            content,
            declared_mime_type=declared,
            filename=source.filename,
            expect=source.expect,
        )

    async def store(
        self,
        caller: Caller,
        content: bytes,
        *,
        declared_mime_type: str | None,
        filename: str = "",
        expect: MediaKind | None = None,
    ) -> MediaRef:
        """Make an asset of untrusted bytes. Bytes are written before the row that names them."""
        self.check_size(content)
        media = await self._sanitizer.sanitize(
            content, declared_mime_type=declared_mime_type, expect=expect
        )
        return await self._keep(caller, media, filename=filename)

    @asynccontextmanager
    async def receiving(
        self,
        caller: Caller,
        pieces: AsyncIterator[bytes],
        *,
        declared_mime_type: str | None,
        filename: str,
    ) -> AsyncIterator[ArrivingAsset]:
        """Make an asset of a recording while it is being uploaded.

        What is wrong with it, or with ``pieces``, cancels whoever is inside and is raised by the
        context. Nothing is stored before ``kept`` is asked for.
        """

        async def keep(media: SanitizedMedia | SanitizedFile) -> MediaRef:
            return await self._keep(caller, media, filename=filename)

        async with self._sanitizer.receiving(
            pieces, declared_mime_type=declared_mime_type
        ) as media:
            yield _Arriving(media, keep)

    async def clean(self, source: MediaSource) -> SanitizedMedia:
        """What a request brings by URL or inline, made safe and not kept."""
        content, declared = await self._read(source)
        self.check_size(content)
        return await self._sanitizer.sanitize(
            content, declared_mime_type=declared, expect=source.expect
        )

    def check_size(self, content: bytes) -> None:
        """Raise ``MediaTooLarge`` for what no upload may weigh."""
        check_length(content, self._limits)

    async def keep_made(
        self, caller: Caller, media: SanitizedMedia, making: Making, *, filename: str = ""
    ) -> MediaRef:
        """Make an asset of what a generator of ours made, with its signed provenance inside."""
        parents = [await self._assets.get(caller, parent) for parent in making.parents]
        ingredients = [(each, await self._objects.get(each.storage_key)) for each in parents]
        signed = await self._signer.sign(media, making, ingredients)
        return await self._keep(caller, signed, filename=filename, making=making)

    async def _keep(
        self,
        caller: Caller,
        media: SanitizedMedia | SanitizedFile,
        *,
        filename: str,
        making: Making | None = None,
    ) -> MediaRef:
        content_hash = await self._put(caller, media)
        return await self._assets.add(
            caller, media, filename=filename[:255], content_hash=content_hash, making=making
        )

    async def _put(self, caller: Caller, media: SanitizedMedia | SanitizedFile) -> str:
        """Write the bytes unless they are there. Returns their hash."""
        if isinstance(media, SanitizedMedia):
            content_hash = blake3(media.content).hexdigest()
        else:
            content_hash = await asyncio.to_thread(_hash_of, media.file)
        key = asset_storage_key(caller.user_id, content_hash)
        if await self._objects.exists(key):
            return content_hash
        if isinstance(media, SanitizedMedia):
            await self._objects.put(key, media.content, mime_type=media.mime_type)
        else:
            await self._objects.put_file(key, media.file, mime_type=media.mime_type)
        return content_hash

    async def _read(self, source: MediaSource) -> tuple[bytes, str | None]:
        limit = self._limits.max_bytes
        if source.base64:
            return decode_base64(source.base64, max_bytes=limit), None
        url = source.url or ""
        if url[:5].lower() == "data:":
            return parse_data_url(url, max_bytes=limit)
        return await self._fetcher.fetch(url)

    def _check_kind(self, kind: MediaKind, source: MediaSource) -> None:
        if source.expect is not None and kind is not source.expect:
            raise UnsupportedMedia(
                f"{source.asset_id} is {kind.value}, this part needs {source.expect.value}",
                param=source.param,
            )


@dataclass(frozen=True, slots=True)
class _Arriving:
    """``ArrivingAsset``."""

    media: ArrivingMedia
    keep: Callable[[SanitizedMedia | SanitizedFile], Awaitable[MediaRef]]

    def pieces(self) -> AsyncGenerator[bytes, None]:
        return self.media.pieces()

    async def kept(self) -> MediaRef:
        return await self.keep(await self.media.sanitized())


def _hash_of(file: BinaryIO) -> str:
    file.seek(0)
    hasher = blake3()
    while piece := file.read(_PIECE_BYTES):
        hasher.update(piece)
    return hasher.hexdigest()
