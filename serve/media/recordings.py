"""Recordings made safe. Runs in the worker process only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from serve.domain.errors import BrokenMedia, MediaTooLarge, UnsupportedMedia
from serve.domain.media import MediaKind
from serve.media.frames import Done, Job

SOUND_RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2
# Outside, one packet could unfold into hours: the limit below works frame by frame.
_MIN_INPUT_RATE_HZ = 4_000
_MAX_INPUT_RATE_HZ = 384_000
_MAX_CHANNELS = 8
# Recordings cut out of streams often begin or end inside a packet.
_MAX_BAD_PACKETS = 10


def sanitize_recording(content: bytes, job: Job) -> tuple[Done, bytes]:
    """Decode whole and write anew as 16 kHz mono 16-bit FLAC without tags.

    Of a video, the sound alone is taken. The duration is what was decoded; what headers claim is
    not looked at. FFmpeg's errors come through as they are.
    """
    n_samples, flac = plain_sound(content, job.decoder, max_s=job.max_audio_s)
    if n_samples == 0:
        raise BrokenMedia("the recording holds no sound that can be decoded")
    return Done(
        kind=MediaKind.AUDIO, mime_type="audio/flac", duration_s=n_samples / SOUND_RATE_HZ
    ), flac


def plain_sound(content: bytes, decoder: str, *, max_s: float) -> tuple[int, bytes]:
    """The first sound track: its samples at 16 kHz counted, and as FLAC. 0: there is none.

    Raises ``MediaTooLarge`` when it is longer than ``max_s``.
    """
    written = io.BytesIO()
    source = io.BytesIO(content)
    readable = _Forward(source) if decoder == "mp3" else source
    n_bytes = sum(map(len, rewritten_sound(readable, decoder, written, max_s=max_s)))
    return n_bytes // BYTES_PER_SAMPLE, written.getvalue()


class _Forward:
    """A file that cannot seek.

    FFmpeg drops what an encoder has put behind an MP3's last sample only where it can seek to the
    end: what the recording holds must not depend on whether it was decoded while it arrived.
    """

    def __init__(self, file: io.BytesIO) -> None:
        self.read = file.read


def rewritten_sound(source: Any, decoder: str, written: Any, *, max_s: float) -> Iterator[bytes]:
    """The same from one file to another: ``source`` need not be able to seek, ``written`` must.

    Yields the samples as they are decoded, signed 16-bit little-endian; the FLAC depends on them
    alone, and is whole when they end.
    """
    n_samples = 0
    limit = int(max_s * SOUND_RATE_HZ)
    with av.open(written, "w", format="flac", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream("flac", rate=SOUND_RATE_HZ, layout="mono", format="s16")
        for frame in _resampled(source, decoder):
            n_samples += frame.samples
            if n_samples > limit:
                raise MediaTooLarge(f"the recording is longer than the limit of {max_s:g} seconds")
            # A plane may be longer than what is in it.
            yield bytes(frame.planes[0])[: frame.samples * BYTES_PER_SAMPLE]
            frame.pts = None
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _resampled(source: Any, decoder: str) -> Iterator[AudioFrame]:
    resampler = AudioResampler(format="s16", layout="mono", rate=SOUND_RATE_HZ)
    for frame in _decoded(source, decoder):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _decoded(source: Any, decoder: str) -> Iterator[AudioFrame]:
    # The demuxer is named, so that no playlist or image sequence is ever guessed at.
    with av.open(source, "r", format=decoder, metadata_errors="ignore") as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        n_bad = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                n_bad += 1
                if n_bad > _MAX_BAD_PACKETS:
                    raise
                continue
            for frame in frames:
                _check_frame(frame)
                yield frame


def _check_frame(frame: AudioFrame) -> None:
    if not _MIN_INPUT_RATE_HZ <= frame.sample_rate <= _MAX_INPUT_RATE_HZ:
        raise BrokenMedia(f"the recording's sample rate of {frame.sample_rate} Hz is not plausible")
    if frame.layout.nb_channels > _MAX_CHANNELS:
        raise UnsupportedMedia(
            f"the recording has {frame.layout.nb_channels} channels; the limit is {_MAX_CHANNELS}"
        )
