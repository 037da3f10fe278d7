"""Speech as the files that clients ask for, piece by piece while it is being said."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

import numpy as np

from serve.domain.media import MediaKind, SanitizedMedia
from serve.domain.voices import AudioFormat

# Container, codec, bits per second (0: lossless), and what makes the bytes leave at once.
_ENCODINGS: Final[dict[AudioFormat, tuple[str, str, int, dict[str, str]]]] = {
    AudioFormat.MP3: ("mp3", "libmp3lame", 64_000, {"write_xing": "0"}),
    AudioFormat.OPUS: ("ogg", "libopus", 32_000, {"page_duration": "100000"}),
    AudioFormat.AAC: ("adts", "aac", 64_000, {}),
    AudioFormat.FLAC: ("flac", "flac", 0, {}),
}
_UNKNOWN_LENGTH: Final = 0xFFFF_FFFF
_BYTES_PER_SAMPLE: Final = 2


class AudioWriter:
    """Takes mono PCM (signed 16-bit little-endian) and gives the bytes of a file. Not thread-safe.

    ``n_samples``: how long the whole will be, where that is known; else a WAV says that it goes
    on to the end of the stream.
    """

    def __init__(
        self, form: AudioFormat, sample_rate_hz: int, *, n_samples: int | None = None
    ) -> None:
        self._encoder = _Encoder(sample_rate_hz, *_ENCODINGS[form]) if form in _ENCODINGS else None
        self._head = wav_header(sample_rate_hz, n_samples) if form is AudioFormat.WAV else b""

    def write(self, pcm: bytes) -> bytes:
        """What of the file is certain with this sound."""
        if self._encoder is not None:
            return self._encoder.write(pcm)
        head, self._head = self._head, b""
        return head + pcm

    def finish(self) -> bytes:
        """The end of the file."""
        if self._encoder is not None:
            return self._encoder.finish()
        head, self._head = self._head, b""
        return head


def whole_file(form: AudioFormat, pcm: bytes, sample_rate_hz: int) -> bytes:
    """All of the sound as one file."""
    writer = AudioWriter(form, sample_rate_hz, n_samples=len(pcm) // _BYTES_PER_SAMPLE)
    return writer.write(pcm) + writer.finish()


async def speech_of(form: AudioFormat, pcm: bytes, sample_rate_hz: int) -> SanitizedMedia:
    """All of the sound as a medium to keep; written beside the event loop."""
    return SanitizedMedia(
        kind=MediaKind.AUDIO,
        mime_type=form.mime_type,
        content=await asyncio.to_thread(whole_file, form, pcm, sample_rate_hz),
        duration_s=len(pcm) / _BYTES_PER_SAMPLE / sample_rate_hz,
    )


def wav_header(sample_rate_hz: int, n_samples: int | None) -> bytes:
    """Of 16-bit mono. Source: http://soundfile.sapp.org/doc/WaveFormat/."""
    n_bytes = None if n_samples is None else n_samples * _BYTES_PER_SAMPLE
    byte_rate = sample_rate_hz * _BYTES_PER_SAMPLE
    return (
        b"RIFF"
        + struct.pack("<I", _UNKNOWN_LENGTH if n_bytes is None else n_bytes + 36)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, sample_rate_hz, byte_rate, _BYTES_PER_SAMPLE, 16)
        + b"data"
        + struct.pack("<I", _UNKNOWN_LENGTH if n_bytes is None else n_bytes)
    )


class _Pipe:
    """Where a muxer writes; it cannot seek, so it never comes back to change a header."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._parts.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Encoder:
    def __init__(
        self,
        sample_rate_hz: int,
        container: str,
        codec: str,
        bit_rate: int,
        options: dict[str, str],
    ) -> None:
        import av

        self._pipe = _Pipe()
        self._container: Any = av.open(
            self._pipe, mode="w", format=container, options={"flush_packets": "1", **options}
        )
        self._stream = self._container.add_stream(codec, rate=sample_rate_hz, layout="mono")
        if bit_rate:
            self._stream.bit_rate = bit_rate
        self._rate = sample_rate_hz
        self._n_samples = 0

    def write(self, pcm: bytes) -> bytes:
        import av

        samples = np.frombuffer(pcm, "<i2")[None, :]
        if samples.size:
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = self._rate
            frame.pts = self._n_samples
            self._n_samples += samples.size
            self._container.mux(self._stream.encode(frame))
        return self._pipe.taken()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._pipe.taken()
