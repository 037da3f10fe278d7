"""Videos made safe. Runs in the worker process only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.audio.resampler import AudioResampler

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError
from serve.domain.media import MediaKind
from serve.media.frames import Done, Job
from serve.media.recordings import sanitize_recording

# Browsers play these as they are.
_MP4_PICTURES = frozenset(("h264", "hevc", "av1"))
_MP4_SOUND = frozenset(("aac", "mp3", "opus", "flac"))
_WEBM_PICTURES = frozenset(("vp8", "vp9"))
_WEBM_SOUND = frozenset(("opus", "vorbis"))

# What is written anew need not be larger than what anybody here looks at.
_MAX_WRITTEN_SIDE_PX = 1280
_WRITTEN_RATE_HZ = 48_000
_MAX_BAD_PACKETS = 50
_MAX_UNDATED = 32
# Short bursts may be denser than the limit for the whole.
_RATE_ALLOWANCE_S = 1.0


def sanitize_video(content: bytes, job: Job) -> tuple[Done, bytes]:
    """One picture track and one sound track, and nothing else of the file, as MP4 or WebM.

    Tracks that browsers play are copied, with every key frame decoded on the way; others are
    written anew as H.264 and AAC. A file without pictures is a recording, and so is every file
    where only sound is asked for. Duration and rate are those of the pictures that are there;
    what headers claim is not looked at. FFmpeg's errors come through as they are.
    """
    target = None if job.sound_only else _target(content, job)
    if target is None:
        return sanitize_recording(content, job)
    if target.is_copied:
        try:
            return _written(content, job, target)
        except PolymodalError:
            raise
        except (av.error.FFmpegError, ValueError):
            # Time stamps that no container takes: the pictures may be good all the same.
            pass
    return _written(content, job, _Target("mp4", "video/mp4", copies_sound=False, is_copied=False))


def picture_stream(container: Any) -> Any:
    """The track of moving pictures, or None. Covers of recordings are not one."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


class _Target(NamedTuple):
    container: str
    mime_type: str
    copies_sound: bool
    is_copied: bool


def _target(content: bytes, job: Job) -> _Target | None:
    with _opened(content, job) as source:
        pictures = picture_stream(source)
        if pictures is None:
            return None
        _check_size(pictures.codec_context.width, pictures.codec_context.height, job)
        codec = pictures.codec_context.name
        sound = next((s.codec_context.name for s in source.streams.audio), None)
        if _named(codec, _WEBM_PICTURES) and (sound is None or _named(sound, _WEBM_SOUND)):
            return _Target("webm", "video/webm", copies_sound=True, is_copied=True)
        is_copied = _named(codec, _MP4_PICTURES | {"vp9"})
        copies_sound = is_copied and sound is not None and _named(sound, _MP4_SOUND)
        return _Target("mp4", "video/mp4", copies_sound=copies_sound, is_copied=is_copied)


def _named(codec: str, names: frozenset[str]) -> bool:
    """Whether a decoder, such as libdav1d or mp3float, is for one of these formats."""
    return av.Codec(codec, "r").canonical_name in names


def _opened(content: bytes, job: Job) -> Any:
    # The demuxer is named, so that no playlist or image sequence is ever guessed at.
    return av.open(io.BytesIO(content), "r", format=job.decoder, metadata_errors="ignore")


