"""Pictures made safe. Runs in the worker process only."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress

# Pillow loads this one plugin only when nothing else fits; naming a format does not load it.
from PIL import (
    Image,
    ImageCms,
    ImageOps,
    WebPImagePlugin,  # noqa: F401
)

from serve.domain.errors import BrokenMedia, MediaTooLarge
from serve.media.frames import Done, Job

_JPEG_QUALITY = 90
# Level 6 takes three times as long on photographs for a few percent.
_PNG_LEVEL = 3
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def sanitize_picture(content: bytes, job: Job) -> tuple[Done, bytes]:
    """Decode whole, turn upright, convert to sRGB, write anew with nothing but pixels.

    Pillow's errors come through as they are: there is no end to their types.
    """
    # Sizes are checked below, against our own limits and before anything is decoded.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")
    with Image.open(io.BytesIO(content), formats=(job.decoder,)) as opened:
        _check_size(opened.size, job)
        opened.load()
        _turn_upright(opened)
    is_jpeg = job.decoder == "JPEG"
    # Nothing holds the decoded pixels but this name: they go as soon as they are converted.
    clean: Image.Image = opened
    del opened
    clean = _in_srgb(clean, may_have_alpha=not is_jpeg)
    clean.info.clear()
    written = io.BytesIO()
    if is_jpeg:
        clean.save(written, "JPEG", quality=_JPEG_QUALITY)
    else:
        clean.save(written, "PNG", compress_level=_PNG_LEVEL)
    done = Done(
        mime_type="image/jpeg" if is_jpeg else "image/png",
        width_px=clean.width,
        height_px=clean.height,
    )
    return done, written.getvalue()


def _check_size(size: tuple[int, int], job: Job) -> None:
    width, height = size
    if width * height > job.max_image_px:
        raise MediaTooLarge(
            f"the picture has {width * height} pixels; the limit is {job.max_image_px}"
        )
    if max(size) > job.max_image_side_px:
        raise MediaTooLarge(
            f"the picture is {width} by {height} pixels; the limit for a side is "
            f"{job.max_image_side_px}"
        )
    if min(size) < 1:
        raise BrokenMedia("the picture has no pixels")


def _turn_upright(image: Image.Image) -> None:
    # Damaged EXIF: the pixels are good all the same.
    with suppress(OSError, ValueError, SyntaxError, KeyError, TypeError, OverflowError):
        ImageOps.exif_transpose(image, in_place=True)


def _in_srgb(image: Image.Image, *, may_have_alpha: bool) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode in _SIXTEEN_BIT_MODES:
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("P", "PA", "1", "LA", "La", "RGBa"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        profile = None if image.mode == "L" else profile
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            target = "RGBA" if image.mode == "RGBA" else "RGB"
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode=target,
            )
            image = converted or image
    if image.mode in ("L", "RGB") or (image.mode == "RGBA" and may_have_alpha):
        return image
    return image.convert("RGB")
