"""A video's sound and its frames worth a look, from a process that can be killed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from deployments.watching.parts import Glimpse, Sound, Tick, WatchJob, said_by
from serve.domain.errors import BrokenMedia, MediaTooLarge
from serve.domain.media import MediaLimits, MediaRef
from serve.media.frames import Part, Refused
from serve.media.sandbox import Sandbox, WorkerLost

_MODULE: Final = "deployments.watching.worker"
_DECODERS: Final = {"video/mp4": "mov", "video/webm": "matroska"}
# Frames come at least this often while anything changes, however long the video: each look
# takes a good part of a second.
_EVERY_S: Final = 4.0
_MAX_LOOKS: Final = 40
# For each part. Whoever looks at the frames sets the pace, and decoding waits for it.
_PART_TIMEOUT_S: Final = 60.0
# Decoding takes about a tenth of the video's length on a core, and every file has its price.
_CPU_S_PER_S: Final = 2.0
_MIN_CPU_S: Final = 60.0


class VideoDecoder:
    """Decodes up to ``max_videos`` at once, each in its own process."""

    def __init__(
        self,
        limits: MediaLimits,
        *,
        max_videos: int = 2,
        worker_env: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits
        self._sandbox = Sandbox(
            memory_bytes=limits.decode_memory_bytes,
            timeout_s=_PART_TIMEOUT_S,
            max_workers=max_videos,
            worker_env=worker_env or {},
            module=_MODULE,
        )

    async def parts(
        self, media: MediaRef, content: bytes
    ) -> AsyncGenerator[tuple[Sound | Glimpse | Tick, bytes], None]:
        """Frames as JPEG, in order, and behind the first one the sound as FLAC, if there is any.

        The last tick is the end of the video. Closing this ends the process. Raises
        ``BrokenMedia``, ``MediaTooLarge``.
        """
        async with aclosing(self._done(self._job(media, _EVERY_S), content)) as parts:
            async for part in parts:
                yield part

    async def frames(
        self, media: MediaRef, content: bytes, every_s: float
    ) -> AsyncGenerator[bytes, None]:
        """What is shown every ``every_s``, from the first moment on, as JPEG. Raises as above."""
        job = replace(self._job(media, every_s), is_even=True)
        async with aclosing(self._done(job, content)) as parts:
            async for said, jpeg in parts:
                if isinstance(said, Glimpse):
                    yield jpeg

    def _job(self, media: MediaRef, every_s: float) -> WatchJob:
        duration_s = media.duration_s or 0.0
        return WatchJob(
            decoder=_DECODERS[media.mime_type],
            duration_s=duration_s,
            every_s=every_s,
            max_looks=_MAX_LOOKS,
            max_video_px=self._limits.max_video_px,
            max_video_s=self._limits.max_video_s,
            cpu_s=_MIN_CPU_S + _CPU_S_PER_S * duration_s,
        )

    async def _done(
        self, job: WatchJob, content: bytes
    ) -> AsyncGenerator[tuple[Sound | Glimpse | Tick, bytes], None]:
        try:
            async with aclosing(self._sandbox.stream(job, content)) as answers:
                async for head, part in answers:
                    match head:
                        case Part():
                            yield said_by(head), part
                        case Refused(fault="too_large"):
                            raise MediaTooLarge(head.message)
                        case Refused():
                            raise BrokenMedia(head.message)
                        case _:
                            return
        except (TimeoutError, WorkerLost, ValueError) as exc:
            raise BrokenMedia(
                "watching was stopped: decoding the video takes more time or memory than allowed"
            ) from exc
