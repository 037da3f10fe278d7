"""Uncompressed speech as it comes and goes: rates, and the companded forms of telephony.

Samples are float32 from -1 to 1, mono; bytes are signed 16-bit little-endian unless said.
"""

from __future__ import annotations

import io
import math
import wave
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serve.domain.realtime import WireFormat

Samples = NDArray[np.float32]

SPEECH_RATE_HZ: Final = 16_000
"""What those who listen want."""

_FULL_SCALE: Final = 32768.0
_ZERO_CROSSINGS: Final = 8
# Where the filter begins to fall, of the highest frequency that the lower rate can hold.
_PASS_BAND: Final = 0.92


class Resampler:
    """One stream from one rate to another. Delays by under a millisecond; loses nothing else."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._filters = _polyphase(self._up, self._down)
        self._held = np.zeros(self._filters.shape[1] - 1, dtype=np.float32)
        # Of the next output, from the first sample to come, in input samples times ``_up``.
        self._at = 0

    def push(self, samples: Samples) -> Samples:
        """All output that is certain with these samples."""
        if self._up == self._down:
            return samples
        known = np.concatenate([self._held, samples])
        places = np.arange(self._at, len(samples) * self._up, self._down)
        self._at += len(places) * self._down - len(samples) * self._up
        self._held = known[len(samples) :]
        if len(places) == 0:
            return np.zeros(0, dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(known, self._filters.shape[1])
        result: Samples = np.einsum(
            "ij,ij->i", windows[places // self._up], self._filters[places % self._up]
        )
        return result


class WireReader:
    """Sound from the wire as bytes at ``SPEECH_RATE_HZ``."""

    def __init__(self, form: WireFormat) -> None:
        self._form = form
        self._resampler = Resampler(form.rate_hz, SPEECH_RATE_HZ)
        self._half = b""

    def push(self, content: bytes) -> bytes:
        """What these bytes amount to; a sample may be cut anywhere."""
        content = self._half + content
        n_whole = len(content) // self._form.bytes_per_sample * self._form.bytes_per_sample
        self._half = content[n_whole:]
        return to_s16(self._resampler.push(_decoded(content[:n_whole], self._form)))


class WireWriter:
    """Sound of any rate as bytes for the wire."""

    def __init__(self, form: WireFormat, from_hz: int) -> None:
        self._form = form
        self._resampler = Resampler(from_hz, form.rate_hz)

    def push(self, pcm: bytes) -> bytes:
        """What these whole samples amount to."""
        samples = self._resampler.push(from_s16(pcm))
        if self._form is WireFormat.PCM:
            return to_s16(samples)
        return _companded(samples, self._form)


def from_s16(content: bytes) -> Samples:
    """Bytes to samples."""
    return np.frombuffer(content, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)


def to_s16(samples: Samples) -> bytes:
    """Samples to bytes; what is too loud is cut off."""
    scaled = np.clip(np.round(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    return scaled.astype("<i2").tobytes()


def wav_file(pcm: bytes, rate_hz: int) -> bytes:
    """A mono WAV file of these bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return out.getvalue()


def _polyphase(up: int, down: int) -> Samples:
    """Windowed-sinc low-pass filters, shape ``(up, taps)``, newest sample last."""
    taps = 2 * math.ceil(_ZERO_CROSSINGS * max(1.0, down / up))
    length = taps * up
    cutoff = _PASS_BAND / (2 * max(up, down))
    moments = np.arange(length) - (length - 1) / 2
    kernel = 2 * cutoff * np.sinc(2 * cutoff * moments) * np.hanning(length + 2)[1:-1] * up
    filters = kernel.reshape(taps, up).T[:, ::-1]
    return np.ascontiguousarray(filters, dtype=np.float32)


# --- G.711: each byte stands for one of 256 levels ---------------------------------------------


def _mu_law_levels() -> NDArray[np.int32]:
    code = ~np.arange(256) & 0xFF
    size = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int32)


def _a_law_levels() -> NDArray[np.int32]:
    code = np.arange(256) ^ 0x55
    exponent = (code & 0x70) >> 4
    size = ((code & 0x0F) << 4) + 8
    size = np.where(exponent > 0, (size + 0x100) << np.maximum(exponent - 1, 0), size)
    return np.where(code & 0x80, size, -size).astype(np.int32)


_LEVELS: Final = {WireFormat.MU_LAW: _mu_law_levels(), WireFormat.A_LAW: _a_law_levels()}


def _decoded(content: bytes, form: WireFormat) -> Samples:
    if form is WireFormat.PCM:
        return from_s16(content)
    levels = _LEVELS[form][np.frombuffer(content, np.uint8)]
    return levels.astype(np.float32) / np.float32(_FULL_SCALE)


def _companded(samples: Samples, form: WireFormat) -> bytes:
    """The nearest level of each sample."""
    order = np.argsort(_LEVELS[form], kind="stable")
    levels = _LEVELS[form][order]
    middles = (levels[1:] + levels[:-1]) / 2
    return order[np.searchsorted(middles, samples * _FULL_SCALE)].astype(np.uint8).tobytes()
