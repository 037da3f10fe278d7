"""Media to measure with, and how encoders are given them."""

from __future__ import annotations

import io
import random
from typing import Final

import PIL.Image
import skimage.data
from blake3 import blake3

from serve.domain.media import MediaKind, MediaRef
from serve.domain.ports import ObjectStore

_SAMPLES: Final = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field")
_SIZES_PX: Final = ((640, 480), (800, 600), (960, 720), (1024, 768), (1280, 960))
_JPEG_QUALITY: Final = 88
# Less is enlarged beyond what a photograph looks like.
_MIN_SHARE: Final = 0.75


def photos(n: int, *, seed: int = 1) -> list[bytes]:
    """JPEG files of 640 by 480 to 1280 by 960 pixels, all sizes equally often, no two alike.

    Cut from scikit-image's sample photographs.
    """
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    samples = [PIL.Image.fromarray(getattr(skimage.data, name)()) for name in _SAMPLES]
    made = []
    for number in range(n):
        size = _SIZES_PX[number % len(_SIZES_PX)]
        sample = chance.choice(samples)
        scale = min(sample.width / size[0], sample.height / size[1])
        share = chance.uniform(_MIN_SHARE, 1.0)
        width, height = (round(side * scale * share) for side in size)
        left, top = (
            chance.randint(0, sample.width - width),
            chance.randint(0, sample.height - height),
        )
        photo = sample.crop((left, top, left + width, top + height))
        written = io.BytesIO()
        photo.resize(size, PIL.Image.Resampling.LANCZOS).save(
            written, "JPEG", quality=_JPEG_QUALITY
        )
        made.append(written.getvalue())
    return made


async def kept(objects: ObjectStore, content: bytes, kind: MediaKind, mime_type: str) -> MediaRef:
    """An asset of nobody's in particular."""
    digest = blake3(content).hexdigest()
    await objects.put(digest, content, mime_type=mime_type)
    return MediaRef(
        asset_id=f"asset_{digest[:8]}",
        owner_id="user_bench",
        kind=kind,
        mime_type=mime_type,
        content_hash=digest,
        storage_key=digest,
        n_bytes=len(content),
    )
