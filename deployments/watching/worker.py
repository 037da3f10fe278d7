"""The process that decodes videos: ``python -m deployments.watching.worker MEMORY_BYTES``.

It answers one job with many parts: a frame, the sound, then the frames worth a look as they come.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import av
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from deployments.watching.cuts import SMALL_HEIGHT_PX, SMALL_WIDTH_PX
from deployments.watching.looks import LookChooser
from deployments.watching.parts import Glimpse, Sound, Tick, WatchJob, part_of, watch_job_from
from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError
from serve.media.frames import Done, Fault, Part, Refused
from serve.media.recordings import SOUND_RATE_HZ, plain_sound
from serve.media.videos import picture_stream
from serve.media.worker_loop import limit_cpu, serve_in_parts

Answer = tuple[Part | Done | Refused, bytes]

# Above this no model here sees more.
_MAX_LOOK_SIDE_PX = 1280
_JPEG_QUALITY = 88
# Comparing more often finds no more cuts.
_MIN_STEP_S = 1 / 15
# Above this rate, frames that no other frame needs may stay undecoded: the rest is dense enough.
_DENSE_FPS = 20
_TICK_S = 1.0
_MAX_BAD_PACKETS = 50
# Sound may run on a little behind the last picture.
_SOUND_ALLOWANCE_S = 5.0


def main() -> None:
    """Serve until standard input ends."""
    serve_in_parts(_answers)


def _answers(head: bytes, content: bytes, memory_bytes: int) -> Iterator[Answer]:
    job = watch_job_from(head)
    limit_cpu(job.cpu_s)
    try:
        yield from _watched(content, job)
    except PolymodalError as error:
        fault: Fault = "too_large" if isinstance(error, MediaTooLarge) else "broken"
        yield Refused(fault=fault, message=error.message), b""
    except MemoryError:
        message = f"decoding the video needs more than the limit of {memory_bytes} bytes of memory"
        yield Refused(fault="too_large", message=message), b""
    except Exception as exc:  # noqa: BLE001  # process border: decoders raise anything
        message = f"the video is damaged: it cannot be decoded ({type(exc).__name__})"
        yield Refused(fault="broken", message=message), b""


def _watched(content: bytes, job: WatchJob) -> Iterator[Answer]:
    end_s = 0.0
    n_looks = 0
    with av.open(io.BytesIO(content), "r", format=job.decoder, metadata_errors="ignore") as opened:
        for said, part in _parts(content, job, opened):
            if not isinstance(said, Sound):
                end_s = said.at_s
            n_looks += isinstance(said, Glimpse)
            yield part_of(said), part
    if not n_looks:
        raise BrokenMedia("no picture of the video can be decoded")
    yield Done(mime_type="video", duration_s=end_s), b""


def _parts(
    content: bytes, job: WatchJob, opened: Any
) -> Iterator[tuple[Glimpse | Tick | Sound, bytes]]:
    if job.is_even:
        yield from _even(opened, job)
        return
    looks = _looks(opened, job)
    # Somebody looks at the first frame while the sound is taken out.
    yield from islice(looks, 1)
    yield from _sound(content, job)
    yield from looks


def _sound(content: bytes, job: WatchJob) -> Iterator[tuple[Sound, bytes]]:
    n_samples, flac = plain_sound(content, job.decoder, max_s=job.max_video_s + _SOUND_ALLOWANCE_S)
    if n_samples:
        duration_s = n_samples / SOUND_RATE_HZ
        yield Sound(starts_s=_sound_starts_s(content, job), duration_s=duration_s), flac


def _sound_starts_s(content: bytes, job: WatchJob) -> float:
    """How long after the first picture the sound begins."""
    with av.open(io.BytesIO(content), "r", format=job.decoder, metadata_errors="ignore") as opened:
        begins = [
            float(stream.start_time * stream.time_base) if stream.start_time else 0.0
            for stream in (opened.streams.audio[0], picture_stream(opened))
        ]
    return max(begins[0] - begins[1], 0.0)


def _looks(opened: Any, job: WatchJob) -> Iterator[tuple[Glimpse | Tick, bytes]]:
    """Frames worth a look with their JPEG, ticks on the way, and a tick at the very end."""
    chooser = LookChooser(every_s=job.every_s, min_gap_s=job.duration_s / job.max_looks)
    compared_s = -1.0
    told_s = time.monotonic()
    last: tuple[float, Any] | None = None
    end_s = 0.0
    for at_s, frame in _frames(opened, job):
        last = at_s, frame
        end_s = max(end_s, at_s)
        if at_s - compared_s >= _MIN_STEP_S:
            compared_s = at_s
            start_s = chooser.stretch_to_look_at(at_s, _small(frame))
            if start_s is not None:
                yield _glimpse(start_s, at_s, frame)
                told_s = time.monotonic()
        if time.monotonic() - told_s > _TICK_S:
            yield Tick(at_s=at_s), b""
            told_s = time.monotonic()
    start_s = chooser.last_stretch()
    if last is not None and start_s is not None:
        yield _glimpse(start_s, *last)
    yield Tick(at_s=max(end_s, job.duration_s)), b""


def _even(opened: Any, job: WatchJob) -> Iterator[tuple[Glimpse | Tick, bytes]]:
    """What is shown every ``every_s``, the first frame first; ticks on the way and at the end."""
    shown: Any = None
    n_seen = 0
    end_s = 0.0
    told_s = time.monotonic()

    def due(until_s: float) -> bool:
        return shown is not None and n_seen < job.max_looks and n_seen * job.every_s < until_s

    for at_s, frame in _frames(opened, job):
        while due(at_s):
            yield _glimpse(n_seen * job.every_s, n_seen * job.every_s, shown)
            n_seen += 1
        shown, end_s = frame, at_s
        if time.monotonic() - told_s > _TICK_S:
            yield Tick(at_s=at_s), b""
            told_s = time.monotonic()
    # The last frame may be all there is.
    while due(max(end_s, job.duration_s)) or (shown is not None and n_seen == 0):
        yield _glimpse(n_seen * job.every_s, n_seen * job.every_s, shown)
        n_seen += 1
    yield Tick(at_s=max(end_s, job.duration_s)), b""


def _frames(opened: Any, job: WatchJob) -> Iterator[tuple[float, Any]]:
    stream = picture_stream(opened)
    if stream is None:
        raise BrokenMedia("the video holds no pictures")
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(job.max_video_px)}
    if float(stream.average_rate or 0) >= _DENSE_FPS:
        decoder.skip_frame = "NONREF"
    origin_s: float | None = None
    n_bad = 0
    for packet in opened.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            n_bad += 1
            if n_bad > _MAX_BAD_PACKETS:
                raise BrokenMedia("too much of the video is damaged") from error
            continue
        for frame in frames:
            if frame.time is None:
                continue
            origin_s = frame.time if origin_s is None else origin_s
            at_s = frame.time - origin_s
            if at_s > job.max_video_s:
                return
            yield at_s, frame


def _small(frame: Any) -> NDArray[np.uint8]:
    small: NDArray[np.uint8] = frame.to_ndarray(
        width=SMALL_WIDTH_PX, height=SMALL_HEIGHT_PX, format="rgb24", interpolation="AREA"
    )
    return small


def _glimpse(start_s: float, at_s: float, frame: Any) -> tuple[Glimpse, bytes]:
    """The frame upright, no larger than anybody can use."""
    picture: PIL.Image.Image = frame.to_image()
    if frame.rotation:
        # Counter-clockwise in both FFmpeg's words and Pillow's.
        picture = picture.rotate(frame.rotation, expand=True)
    width_px = picture.width
    picture.thumbnail((_MAX_LOOK_SIDE_PX, _MAX_LOOK_SIDE_PX))
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=_JPEG_QUALITY)
    glimpse = Glimpse(start_s=start_s, at_s=at_s, scale=width_px / picture.width)
    return glimpse, written.getvalue()


if __name__ == "__main__":
    main()
