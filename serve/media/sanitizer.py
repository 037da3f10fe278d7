"""Uploads made safe: sniffed here, decoded and written anew in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits, SanitizedMedia
from serve.media.frames import Fault, Job, Refused
from serve.media.sandbox import Sandbox, WorkerLost
from serve.media.sniff import sniff

_ERRORS: dict[Fault, type[PolymodalError]] = {
    "broken": BrokenMedia,
    "too_large": MediaTooLarge,
    "unsupported": UnsupportedMedia,
}


class SandboxedSanitizer:
    """``MediaSanitizer`` that decodes in processes it can kill.

    Pictures come back upright, in sRGB and without metadata: JPEG as JPEG, everything else as
    PNG. Recordings come back as 16 kHz mono FLAC without tags, documents as pages alone.
    """

    def __init__(
        self,
        limits: MediaLimits,
        *,
        max_workers: int = 2,
        worker_env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts nothing yet. Call ``aclose`` when done, or use it as a context manager."""
        self._limits = limits
        self._sandbox = Sandbox(
            memory_bytes=limits.decode_memory_bytes,
            timeout_s=limits.decode_timeout_s,
            max_workers=max_workers,
            worker_env=worker_env or {},
        )

    async def warm_up(self) -> None:
        """Start a worker, so that the first upload does not wait for it."""
        await self._sandbox.warm_up()

    async def aclose(self) -> None:
        """End the workers."""
        await self._sandbox.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def sanitize(
        self, content: bytes, *, declared_mime_type: str | None, expect: MediaKind | None = None
    ) -> SanitizedMedia:
        """See ``MediaSanitizer``. Every refusal for size names the limit."""
        limits = self._limits
        if len(content) > limits.max_upload_bytes:
            raise MediaTooLarge(
                f"the file has {len(content)} bytes; the limit is {limits.max_upload_bytes}",
                limit=limits.max_upload_bytes,
                got=len(content),
            )
        file_type = sniff(content, declared_mime_type=declared_mime_type, expect=expect)
        job = Job(
            kind=file_type.kind,
            mime_type=file_type.mime_type,
            decoder=file_type.decoder,
            max_image_px=limits.max_image_px,
            max_image_side_px=limits.max_image_side_px,
            max_audio_s=limits.max_audio_s,
            max_pages=limits.max_pages,
            cpu_s=limits.decode_timeout_s,
        )
        try:
            answer, sanitized = await self._sandbox.run(job, content)
        except TimeoutError as exc:
            raise BrokenMedia(
                f"decoding took longer than the limit of {limits.decode_timeout_s:g} seconds"
            ) from exc
        except WorkerLost as exc:
            raise BrokenMedia(
                "decoding was stopped: the file takes more processor time "
                f"({limits.decode_timeout_s:g} s) or memory ({limits.decode_memory_bytes} bytes) "
                "than allowed, or is damaged"
            ) from exc
        if isinstance(answer, Refused):
            raise _ERRORS[answer.fault](answer.message)
        return SanitizedMedia(
            kind=file_type.kind,
            mime_type=answer.mime_type,
            content=sanitized,
            width_px=answer.width_px,
            height_px=answer.height_px,
            duration_s=answer.duration_s,
        )