@dataclass(slots=True)
class _Seen:
    """What was found out about the pictures on the way."""

    job: Job
    start_s: float | None = None
    end_s: float = 0.0
    n_pictures: int = 0
    size: tuple[int, int] | None = None
    n_bad: int = 0

    def picture(self, at_s: float, length_s: float) -> None:
        """Count one. Raises ``MediaTooLarge`` as soon as there is too much of it."""
        self.start_s = at_s if self.start_s is None else min(self.start_s, at_s)
        self.end_s = max(self.end_s, at_s + min(max(length_s, 0.0), 1.0))
        self.n_pictures += 1
        job = self.job
        if self.duration_s > job.max_video_s:
            raise MediaTooLarge(
                f"the video is longer than the limit of {job.max_video_s:g} seconds"
            )
        if self.n_pictures > job.max_video_fps * job.max_video_s:
            raise MediaTooLarge(
                f"the video has more than {int(job.max_video_fps * job.max_video_s)} pictures, "
                "the limit"
            )

    @property
    def duration_s(self) -> float:
        return self.end_s - (self.start_s or 0.0)

    def decoded(self, frame: Any) -> None:
        """Note what a decoded picture is like."""
        _check_size(frame.width, frame.height, self.job)
        if self.size is None:
            is_turned = frame.rotation % 180 != 0
            self.size = (frame.height, frame.width) if is_turned else (frame.width, frame.height)

    def failed(self, error: Exception) -> None:
        """One packet could not be decoded; a few of them are forgiven."""
        self.n_bad += 1
        if self.n_bad > _MAX_BAD_PACKETS:
            raise BrokenMedia("too much of the video is damaged") from error

    def done(self, mime_type: str) -> Done:
        """The verdict on the whole."""
        job = self.job
        if self.size is None:
            raise BrokenMedia("the video holds no picture that can be decoded")
        if self.n_pictures > job.max_video_fps * (self.duration_s + _RATE_ALLOWANCE_S):
            raise MediaTooLarge(
                f"the video has more than {job.max_video_fps:g} pictures a second, the limit"
            )
        return Done(
            kind=MediaKind.VIDEO,
            mime_type=mime_type,
            width_px=self.size[0],
            height_px=self.size[1],
            duration_s=self.duration_s,
        )


def _written(content: bytes, job: Job, target: _Target) -> tuple[Done, bytes]:
    written = io.BytesIO()
    seen = _Seen(job)
    with (
        _opened(content, job) as source,
        av.open(written, "w", format=target.container, options={"fflags": "+bitexact"}) as out,
    ):
        pictures = picture_stream(source)
        sound = next(iter(source.streams.audio), None)
        decoder = pictures.codec_context
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(job.max_video_px)}
        tracks: dict[int, _Track] = {}
        if target.is_copied:
            decoder.skip_frame = "NONKEY"
            tracks[pictures.index] = _CopiedPictures(out, pictures, seen)
        else:
            tracks[pictures.index] = _NewPictures(out, pictures, seen)
        if sound is not None:
            sound.codec_context.thread_count = 1
            track = _CopiedSound if target.copies_sound else _NewSound
            tracks[sound.index] = track(out, sound, seen)
        for packet in source.demux([s for s in (pictures, sound) if s is not None]):
            for made in tracks[packet.stream.index].take(packet):
                out.mux(made)
        for each in tracks.values():
            for made in each.rest():
                out.mux(made)
    return seen.done(target.mime_type), written.getvalue()


class _Track:
    """One track on its way into the new file."""

    def __init__(self, out: Any, source: Any, seen: _Seen) -> None:
        self._out = out
        self._source = source
        self._seen = seen

    def take(self, packet: Any) -> Iterator[Any]:
        """Packets of the new file that this one of the old file leads to."""
        raise NotImplementedError

    def rest(self) -> Iterator[Any]:
        """Packets that were held back."""
        return iter(())

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except av.error.InvalidDataError as error:
            self._seen.failed(error)
            return []


class _CopiedPictures(_Track):
    def __init__(self, out: Any, source: Any, seen: _Seen) -> None:
        super().__init__(out, source, seen)
        self._new = _copied_stream(out, source)
        self._undated: list[Any] = []

    def take(self, packet: Any) -> Iterator[Any]:
        if packet.pts is None and packet.dts is None:
            return
        at = packet.pts if packet.pts is not None else packet.dts
        base = packet.time_base
        self._seen.picture(float(at * base), float((packet.duration or 0) * base))
        if packet.is_keyframe:
            for frame in self._decoded(packet):
                self._seen.decoded(frame)
        self._undated.append(packet)
        if packet.dts is None:
            # Matroska keeps no decoding times; the demuxer knows them after a few pictures.
            if len(self._undated) > _MAX_UNDATED:
                raise ValueError("no decoding times")
            return
        for before, undated in enumerate(reversed(self._undated)):
            undated.dts = packet.dts - before * (packet.duration or 1)
        for dated in self._undated:
            dated.stream = self._new
            yield dated
        self._undated = []

    def rest(self) -> Iterator[Any]:
        if self._undated:
            raise ValueError("no decoding times")
        # A decoder may hold its first picture back until it has seen the second.
        if self._seen.size is None:
            for frame in self._source.codec_context.decode(None):
                self._seen.decoded(frame)
        return iter(())


