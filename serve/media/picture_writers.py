"""Pictures made here, in the format that was asked for."""

from __future__ import annotations

import io

import PIL.Image


def rewritten(png: bytes, form: str, *, quality: int) -> tuple[str, bytes]:
    """The MIME type and the bytes.

    ``form`` is png, jpeg or webp; ``quality``, 0 to 100, is for the last two.
    """
    if form == "png":
        return "image/png", png
    written = io.BytesIO()
    with PIL.Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(written, form.upper(), quality=max(1, quality))
    return f"image/{form}", written.getvalue()
