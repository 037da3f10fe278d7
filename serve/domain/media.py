"""Media as it travels between nodes: references, never bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO


class MediaKind(StrEnum):
    """What a part is made of."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRef:
    """A stored, sanitised asset. Whoever holds one may read its bytes from the object store.

    ``content_hash`` is the BLAKE3 hex digest (64 characters) of the sanitised bytes, so equal
    bytes have equal hashes whatever the file was called. ``filename`` is the uploader's word.
    """

    asset_id: str
    owner_id: str
    kind: MediaKind
    mime_type: str
    content_hash: str
    storage_key: str
    n_bytes: int
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None
    filename: str = ""
    created_at: datetime | None = None
    making: Making | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SanitizedMedia:
    """What remains of an upload after sniffing, decoding and stripping. Not yet stored."""

    kind: MediaKind
    mime_type: str
    content: bytes
    width_px: int | None = None
    height_px: int | None = None
    duration_s: float | None = None

    @property
    def n_bytes(self) -> int:
        """How long it is."""
        return len(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class SanitizedFile:
    """The same of a recording that may be too long for memory: a file, open for reading.

    It belongs to whoever made it.
    """

    file: BinaryIO
    n_bytes: int
    mime_type: str
    duration_s: float
    kind: MediaKind = MediaKind.AUDIO
    width_px: None = None
    height_px: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a medium came to be here instead of being uploaded; kept with the asset.

    ``action`` is a C2PA action ("c2pa.created", "c2pa.edited"), ``model`` the catalog name of
    what made it. ``recipe`` is what it takes to make it again: prompt, seed, size, voice; JSON
    values only. ``parents`` are the assets it was made from, in order.
    Source of actions: https://spec.c2pa.org (C2PA 2.x, 18.15 Actions).
    """

    action: str
    model: str
    recipe: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """What an upload may be. Every refusal names the limit that was passed."""

    max_upload_bytes: int = 25 * 1024 * 1024
    max_video_bytes: int = 96 * 1024 * 1024
    max_image_px: int = 40_000_000
    max_image_side_px: int = 16_384
    max_audio_s: float = 600.0
    max_pages: int = 1000
    max_video_s: float = 600.0
    max_video_px: int = 4096 * 2304
    max_video_fps: float = 120.0
    decode_timeout_s: float = 30.0
    video_timeout_s: float = 120.0
    decode_memory_bytes: int = 1024 * 1024 * 1024

    @property
    def max_bytes(self) -> int:
        """What no file may pass, whatever it is."""
        return max(self.max_upload_bytes, self.max_video_bytes)


def asset_storage_key(owner_id: str, content_hash: str) -> str:
    """Where an asset's bytes lie. Owners never share an object, so erasing one is simple."""
    return f"assets/{owner_id.lower()}/{content_hash[:2]}/{content_hash}"
