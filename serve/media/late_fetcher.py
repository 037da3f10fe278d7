"""The fetcher of URLs, made for the first one: its client takes 6 MB, and few bring a URL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from serve.media.fetcher import GuardedFetcher


class LateFetcher:
    """``UrlFetcher`` that is a ``GuardedFetcher`` from its first use on."""

    def __init__(self, *, max_bytes: int) -> None:
        """``max_bytes``: longest body."""
        self._max_bytes = max_bytes
        self._making = asyncio.Lock()
        self._fetcher: GuardedFetcher | None = None

    async def fetch(self, url: str) -> tuple[bytes, str | None]:
        """See ``UrlFetcher``."""
        async with self._making:
            if self._fetcher is None:
                self._fetcher = await asyncio.to_thread(self._made)
        return await self._fetcher.fetch(url)

    def _made(self) -> GuardedFetcher:
        from serve.media.fetcher import GuardedFetcher

        return GuardedFetcher(max_bytes=self._max_bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._fetcher is not None:
            await self._fetcher.aclose()
