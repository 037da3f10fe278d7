"""Uploads made safe: sniffed here, decoded and written anew in a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from tempfile import TemporaryFile
from typing import Self

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError, UnsupportedMedia
from serve.domain.media import MediaKind, MediaLimits, SanitizedMedia
from serve.media.arriving import ArrivingRecording
from serve.media.frames import Done, Fault, Job, Refused
from serve.media.sandbox import Sandbox, WorkerLost
from serve.media.sniff import (
    FileType,
    check_length,
    check_n_bytes,
    has_whole_head,
    is_read_forward,
    sniff,
)

# A longer head is a picture or an index: the file is decoded when it is there.
_MAX_HEAD_BYTES = 1024 * 1024

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
        max_arriving: int = 8,
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
        # A slow upload keeps its worker, but nobody else's.
        self._arriving = Sandbox(
            memory_bytes=limits.decode_memory_bytes,
            timeout_s=limits.decode_timeout_s,
            max_workers=max_arriving,
            worker_env=worker_env or {},
            module="serve.media.arriving_worker",
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
        job = self._job(file_type, cpu_s=timeout_s, sound_only=expect is MediaKind.AUDIO)
        with self._explained(timeout_s):
            answer, sanitized = await sandbox.run(job, content)
        done = _accepted(answer)
        kind = MediaKind(done.kind) if is_container and done.kind else file_type.kind
        if expect is not None and kind is not expect:
            raise UnsupportedMedia(f"a {expect.value} is needed here, but this is {kind.value}")
        return SanitizedMedia(
            kind=kind,
            mime_type=done.mime_type,
            content=sanitized,
            width_px=done.width_px,
            height_px=done.height_px,
            duration_s=done.duration_s,
        )

    @asynccontextmanager
    async def receiving(
        self, pieces: AsyncIterator[bytes], *, declared_mime_type: str | None
    ) -> AsyncIterator[ArrivingRecording]:
        """See ``MediaSanitizer``."""
        with ArrivingRecording(max_s=self._limits.max_audio_s) as recording:
            try:
                async with asyncio.TaskGroup() as group:
                    receiving = group.create_task(
                        self._receive(pieces, recording, declared_mime_type)
                    )
                    yield recording
                    receiving.cancel()
            except* Exception as failed:  # noqa: BLE001 - one task's failure, as it was
                raise failed.exceptions[0] from None

    async def _receive(
        self, pieces: AsyncIterator[bytes], recording: ArrivingRecording, declared: str | None
    ) -> None:
        upload = _Upload(pieces, self._limits)
        head = await upload.head()
        file_type = sniff(head, declared_mime_type=declared, expect=MediaKind.AUDIO)
        if not (is_read_forward(head, file_type) and self._arriving.has_room):
            content = await upload.whole()
            recording.complete(
                await self.sanitize(content, declared_mime_type=declared, expect=MediaKind.AUDIO)
            )
            return
        timeout_s = self._limits.decode_timeout_s
        job = self._job(file_type, cpu_s=timeout_s, sound_only=True)
        with self._explained(timeout_s):
            answer = await self._arriving.follow(job, upload.pieces(), recording.take)
        recording.complete(recording.file(_accepted(answer)))

    def _job(self, file_type: FileType, *, cpu_s: float, sound_only: bool) -> Job:
        limits = self._limits
        return Job(
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
            cpu_s=cpu_s,
            sound_only=sound_only,
        )

    @contextmanager
    def _explained(self, timeout_s: float) -> Iterator[None]:
        """What became of a worker in words for whoever sent the file."""
        try:
            yield
        except TimeoutError as exc:
            raise BrokenMedia(
                f"decoding took longer than the limit of {timeout_s:g} seconds"
            ) from exc
        except WorkerLost as exc:
            raise BrokenMedia(
                "decoding was stopped: the file takes more processor time "
                f"({timeout_s:g} s) or memory ({self._limits.decode_memory_bytes} bytes) "
                "than allowed, or is damaged"
            ) from exc


def _accepted(answer: Done | Refused) -> Done:
    if isinstance(answer, Refused):
        raise _ERRORS[answer.fault](answer.message)
    return answer


class _Upload:
    """A file that arrives in pieces, which are counted. To be read once: head, then the rest."""

    def __init__(self, pieces: AsyncIterator[bytes], limits: MediaLimits) -> None:
        self._arriving = pieces
        self._limits = limits
        self._head = b""
        self._n_bytes = 0

    async def head(self) -> bytes:
        """As much as it takes to know the file, or all there is."""
        async for piece in self._arriving:
            self._head += piece
            self._n_bytes += len(piece)
            if has_whole_head(self._head) or len(self._head) > _MAX_HEAD_BYTES:
                break
        check_n_bytes(self._n_bytes, self._head, self._limits)
        return self._head

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """All of it. Raises ``MediaTooLarge``."""
        yield self._head
        async for piece in self._arriving:
            self._n_bytes += len(piece)
            check_n_bytes(self._n_bytes, self._head, self._limits)
            yield piece

    async def whole(self) -> bytes:
        """All of it, on disk until it is there. Raises ``MediaTooLarge``."""
        with TemporaryFile() as file:
            async for piece in self.pieces():
                file.write(piece)
            file.seek(0)
            return file.read()
