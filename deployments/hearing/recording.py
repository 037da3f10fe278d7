"""Bytes to samples."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serve.domain.errors import BrokenMedia

SAMPLE_RATE_HZ: Final = 16_000

Samples = NDArray[np.float32]
"""Mono, 16 kHz, -1 to 1, shape ``(n,)``."""


def decode_recording(content: bytes) -> Samples:
    """All sound of a file's first audio stream.

    Raises:
        BrokenMedia: It cannot be decoded, or holds no sound.
    """
    import av

    pieces = []
    try:
        with av.open(io.BytesIO(content), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise BrokenMedia("the recording holds no sound")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
            for frame in container.decode(audio=0):
                pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            # None asks for what the resampler still holds.
            pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        raise BrokenMedia("the recording cannot be decoded") from error
    if not pieces:
        raise BrokenMedia("the recording holds no sound")
    return np.concatenate(pieces)
