"""Bytes to samples, a few seconds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from serve.domain.errors import BrokenMedia

if TYPE_CHECKING:
    import av.container

SAMPLE_RATE_HZ: Final = 16_000
_FULL_SCALE: Final = 32768.0
_PIECE_SAMPLES: Final = 5 * SAMPLE_RATE_HZ

Samples = NDArray[np.float32]
"""Mono, 16 kHz, -1 to 1, shape ``(n,)``."""

Pcm = NDArray[np.int16]
"""The same in 16 bits: half of the memory."""


def as_samples(pcm: Pcm) -> Samples:
    """From 16 bits to what models take."""
    return pcm.astype(np.float32) / np.float32(_FULL_SCALE)


def decode_recording(file: BinaryIO) -> Iterator[Pcm]:
    """The sound of a file's first audio stream, about five seconds at a time.

    Raises:
        BrokenMedia: It cannot be decoded, or holds no sound.
    """
    import av

    is_empty = True
    try:
        with av.open(file, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise BrokenMedia("the recording holds no sound")
            for piece in _pieces(container):
                is_empty = False
                yield piece
    except (av.FFmpegError, ValueError) as error:
        raise BrokenMedia("the recording cannot be decoded") from error
    if is_empty:
        raise BrokenMedia("the recording holds no sound")


def _pieces(container: av.container.InputContainer) -> Iterator[Pcm]:
    parts: list[Pcm] = []
    n_samples = 0
    for part in _resampled(container):
        parts.append(part)
        n_samples += len(part)
        if n_samples >= _PIECE_SAMPLES:
            yield np.concatenate(parts)
            parts, n_samples = [], 0
    if parts:
        yield np.concatenate(parts)


def _resampled(container: av.container.InputContainer) -> Iterator[Pcm]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    for frame in container.decode(audio=0):
        yield from (part.to_ndarray()[0] for part in resampler.resample(frame))
    # None asks for what the resampler still holds.
    yield from (part.to_ndarray()[0] for part in resampler.resample(None))
