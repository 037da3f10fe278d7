"""The process that decodes recordings while they arrive.

``python -m serve.media.arriving_worker MEMORY_BYTES``: behind the head of a job come pieces of the
file (``frames.PIECE``), and its end. The answers are parts: ``sound`` is what can be heard so far,
``file`` what is to be written at a place of the file that is kept.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import BinaryIO

from serve.domain.errors import BrokenMedia
from serve.domain.media import MediaKind
from serve.media.frames import PIECE, Done, Job, Part, Refused, job_from
from serve.media.recordings import BYTES_PER_SAMPLE, SOUND_RATE_HZ, rewritten_sound
from serve.media.worker_loop import limit_cpu, limit_memory, refusal, serve_in_parts

# Nothing is kept: codecs, and what has not been taken yet.
_EXTRA_BYTES = 224 * 1024 * 1024
# A message for each frame would cost more than decoding it.
_SOUND_BYTES = SOUND_RATE_HZ * BYTES_PER_SAMPLE


def main() -> None:
    """Serve until standard input ends."""
    serve_in_parts(_answers)


def _answers(
    head: bytes, content: bytes, memory_bytes: int
) -> Iterator[tuple[Part | Done | Refused, bytes]]:
    del content, memory_bytes  # it comes in pieces; of the whole process, by resource limit
    job = job_from(head)
    limit_cpu(job.cpu_s)
    limit_memory(_EXTRA_BYTES)
    try:
        yield from _sound_and_file(job, _Arriving(sys.stdin.buffer))
    except Exception as exc:  # noqa: BLE001  # process border
        yield refusal(exc), b""


def _sound_and_file(job: Job, arriving: _Arriving) -> Iterator[tuple[Part | Done, bytes]]:
    written = _Told()
    unheard = bytearray()
    n_bytes = 0
    for pcm in rewritten_sound(arriving, job.decoder, written, max_s=job.max_audio_s):
        n_bytes += len(pcm)
        unheard += pcm
        if len(unheard) >= _SOUND_BYTES:
            yield Part(name="sound", numbers={}), bytes(unheard)
            unheard.clear()
        yield from written.taken()
    if unheard:
        yield Part(name="sound", numbers={}), bytes(unheard)
    yield from written.taken()
    if n_bytes == 0:
        raise BrokenMedia("the recording holds no sound that can be decoded")
    duration_s = n_bytes / BYTES_PER_SAMPLE / SOUND_RATE_HZ
    yield Done(kind=MediaKind.AUDIO, mime_type="audio/flac", duration_s=duration_s), b""


class _Arriving:
    """A file that is read as it comes; it cannot seek."""

    def __init__(self, pieces: BinaryIO) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._is_whole = False

    def read(self, n_bytes: int) -> bytes:
        """Some of what comes next, at most ``n_bytes``; nothing at the end."""
        if not self._piece and not self._is_whole:
            (length,) = PIECE.unpack(self._pieces.read(PIECE.size))
            self._is_whole = length == 0
            self._piece = memoryview(self._pieces.read(length))
        taken, self._piece = self._piece[:n_bytes], self._piece[n_bytes:]
        return bytes(taken)


class _Told:
    """A file that is written elsewhere: what and where is taken from time to time."""

    def __init__(self) -> None:
        self._at = 0
        self._end = 0
        self._written: list[tuple[int, bytes]] = []

    def write(self, content: bytes) -> int:
        self._written.append((self._at, bytes(content)))
        self._at += len(content)
        self._end = max(self._end, self._at)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def taken(self) -> Iterator[tuple[Part, bytes]]:
        """What was written since the last time."""
        written, self._written = self._written, []
        for at, content in written:
            yield Part(name="file", numbers={"at": float(at)}), content


if __name__ == "__main__":
    main()
