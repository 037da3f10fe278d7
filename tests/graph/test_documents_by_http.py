"""Documents over HTTP: attached to a question beside other media, and looked at page by page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from openai import APIStatusError, AsyncOpenAI

from serve.domain.messages import TextPart
from tests.fixtures.encoders import png, wav
from tests.fixtures.ingress import Ingress
from tests.fixtures.pdfs import encrypted_pdf, pdf
from tests.fixtures.scripted import MODEL

_DOCUMENT = pdf([["First page"], ["Second page"]])


def _data_url(content: bytes, mime_type: str) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def _told(door: Ingress) -> str:
    parts = door.generator.requests[0].messages[-1].parts
    return "".join(part.text for part in parts if isinstance(part, TextPart))


async def _upload(door: Ingress, content: bytes, name: str) -> Any:
    answer = await door.http.post("/api/v1/assets", files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_files_of_several_kinds_are_told_in_one_message(
    door: Ingress, sdk: AsyncOpenAI
) -> None:
    stored = await _upload(door, pdf([["Already here"]]), "stored.pdf")
    assert (stored["kind"], stored["mime_type"]) == ("document", "application/pdf")
    photo = png(PIL.Image.new("RGB", (8, 8), "red"))
    sound = base64.b64encode(wav(np.zeros(800))).decode()
    content: list[Any] = [
        {"type": "input_text", "text": "What do these have in common?"},
        {
            "type": "input_file",
            "filename": "report.pdf",
            "file_data": _data_url(_DOCUMENT, "application/pdf"),
        },
        {"type": "input_file", "file_id": stored["id"]},
        {"type": "input_image", "image_url": _data_url(photo, "image/png"), "detail": "auto"},
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
    ]
    await sdk.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    told = _told(door)
    for what in ("have in common?", "[Document 1", "[Document 2", "[Picture 1", "[Recording 1"):
        assert what in told
    assert "Page 1: Page " in told


async def test_a_chat_file_is_read_too(door: Ingress, sdk: AsyncOpenAI) -> None:
    file: Any = {"filename": "a.pdf", "file_data": _data_url(_DOCUMENT, "application/pdf")}
    await sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": [{"type": "file", "file": file}]}]
    )
    told = _told(door)
    assert "[Document 1" in told


async def test_pages_are_pictures_of_the_size_asked_for(door: Ingress) -> None:
    asset = await _upload(door, _DOCUMENT, "report.pdf")
    pages = f"/api/v1/assets/{asset['id']}/pages"
    page = await door.http.get(f"{pages}/2", params={"side_px": 400})
    assert page.headers["content-type"] == "image/png"
    assert "immutable" in page.headers["cache-control"]
    assert PIL.Image.open(io.BytesIO(page.content)).size == (310, 400)
    assert (await door.http.get(f"{pages}/3")).status_code == 404
    assert (await door.http.get(f"{pages}/0")).status_code == 400
    assert (await door.http.get(f"{pages}/1", params={"side_px": 9000})).status_code == 400
    content = await door.http.get(f"/api/v1/assets/{asset['id']}/content")
    assert content.content.startswith(b"%PDF-")
    assert "sandbox" in content.headers["content-security-policy"]


async def test_only_documents_have_pages(door: Ingress) -> None:
    asset = await _upload(door, png(PIL.Image.new("RGB", (8, 8), "red")), "red.png")
    refused = await door.http.get(f"/api/v1/assets/{asset['id']}/pages/1")
    assert refused.status_code == 400
    assert "only a document has pages" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (encrypted_pdf(), 415, "password"),
        (_DOCUMENT[:200], 422, "damaged"),
        (pdf([["x"]] * 1001), 413, "1001 pages"),
    ],
)
async def test_documents_that_cannot_be_read_are_refused(
    sdk: AsyncOpenAI, content: bytes, status: int, says: str
) -> None:
    file: Any = {"type": "input_file", "file_data": _data_url(content, "application/pdf")}
    with pytest.raises(APIStatusError, match=says) as refused:
        await sdk.responses.create(model=MODEL, input=[{"role": "user", "content": [file]}])
    assert refused.value.status_code == status
