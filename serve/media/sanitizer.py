"""Uploads made safe: sniffed here, decoded and written anew in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits, SanitizedMedia
from serve.media.frames import Fault, Job, Refused
from serve.media.sandbox import Sandbox, WorkerLost
from serve.media.sniff import check_length, sniff

_ERRORS: dict[Fault, type[PolymodalError]] = {
    "broken": BrokenMedia,
    "too_large": MediaTooLarge,
    "unsupported": UnsupportedMedia,
}


class SandboxedSanitizer:
    """``MediaSanitizer`` that decodes in processes it can kill.

    Pictures come back upright, in sRGB and without metadata: JPEG as JPEG, everything else as
    PNG. Recordings come back as 16 kHz mono FLAC without tags, documents as pages alone. Videos
    come back as MP4 or WebM with one picture and one sound track.
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
        # Few and fresh, for they grow large; pictures need not wait for them.
        self._videos = Sandbox(
            memory_bytes=limits.decode_memory_bytes,
            timeout_s=limits.video_timeout_s,
            max_workers=1,
            worker_env=worker_env or {},
            jobs_per_worker=1,
        )

    async def warm_up(self) -> None:
        """Start a worker, so that the first upload does not wait for it."""
        await self._sandbox.warm_up()

    async def aclose(self) -> None:
        """End the workers."""
        await self._sandbox.aclose()
        await self._videos.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def sanitize(
        self, content: bytes, *, declared_mime_type: str | None, expect: MediaKind | None = None
    ) -> SanitizedMedia:
        """See ``MediaSanitizer``. Every refusal for size names the limit."""
        limits = self._limits
        check_length(content, limits)
        file_type = sniff(content, declared_mime_type=declared_mime_type, expect=expect)
        is_container = file_type.kind is MediaKind.VIDEO
        sandbox = self._videos if is_container else self._sandbox
        timeout_s = limits.video_timeout_s if is_container else limits.decode_timeout_s
        job = Job(
            kind=file_type.kind,
            mime_type=file_type.mime_type,
            decoder=file_type.decoder,
            max_image_px=limits.max_image_px,
            max_image_side_px=limits.max_image_side_px,
            max_audio_s=limits.max_audio_s,
            max_pages=limits.max_pages,
            max_video_s=limits.max_video_s,
            max_video_px=limits.max_video_px,
            max_video_fps=limits.max_video_fps,
            cpu_s=timeout_s,
            sound_only=expect is MediaKind.AUDIO,
        )
        try:
            answer, sanitized = await sandbox.run(job, content)
        except TimeoutError as exc:
            raise BrokenMedia(
                f"decoding took longer than the limit of {timeout_s:g} seconds"
            ) from exc
        except WorkerLost as exc:
            raise BrokenMedia(
                "decoding was stopped: the file takes more processor time "
                f"({timeout_s:g} s) or memory ({limits.decode_memory_bytes} bytes) "
                "than allowed, or is damaged"
            ) from exc
        if isinstance(answer, Refused):
            raise _ERRORS[answer.fault](answer.message)
        kind = MediaKind(answer.kind) if is_container and answer.kind else file_type.kind
        if expect is not None and kind is not expect:
            raise UnsupportedMedia(f"a {expect.value} is needed here, but this is {kind.value}")
        return SanitizedMedia(
            kind=kind,
            mime_type=answer.mime_type,
            content=sanitized,
            width_px=answer.width_px,
            height_px=answer.height_px,
            duration_s=answer.duration_s,
        )
