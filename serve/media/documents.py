"""Documents made safe, and their pages. Runs in the worker process only."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pypdfium2
import pypdfium2.raw as pdfium

from serve.domain.errors import BrokenMedia, MediaTooLarge, UnsupportedMedia
from serve.media.frames import Done, Job, PageJob
from serve.media.pdf_scrub import scrub

# What PDF 1.7 itself allows (ISO 32000-1, annex C): 200 inches.
_MAX_SIDE_POINTS = 14_400.0
_MIN_SIDE_POINTS = 1.0
_PICTURE_LEVEL = 3
# Enough for 12 000 words; no page that is read has more.
_MAX_PAGE_CHARACTERS = 100_000


def sanitize_document(content: bytes, job: Job) -> tuple[Done, bytes]:
    """Copy the pages alone into a fresh file: how they look, and the text in them.

    Notes and filled forms become part of the page. Actions, links, scripts, attached files and
    metadata stay behind. Equal documents give equal bytes.
    """
    with _opened(content) as document:
        _check_pages(document, job)
        for index in range(len(document)):
            with closing(document[index]) as page:
                if pdfium.FPDFPage_GetAnnotCount(page) > 0:
                    pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
        pages_only = scrub(_pages_of(document))
    # Once more: what the blanked entries pointed to is left behind this time.
    with _opened(pages_only) as document:
        return Done(mime_type="application/pdf"), scrub(_pages_of(document))


def read_pages(content: bytes, job: PageJob) -> tuple[Done, bytes]:
    """Text layers of the pages from ``job.page`` on, up to ``job.n_pages``, as JSON.

    ``{"n_pages": of the document, "texts": [...], "is_blank": [...]}``; a blank page has nothing
    on it, not even a picture.
    """
    texts = []
    blank = []
    with _opened(content) as document:
        n_pages = len(document)
        for index in range(job.page - 1, min(job.page - 1 + job.n_pages, n_pages)):
            with closing(document[index]) as page, closing(page.get_textpage()) as layer:
                text = layer.get_text_range(count=min(layer.count_chars(), _MAX_PAGE_CHARACTERS))
                texts.append(_tidy(text))
                blank.append(pdfium.FPDFPage_CountObjects(page) == 0)
    read = {"n_pages": n_pages, "texts": texts, "is_blank": blank}
    return Done(mime_type="application/json"), json.dumps(read).encode()


def picture_page(content: bytes, job: PageJob) -> tuple[Done, bytes]:
    """The page ``job.page`` as PNG, its longer side ``job.max_image_side_px`` pixels."""
    with _opened(content) as document:
        if not 1 <= job.page <= len(document):
            raise UnsupportedMedia(f"the document has {len(document)} pages, no page {job.page}")
        with closing(document[job.page - 1]) as page:
            scale = job.max_image_side_px / max(page.get_size())
            picture = page.render(scale=scale, may_draw_forms=False).to_pil().convert("RGB")
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=_PICTURE_LEVEL)
    done = Done(mime_type="image/png", width_px=picture.width, height_px=picture.height)
    return done, written.getvalue()


@contextmanager
def _opened(content: bytes) -> Iterator[pypdfium2.PdfDocument]:
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pdfium.FPDF_ERR_PASSWORD:
            raise UnsupportedMedia(
                "the document is encrypted with a password; send it without one"
            ) from error
        if error.err_code == pdfium.FPDF_ERR_SECURITY:
            raise UnsupportedMedia("the document's encryption is not taken") from error
        raise BrokenMedia("the document is damaged: it cannot be opened") from error
    with closing(document):
        yield document


def _check_pages(document: pypdfium2.PdfDocument, job: Job) -> None:
    n_pages = len(document)
    if n_pages > job.max_pages:
        raise MediaTooLarge(f"the document has {n_pages} pages; the limit is {job.max_pages}")
    for index in range(n_pages):
        width, height = document.get_page_size(index)
        if max(width, height) > _MAX_SIDE_POINTS:
            raise MediaTooLarge(
                f"page {index + 1} is {width:.0f} by {height:.0f} points; the limit for a side "
                f"is {_MAX_SIDE_POINTS:.0f}"
            )
        if not min(width, height) >= _MIN_SIDE_POINTS:
            raise BrokenMedia(f"page {index + 1} of the document has no size")


def _pages_of(document: pypdfium2.PdfDocument) -> bytes:
    written = io.BytesIO()
    with closing(pypdfium2.PdfDocument.new()) as fresh:
        fresh.import_pages(document)
        fresh.save(written)
    return written.getvalue()


def _tidy(text: str) -> str:
    """Plain lines: no carriage returns, no characters that stand for nothing."""
    lines = text.replace("\r\n", "\n").replace("\x00", "").replace("\ufffe", "").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()
