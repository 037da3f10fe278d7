"""Recordings made safe. Runs in the worker process only."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from serve.domain.errors import BrokenMedia, MediaTooLarge, UnsupportedMedia
from serve.media.frames import Done, Job

_RATE_HZ = 16_000
# Outside, one packet could unfold into hours: the limit below works frame by frame.
_MIN_INPUT_RATE_HZ = 4_000
_MAX_INPUT_RATE_HZ = 384_000
_MAX_CHANNELS = 8
# Recordings cut out of streams often begin or end inside a packet.
_MAX_BAD_PACKETS = 10


def sanitize_recording(content: bytes, job: Job) -> tuple[Done, bytes]:
    """Decode whole and write anew as 16 kHz mono 16-bit FLAC without tags.

    The duration is what was decoded; what headers claim is not looked at. FFmpeg's errors come
    through as they are.
    """
    written = io.BytesIO()
    n_samples = 0
    limit = int(job.max_audio_s * _RATE_HZ)
    with av.open(written, "w", format="flac", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream("flac", rate=_RATE_HZ, layout="mono", format="s16")
        for frame in _resampled(content, job):
            n_samples += frame.samples
            if n_samples > limit:
                raise MediaTooLarge(
                    f"the recording is longer than the limit of {job.max_audio_s:g} seconds"
                )
            frame.pts = None
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    if n_samples == 0:
        raise BrokenMedia("the recording holds no sound that can be decoded")
    return Done(mime_type="audio/flac", duration_s=n_samples / _RATE_HZ), written.getvalue()


def _resampled(content: bytes, job: Job) -> Iterator[AudioFrame]:
    resampler = AudioResampler(format="s16", layout="mono", rate=_RATE_HZ)
    for frame in _decoded(content, job):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _decoded(content: bytes, job: Job) -> Iterator[AudioFrame]:
    # The demuxer is named, so that no playlist or image sequence is ever guessed at.
    with av.open(
        io.BytesIO(content), "r", format=job.decoder, metadata_errors="ignore"
    ) as container:
        if any(not _is_cover(video) for video in container.streams.video):
            raise UnsupportedMedia("this is a video; only its sound alone is taken")
        if not container.streams.audio:
            raise BrokenMedia("the file holds no sound")
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


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _check_frame(frame: AudioFrame) -> None:
    if not _MIN_INPUT_RATE_HZ <= frame.sample_rate <= _MAX_INPUT_RATE_HZ:
        raise BrokenMedia(f"the recording's sample rate of {frame.sample_rate} Hz is not plausible")
    if frame.layout.nb_channels > _MAX_CHANNELS:
        raise UnsupportedMedia(
            f"the recording has {frame.layout.nb_channels} channels; the limit is {_MAX_CHANNELS}"
        )