class _CopiedSound(_Track):
    def __init__(self, out: Any, source: Any, seen: _Seen) -> None:
        super().__init__(out, source, seen)
        self._new = _copied_stream(out, source)

    def take(self, packet: Any) -> Iterator[Any]:
        if packet.dts is None:
            return
        _check_sound_time(float(packet.dts * packet.time_base), self._seen)
        packet.stream = self._new
        yield packet


class _NewPictures(_Track):
    """Decoded, made small enough and encoded as H.264."""

    def __init__(self, out: Any, source: Any, seen: _Seen) -> None:
        super().__init__(out, source, seen)
        size = source.codec_context
        scale = min(1.0, _MAX_WRITTEN_SIDE_PX / max(size.width, size.height, 1))
        rate = source.average_rate or Fraction(25)
        rate = min(max(Fraction(rate).limit_denominator(1001), Fraction(1)), Fraction(60))
        self._new = out.add_stream("libx264", rate=rate)
        self._new.width = max(int(size.width * scale) // 2 * 2, 2)
        self._new.height = max(int(size.height * scale) // 2 * 2, 2)
        self._new.pix_fmt = "yuv420p"
        self._new.codec_context.time_base = Fraction(1, 90_000)
        self._new.codec_context.thread_count = 2
        self._new.options = {"preset": "ultrafast", "crf": "24"}
        self._last = -1

    def take(self, packet: Any) -> Iterator[Any]:
        for frame in self._decoded(packet):
            if frame.time is None:
                continue
            self._seen.picture(frame.time, 0.0)
            self._seen.decoded(frame)
            if self._last < 0 and frame.rotation:
                self._new.set_display_rotation(frame.rotation)
            at = round((frame.time - (self._seen.start_s or 0.0)) * 90_000)
            if at <= self._last:
                continue
            self._last = at
            small = frame.reformat(self._new.width, self._new.height, "yuv420p")
            small.pts, small.time_base = at, Fraction(1, 90_000)
            small.pict_type = 0
            yield from self._new.encode(small)

    def rest(self) -> Iterator[Any]:
        yield from self._new.encode(None)


class _NewSound(_Track):
    """Decoded and encoded as AAC. Gaps are closed: they are rare where this is needed."""

    def __init__(self, out: Any, source: Any, seen: _Seen) -> None:
        super().__init__(out, source, seen)
        self._new = out.add_stream("aac", rate=_WRITTEN_RATE_HZ, layout="stereo")
        self._resampler = AudioResampler(format="fltp", layout="stereo", rate=_WRITTEN_RATE_HZ)
        self._n_samples = 0

    def take(self, packet: Any) -> Iterator[Any]:
        for frame in self._decoded(packet):
            for resampled in self._resampler.resample(frame):
                yield from self._encoded(resampled)

    def rest(self) -> Iterator[Any]:
        for resampled in self._resampler.resample(None):
            yield from self._encoded(resampled)
        yield from self._new.encode(None)

    def _encoded(self, frame: Any) -> Iterator[Any]:
        frame.pts = None
        self._n_samples += frame.samples
        _check_sound_time(self._n_samples / _WRITTEN_RATE_HZ, self._seen)
        yield from self._new.encode(frame)


def _copied_stream(out: Any, source: Any) -> Any:
    new = out.add_stream_from_template(source)
    new.metadata.clear()
    return new


def _check_sound_time(at_s: float, seen: _Seen) -> None:
    limit_s = seen.job.max_video_s
    if at_s - (seen.start_s or 0.0) > limit_s + 1.0:
        raise MediaTooLarge(f"the video's sound is longer than the limit of {limit_s:g} seconds")


def _check_size(width_px: int, height_px: int, job: Job) -> None:
    if width_px * height_px > job.max_video_px:
        raise MediaTooLarge(
            f"the video is {width_px} by {height_px} pixels; the limit is "
            f"{job.max_video_px} pixels in all"
        )
