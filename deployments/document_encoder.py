"""Documents to perceptions: text layers where there are any, pictures of pages where not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from deployments.loading import model_dir
from deployments.sentences import SentenceModel, unit
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import DocumentPage, DocumentPerception, ImagePerception, Progress
from serve.media.pages import PageReader, PageText

if TYPE_CHECKING:
    from serve.domain.ports import ImageEncoder, ObjectStore
    from serve.registry.specs import ModelSpec

# Text layers come many pages at a time: each costs about a millisecond.
_PAGES_PER_READ = 50
# A scan often carries a page number or a stamp as its only text.
_MIN_LAYER_LETTERS = 12
_PICTURE_SIDE_PX = 1280
_MAX_TITLE_CHARACTERS = 80
_NOTE_CHARACTERS = 60


class DocumentEncoderReplica:
    """Reads documents page by page.

    Args:
        revision: What answers; it changes with every model that is asked.
        text_spec: The text encoder in whose space vectors lie.
        models_dir: Where prepared models are.
        open_store: Called once; documents are read from it, and pictures of pages lie in it
            while the image encoder looks at them.
        images: Serve's handle to the image encoder.
        as_encoder: Makes a client of that handle.
        open_pages: Called once; its process ends with this one.
    """

    def __init__(
        self,
        revision: str,
        text_spec: ModelSpec,
        models_dir: Path,
        open_store: Callable[[], ObjectStore],
        images: Any,  # a handle is untyped
        as_encoder: Callable[[Any], ImageEncoder],
        open_pages: Callable[[], PageReader] = PageReader,
    ) -> None:
        self._revision = revision
        self._store = open_store()
        self._images = as_encoder(images)
        self._pages = open_pages()
        self._sentences = SentenceModel(
            model_dir(text_spec, models_dir), max_tokens=text_spec.max_input_tokens
        )
        # One thread: the model uses the cores itself.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="place")

    async def perceive(
        self, media: MediaRef
    ) -> AsyncGenerator[Progress | DocumentPerception, None]:
        """Read every page; each one is a step.

        Raises:
            BrokenMedia: A page cannot be read.
        """
        started_s = time.perf_counter()
        document = await self._store.get(media.storage_key)
        pages: list[DocumentPage] = []
        n_pages = 1
        while len(pages) < n_pages:
            read = await self._pages.texts(document, first=len(pages) + 1, count=_PAGES_PER_READ)
            n_pages = read.n_pages
            for layer in read.pages:
                page = await self._page(media, document, layer)
                pages.append(page)
                yield Progress(page.number / n_pages, _note(page, n_pages))
        mean = np.asarray([page.vector for page in pages], dtype=np.float32).mean(axis=0)
        yield DocumentPerception(
            pages=tuple(pages),
            title=_title(pages),
            vector=tuple(unit(mean).tolist()),
            encode_s=time.perf_counter() - started_s,
        )

    async def ping(self) -> str:
        """The revision that answers."""
        return self._revision

    async def _page(self, media: MediaRef, document: bytes, layer: PageText) -> DocumentPage:
        if layer.is_blank or _n_letters(layer.text) >= _MIN_LAYER_LETTERS:
            return DocumentPage(
                number=layer.number,
                text=layer.text,
                is_read_from_picture=False,
                description="",
                vector=await self._place(layer.text or "an empty page"),
            )
        seen = await self._look(media, document, layer.number)
        text = "\n".join(line.text for line in seen.text_lines)
        is_fuller = _n_letters(text) > _n_letters(layer.text)
        return DocumentPage(
            number=layer.number,
            text=text if is_fuller else layer.text,
            is_read_from_picture=is_fuller,
            description=seen.description,
            vector=await self._place(text) if is_fuller else seen.vector,
        )

    async def _look(self, media: MediaRef, document: bytes, number: int) -> ImagePerception:
        png = await self._pages.picture(document, number, side_px=_PICTURE_SIDE_PX)
        key = f"{media.storage_key}.page-{number}"
        picture = MediaRef(
            asset_id=media.asset_id,
            owner_id=media.owner_id,
            kind=MediaKind.IMAGE,
            mime_type="image/png",
            content_hash=blake3(png).hexdigest(),
            storage_key=key,
            n_bytes=len(png),
        )
        await self._store.put(key, png, mime_type=picture.mime_type)
        try:
            return await self._images.perceive(picture)
        finally:
            await self._store.delete(key)

    async def _place(self, text: str) -> tuple[float, ...]:
        vector = await asyncio.get_running_loop().run_in_executor(
            self._worker, self._sentences.embed_passage, text
        )
        return tuple(vector.tolist())


def _n_letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _note(page: DocumentPage, n_pages: int) -> str:
    words = " ".join(page.text.split())
    begins = f": {words[:_NOTE_CHARACTERS]}" if words else ""
    return f"page {page.number} of {n_pages}{begins}"


def _title(pages: list[DocumentPage]) -> str:
    """The first line that says something."""
    lines = (line.strip() for page in pages for line in page.text.split("\n"))
    return next((line[:_MAX_TITLE_CHARACTERS] for line in lines if _n_letters(line) > 1), "")
