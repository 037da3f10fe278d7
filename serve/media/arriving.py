"""A recording on its way: what can be heard of it so far, and all of it in the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import Final, Self

from serve.domain.errors import MediaTooLarge
from serve.domain.media import SanitizedFile, SanitizedMedia
from serve.media.frames import Done, Part
from serve.media.pcm import SPEECH_RATE_HZ

PIECE_BYTES: Final = 5 * SPEECH_RATE_HZ * 2


class ArrivingRecording:
    """``ArrivingMedia`` on disk, so that whoever listens may be slower than whoever uploads.

    One writes, one reads. Leaving the context removes everything.
    """

    def __init__(self, *, max_s: float) -> None:
        # What the decoder says is a stranger's word: it is not to fill the disk either.
        self._max_bytes = int(max_s * SPEECH_RATE_HZ * 2)
        self._sound_bytes = 0
        self._file_bytes = 0
        self._media: SanitizedMedia | SanitizedFile | None = None
        self._more = asyncio.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._sound = stack.enter_context(TemporaryFile())
            self._file = stack.enter_context(TemporaryFile())
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()

    def take(self, part: Part, content: bytes) -> None:
        """What the decoder says. Raises ``MediaTooLarge``, ``ValueError`` for nonsense."""
        is_sound = part.name == "sound"
        at = self._sound_bytes if is_sound else int(part.numbers.get("at", -1))
        end = at + len(content)
        if at < 0:
            raise ValueError("no place in the file")
        # Noise may need a little more as a file than its samples.
        if end > (self._max_bytes if is_sound else 2 * self._max_bytes):
            raise MediaTooLarge("the recording is longer than the limit")
        _write_all(self._sound.fileno() if is_sound else self._file.fileno(), content, at)
        if is_sound:
            self._sound_bytes = end
            self._more.set()
        else:
            self._file_bytes = max(self._file_bytes, end)

    def file(self, done: Done) -> SanitizedFile:
        """The whole recording; the file belongs to this."""
        return SanitizedFile(
            file=self._file,
            n_bytes=self._file_bytes,
            mime_type=done.mime_type,
            duration_s=self._sound_bytes / SPEECH_RATE_HZ / 2,
        )

    def complete(self, media: SanitizedMedia | SanitizedFile) -> None:
        """Nothing more comes: this is what it has become."""
        self._media = media
        self._more.set()

    async def sanitized(self) -> SanitizedMedia | SanitizedFile:
        """See ``ArrivingMedia``."""
        while self._media is None:
            await self._changed()
        return self._media

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """See ``ArrivingMedia``."""
        at = 0
        while True:
            n_bytes = min(PIECE_BYTES, self._sound_bytes - at)
            if n_bytes == PIECE_BYTES or (self._media is not None and n_bytes > 0):
                yield os.pread(self._sound.fileno(), n_bytes, at)
                at += n_bytes
            elif self._media is not None:
                return
            else:
                await self._changed()

    async def _changed(self) -> None:
        self._more.clear()
        await self._more.wait()


def _write_all(descriptor: int, content: bytes, at: int) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written:], at + written)
