"""Pictures made here, in the format that was asked for."""

from __future__ import annotations

import io
from typing import Final

# In base64, less than a fifth of what the journal keeps in one row.
MAX_PREVIEW_BYTES: Final = 32 * 1024
_PREVIEW_QUALITY: Final = 75

# Pillow is loaded by the first picture that needs it, not at the start of every ingress.


def rewritten(png: bytes, form: str, *, quality: int) -> tuple[str, bytes]:
    """The MIME type and the bytes.

    ``form`` is png, jpeg or webp; ``quality``, 0 to 100, is for the last two.
    """
    if form == "png":
        return "image/png", png
    import PIL.Image

    written = io.BytesIO()
    with PIL.Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(written, form.upper(), quality=max(1, quality))
    return f"image/{form}", written.getvalue()


def small_preview(png: bytes) -> bytes:
    """A WebP of at most ``MAX_PREVIEW_BYTES``: of the same size, or halved until it fits.

    Noise does not compress: the first previews of a picture are the smallest.
    """
    import PIL.Image

    with PIL.Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    while True:
        written = io.BytesIO()
        picture.save(written, "WEBP", quality=_PREVIEW_QUALITY)
        if written.tell() <= MAX_PREVIEW_BYTES:
            return written.getvalue()
        picture = picture.reduce(2)
