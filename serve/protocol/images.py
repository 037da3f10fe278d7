"""``/v1/images``.

Source: https://platform.openai.com/docs/api-reference/images
"""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from serve.domain.errors import InvalidRequest
from serve.domain.media import MediaRef
from serve.domain.records import JsonObject
from serve.protocol.items import Wire

_LONGEST_PROMPT: Final = 32_000
_LARGEST_SEED: Final = 2**63 - 1
_SIZE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
_USUAL_SIDE_PX: Final = 512
# Those models gave addresses, as long as they were served.
_GIVES_ADDRESSES: Final = frozenset({"dall-e-2", "dall-e-3"})


class PictureFormat(StrEnum):
    """How pictures are written."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class PaintWishes(Wire):
    """What generations and edits have in common.

    ``seed``, ``steps``, ``guidance`` and ``negative_prompt`` are not OpenAI's. Picture ``k`` of
    ``n`` has the seed ``seed + k``. Without effect: ``background``, which is always opaque,
    ``quality``, ``style``, ``input_fidelity`` and ``moderation``, which the operator decides.
    """

    prompt: Annotated[str, Field(min_length=1, max_length=_LONGEST_PROMPT)]
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: str = "auto"
    response_format: Literal["b64_json", "url"] | None = None
    output_format: PictureFormat = PictureFormat.PNG
    output_compression: Annotated[int, Field(ge=0, le=100)] = 100
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    background: Literal["transparent", "opaque", "auto"] = "auto"
    quality: str = "auto"
    input_fidelity: Literal["high", "low"] | None = None
    style: Literal["vivid", "natural"] | None = None
    moderation: Literal["low", "auto"] = "auto"
    user: str = ""
    seed: Annotated[int, Field(ge=0, le=_LARGEST_SEED)] | None = None
    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    guidance: Annotated[float, Field(ge=0, le=30)] | None = None
    negative_prompt: Annotated[str, Field(max_length=_LONGEST_PROMPT)] = ""

    def check(self) -> None:
        """Raises ``InvalidRequest`` for what contradicts itself."""
        if not self.prompt.strip():
            raise InvalidRequest("the prompt is empty; say what to paint", param="prompt")
        if self.stream and self.n > 1:
            raise InvalidRequest(
                "a stream carries one picture; ask n times, or without stream", param="n"
            )
        if self.partial_images and not self.stream:
            raise InvalidRequest("partial_images needs stream", param="partial_images")

    def size_px(self, natural: tuple[int, int] | None = None) -> tuple[int, int]:
        """Width and height; ``auto`` is the natural size, that of what is edited.

        Raises ``InvalidRequest``.
        """
        return picture_size(self.size, natural)

    @property
    def gives_addresses(self) -> bool:
        """Where to fetch a picture is told, instead of the picture."""
        if self.response_format is None:
            return self.model in _GIVES_ADDRESSES
        return self.response_format == "url"


def picture_size(size: str, natural: tuple[int, int] | None = None) -> tuple[int, int]:
    """Width and height in pixels; ``auto`` is the natural size, or else the usual one.

    Raises ``InvalidRequest``.
    """
    if size == "auto":
        return natural or (_USUAL_SIDE_PX, _USUAL_SIDE_PX)
    found = _SIZE.fullmatch(size)
    if found is None:
        raise InvalidRequest(f"{size!r} is no size; write it like 512x512, or auto", param="size")
    return int(found[1]), int(found[2])


class CreateImage(PaintWishes):
    """``/v1/images/generations``."""


class EditImage(PaintWishes):
    """``/v1/images/edits``. ``strength``, not OpenAI's, is how much of the picture may go."""

    strength: Annotated[float, Field(gt=0, le=1)] = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePicture:
    """A picture that is stored; ``content`` as it is handed out, signed."""

    media: MediaRef
    content: bytes
    seed: int


def render_images(
    wishes: PaintWishes, pictures: list[MadePicture], size: tuple[int, int], base_url: str
) -> JsonObject:
    """All pictures; ``asset_id`` and ``seed`` are not OpenAI's."""
    return {
        "created": int(time.time()),
        **_described(wishes, size),
        # Events may say "auto" here, a whole answer may not.
        "quality": None,
        "data": [_item(wishes, picture, base_url) for picture in pictures],
        "usage": _usage(),
    }


def render_partial_image(
    operation: str, wishes: PaintWishes, content: bytes, size: tuple[int, int], index: int
) -> JsonObject:
    """A look at a picture on its way. ``operation``: "image_generation" or "image_edit"."""
    return {
        "type": f"{operation}.partial_image",
        "b64_json": base64.b64encode(content).decode(),
        "created_at": int(time.time()),
        "partial_image_index": index,
        **_described(wishes, size),
    }


def render_completed_image(
    operation: str, wishes: PaintWishes, picture: MadePicture, size: tuple[int, int]
) -> JsonObject:
    """The end of a stream."""
    return {
        "type": f"{operation}.completed",
        "b64_json": base64.b64encode(picture.content).decode(),
        "created_at": int(time.time()),
        **_described(wishes, size),
        "usage": _usage(),
        "asset_id": picture.media.asset_id,
        "seed": picture.seed,
    }


def _item(wishes: PaintWishes, picture: MadePicture, base_url: str) -> JsonObject:
    facts: JsonObject = {"asset_id": picture.media.asset_id, "seed": picture.seed}
    if wishes.gives_addresses:
        address = f"{base_url.rstrip('/')}/api/v1/assets/{picture.media.asset_id}/content"
        return {**facts, "url": address}
    return {**facts, "b64_json": base64.b64encode(picture.content).decode()}


def _described(wishes: PaintWishes, size: tuple[int, int]) -> JsonObject:
    return {
        "size": f"{size[0]}x{size[1]}",
        "quality": "auto",
        "background": "opaque",
        "output_format": wishes.output_format.value,
    }


def _usage() -> JsonObject:
    """These models count no tokens; the SDK requires the keys."""
    return {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "total_tokens": 0,
    }
