"""Pages of stored documents, read and drawn in processes that can be killed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from serve.domain.errors import BrokenMedia, NotFound
from serve.media.frames import PageJob, Refused
from serve.media.sandbox import Sandbox, WorkerLost

_MEMORY_BYTES = 1024 * 1024 * 1024
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class PageText:
    """A page's own text layer; ``is_blank``: nothing is on the page at all."""

    number: int
    text: str
    is_blank: bool


@dataclass(frozen=True, slots=True)
class PageTexts:
    """Pages in a row, of a document that has ``n_pages``."""

    n_pages: int
    pages: tuple[PageText, ...]


class PageReader:
    """Starts nothing until the first page. Close it, or use it as a context manager."""

    def __init__(
        self, *, worker_env: Mapping[str, str] | None = None, timeout_s: float = _TIMEOUT_S
    ) -> None:
        self._timeout_s = timeout_s
        self._sandbox = Sandbox(
            memory_bytes=_MEMORY_BYTES,
            timeout_s=timeout_s,
            max_workers=1,
            worker_env=worker_env or {},
            module="serve.media.page_worker",
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the worker."""
        await self._sandbox.aclose()

    async def texts(self, document: bytes, *, first: int, count: int) -> PageTexts:
        """Text layers of the pages ``first`` to ``first + count - 1``, as far as there are any.

        Raises:
            BrokenMedia: They cannot be read within the limits.
        """
        content = await self._do(PageJob(work="read", page=first, n_pages=count), document)
        try:
            read = json.loads(content)
            pairs = zip(read["texts"], read["is_blank"], strict=True)
            pages = tuple(
                PageText(number, str(text), bool(is_blank))
                for number, (text, is_blank) in enumerate(pairs, first)
            )
            return PageTexts(int(read["n_pages"]), pages)
        except (ValueError, TypeError, KeyError) as exc:
            raise BrokenMedia("the document's pages cannot be read") from exc

    async def picture(self, document: bytes, number: int, *, side_px: int) -> bytes:
        """One page as PNG, its longer side ``side_px`` pixels.

        Raises:
            NotFound: There is no such page.
            BrokenMedia: It cannot be drawn within the limits.
        """
        job = PageJob(work="picture", page=number, max_image_side_px=side_px)
        return await self._do(job, document)

    async def _do(self, job: PageJob, document: bytes) -> bytes:
        try:
            answer, content = await self._sandbox.run(job, document)
        except (TimeoutError, WorkerLost) as exc:
            raise BrokenMedia(
                f"page {job.page} takes more processor time ({self._timeout_s:g} s) or memory "
                f"({_MEMORY_BYTES} bytes) than allowed"
            ) from exc
        if isinstance(answer, Refused):
            error = NotFound if answer.fault == "unsupported" else BrokenMedia
            raise error(answer.message)
        return content
