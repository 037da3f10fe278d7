"""Documents: made safe by the real PDF library, read by the real models."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from deployments.document_encoder import DocumentEncoderReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.text_encoder import TextEncoderReplica
from serve.domain.errors import BrokenMedia, MediaTooLarge, NotFound, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits
from serve.domain.messages import DocumentPerception, Progress, TextBatch
from serve.domain.ports import ObjectStore
from serve.media.pages import PageReader
from serve.media.sanitizer import SandboxedSanitizer
from serve.registry.catalog import CPU_CATALOG
from tests.fixtures.encoders import StoreMedia
from tests.fixtures.pdfs import encrypted_pdf, pdf, scanned_pdf

LIMITS = MediaLimits(max_pages=50)

# Coverage starts in the workers too when it measures us.
WORKER_ENV = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}

REPORT = pdf(
    [
        ["Annual report", "This year was better than the last one."],
        ["Costs", "Paper and ink were the largest costs."],
        ["Revenue", "The Vienna office earned 48213 euros."],
    ]
)


@pytest.fixture(scope="module")
async def sanitizer() -> AsyncIterator[SandboxedSanitizer]:
    async with SandboxedSanitizer(LIMITS, worker_env=WORKER_ENV) as sanitizer:
        yield sanitizer


@pytest.fixture(scope="module")
async def reader() -> AsyncIterator[PageReader]:
    async with PageReader(worker_env=WORKER_ENV) as reader:
        yield reader


async def _clean(sanitizer: SandboxedSanitizer, content: bytes) -> bytes:
    media = await sanitizer.sanitize(content, declared_mime_type="application/pdf")
    assert (media.kind, media.mime_type) == (MediaKind.DOCUMENT, "application/pdf")
    return media.content


async def test_a_document_keeps_its_pages_and_their_text(
    sanitizer: SandboxedSanitizer, reader: PageReader
) -> None:
    read = await reader.texts(await _clean(sanitizer, REPORT), first=2, count=10)
    assert read.n_pages == 3
    assert [page.number for page in read.pages] == [2, 3]
    assert read.pages[1].text == "Revenue\nThe Vienna office earned 48213 euros."


async def test_equal_documents_give_equal_bytes_whenever_they_come(
    sanitizer: SandboxedSanitizer,
) -> None:
    first = await _clean(sanitizer, REPORT)
    # PDFium writes the second of the day and a random id into every file.
    await asyncio.sleep(1.1)
    assert await _clean(sanitizer, REPORT) == first
    assert await _clean(sanitizer, first) == first


async def test_scripts_links_attachments_and_metadata_stay_behind(
    sanitizer: SandboxedSanitizer, reader: PageReader
) -> None:
    attachment = b"<</Type/EmbeddedFile/Length 12>>stream\nMALWAREBYTES\nendstream"
    hostile = pdf(
        [["Nothing to see here"]],
        catalog=b"/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>"
        b"/Names<</EmbeddedFiles<</Names[(x)<</Type/Filespec/F(x)/EF<</F 6 0 R>>>>]>>>>"
        b"/AA<</WC<</S/Launch/F(cmd.exe)>>>>",
        of_page=b"/AA<</O<</S/JavaScript/JS(steal\\(\\))>>>>/Metadata 7 0 R"
        b"/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 9 9]/A<</S/URI/URI(https://evil.example)>>>>"
        b"<</Type/Annot/Subtype/FileAttachment/Rect[0 0 9 9]"
        b"/FS<</Type/Filespec/EF<</F 6 0 R>>>>>>]",
        trailer=b"/Info<</Author(Jane Doe)/Title(Confidential)>>",
        more=[attachment, b"<</Type/Metadata/Length 8>>stream\nJane Doe\nendstream"],
    )
    clean = await _clean(sanitizer, hostile)
    for trace in (b"JavaScript", b"steal", b"evil", b"Launch", b"MALWARE", b"Jane", b"Confid"):
        assert trace not in clean, trace
    read = await reader.texts(clean, first=1, count=1)
    assert read.pages[0].text == "Nothing to see here"


async def test_notes_become_part_of_the_page(
    sanitizer: SandboxedSanitizer, reader: PageReader
) -> None:
    look = b"BT /F1 20 Tf 5 5 Td (APPROVED) Tj ET"
    stamp = (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 200 40]/Resources<</Font<</F1 3 0 R>>>>"
        b"/Length %d>>stream\n%s\nendstream" % (len(look), look)
    )
    document = pdf(
        [["Contract"]],
        of_page=b"/Annots[<</Type/Annot/Subtype/Stamp/Rect[100 100 300 140]/AP<</N 6 0 R>>>>]",
        more=[stamp],
    )
    read = await reader.texts(await _clean(sanitizer, document), first=1, count=1)
    assert "APPROVED" in read.pages[0].text


async def test_photographs_inside_lose_their_exif(
    sanitizer: SandboxedSanitizer, reader: PageReader
) -> None:
    photo = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x010E] = "taken at 48.2082 north"
    PIL.Image.new("RGB", (64, 64), "red").save(photo, "JPEG", exif=exif)
    content = photo.getvalue()
    picture = (
        b"<</Type/XObject/Subtype/Image/Width 64/Height 64/ColorSpace/DeviceRGB"
        b"/BitsPerComponent 8/Filter/DCTDecode/Length %d>>stream\n%s\nendstream"
        % (len(content), content)
    )
    draw = b"q 612 0 0 792 0 0 cm /P Do Q"
    document = pdf(
        [[]],
        of_page=b"/Resources<</XObject<</P 6 0 R>>>>/Contents 7 0 R",
        more=[picture, b"<</Length %d>>stream\n%s\nendstream" % (len(draw), draw)],
    )
    assert b"48.2082" in document
    clean = await _clean(sanitizer, document)
    assert b"48.2082" not in clean
    drawn = PIL.Image.open(io.BytesIO(await reader.picture(clean, 1, side_px=100)))
    assert drawn.getpixel((30, 50)) == pytest.approx((254, 0, 0), abs=3)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (encrypted_pdf(), UnsupportedMedia, "password"),
        (REPORT[: len(REPORT) // 3], BrokenMedia, "damaged"),
        (b"%PDF-1.7\n" + b"\x00" * 5000, BrokenMedia, "damaged"),
        (pdf([["x"]] * 51), MediaTooLarge, "51 pages; the limit is 50"),
        (pdf([["x"]], size=(20_000, 700)), MediaTooLarge, "20000 by 700 points"),
        (pdf([]), BrokenMedia, "damaged"),
    ],
)
async def test_what_cannot_be_read_safely_is_refused(
    sanitizer: SandboxedSanitizer, content: bytes, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        await _clean(sanitizer, content)


async def test_ten_thousand_pages_that_are_one_object_are_refused(
    sanitizer: SandboxedSanitizer,
) -> None:
    one = pdf([["again and again"]])
    bomb = one.replace(b"/Kids[4 0 R]/Count 1", b"/Kids[%s]/Count 10000" % (b"4 0 R " * 10_000))
    with pytest.raises((MediaTooLarge, BrokenMedia)):
        await _clean(sanitizer, bomb)


async def test_a_page_is_drawn_at_the_size_asked_for(
    sanitizer: SandboxedSanitizer, reader: PageReader
) -> None:
    clean = await _clean(sanitizer, REPORT)
    drawn = PIL.Image.open(io.BytesIO(await reader.picture(clean, 3, side_px=400)))
    assert (drawn.format, drawn.size) == ("PNG", (310, 400))
    with pytest.raises(NotFound, match="3 pages, no page 4"):
        await reader.picture(clean, 4, side_px=400)


async def test_a_drawing_that_never_ends_is_cut_off(reader: PageReader) -> None:
    """Forms that draw each other twice, thirty deep: a thousand million times the same line."""
    forms = [
        b"<</Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</XObject<</N %d 0 R>>>>"
        b"/Length 11>>stream\n/N Do /N Do\nendstream" % (7 + index)
        for index in range(30)
    ]
    line = b"0 0 m 600 700 l S"
    forms.append(
        b"<</Type/XObject/Subtype/Form/BBox[0 0 612 792]/Length %d>>stream\n%s\nendstream"
        % (len(line), line)
    )
    document = pdf(
        [[]],
        of_page=b"/Resources<</XObject<</N 6 0 R>>>>/Contents 37 0 R",
        more=[*forms, b"<</Length 5>>stream\n/N Do\nendstream"],
    )
    async with PageReader(worker_env=WORKER_ENV, timeout_s=2.0) as short:
        with pytest.raises(BrokenMedia, match="page 1"):
            await short.picture(document, 1, side_px=200)
    assert (await reader.texts(REPORT, first=1, count=1)).n_pages == 3


# --- what the encoder makes of them -------------------------------------------------------------


@pytest.fixture(scope="module")
def document_encoder(
    models_dir: Path,
    media_store: ObjectStore,
    image_encoder: ImageEncoderReplica,
    reader: PageReader,
) -> DocumentEncoderReplica:
    return DocumentEncoderReplica(
        "pages-test",
        CPU_CATALOG.get("minilm-l6-v2"),
        models_dir,
        lambda: media_store,
        image_encoder,
        lambda images: images,
        lambda: reader,
    )


@pytest.mark.models
async def test_a_document_is_read_page_by_page(
    document_encoder: DocumentEncoderReplica,
    text_encoder: TextEncoderReplica,
    store_media: StoreMedia,
) -> None:
    media = await store_media(REPORT, MediaKind.DOCUMENT, "application/pdf")
    *steps, read = [step async for step in document_encoder.perceive(media)]
    assert isinstance(read, DocumentPerception)
    assert [step.done for step in steps if isinstance(step, Progress)] == [1 / 3, 2 / 3, 1.0]
    assert isinstance(steps[1], Progress)
    assert steps[1].note == "page 2 of 3: Costs Paper and ink were the largest costs."
    assert read.title == "Annual report"
    assert not any(page.is_read_from_picture for page in read.pages)
    question = await text_encoder.encode(TextBatch(("how much money did Vienna make",), "query"))
    likeness = np.array([page.vector for page in read.pages]) @ question.vectors[0]
    assert likeness.argmax() == 2
    assert np.linalg.norm(read.vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.models
async def test_a_scanned_page_is_read_from_its_picture(
    document_encoder: DocumentEncoderReplica, store_media: StoreMedia
) -> None:
    scan = PIL.Image.new("RGB", (850, 1100), "white")
    draw = PIL.ImageDraw.Draw(scan)
    draw.text((80, 90), "Invoice No. 48213", fill="black", font=PIL.ImageFont.load_default(40))
    media = await store_media(scanned_pdf(scan), MediaKind.DOCUMENT, "application/pdf")
    *_, read = [step async for step in document_encoder.perceive(media)]
    assert isinstance(read, DocumentPerception)
    assert read.pages[0].is_read_from_picture
    assert read.pages[0].text == "Invoice No. 48213"
    assert read.title == "Invoice No. 48213"
