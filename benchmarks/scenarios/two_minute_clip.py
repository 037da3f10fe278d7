"""How soon a two-minute clip says something, and how long it takes: progress, shots, end, cancel.

    make bench NAME=two_minute_clip ARGS="--rounds 3"

A clip of 1280 by 720 pixels with a cut every six seconds and somebody speaking half of the time
goes through the video, image and audio encoders in replicas as the graph runs them, on a Ray of
our own. Seconds count from the call: to the first progress, to the first shot described and the
first words written down, to the perception. A second call is left at its first result: then to the
end of the process that decodes, and to the moment when no replica works any more. Figures are
medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import statistics
import time
import wave
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
from ray import serve as ray_serve

from benchmarks.load.processes import processor_s, role_of
from benchmarks.media import kept, photos
from benchmarks.report import keep
from deployments.audio_encoder import AudioEncoderReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.video_encoder import VideoEncoderReplica
from deployments.watching.decoding import VideoDecoder
from graphs.nodes import AUDIO_ENCODER, IMAGE_ENCODER, NODES, VIDEO_ENCODER
from serve.config.settings import settings_from_environment
from serve.domain.media import MediaKind, MediaLimits, MediaRef
from serve.domain.messages import Progress, TranscriptionOptions, VideoPerception
from serve.handles import AudioEncoderClient, ImageEncoderClient, VideoEncoderClient
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import Role
from serve.storage.local_objects import LocalObjectStore
from tests.fixtures.clips import clip
from tests.fixtures.small_ray import small_ray

_VOICE = Path(__file__).parents[2] / "tests" / "media" / "voice.wav"
_SIZE_PX = (1280, 720)
_SCENE_S = 6.0
_TIMEOUT_S = 300.0
_DECODER = "deployments.watching.worker"
_NODES = (VIDEO_ENCODER, IMAGE_ENCODER, AUDIO_ENCODER)
# A replica that rests uses less than this share of a core.
_RESTING = 0.1
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Seconds since the call, and how much was found."""

    first_progress_s: float
    first_shot_s: float
    first_words_s: float
    whole_s: float
    n_shots: int
    n_segments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Seconds since the caller left."""

    decoder_gone_s: float
    replicas_resting_s: float


def film(seconds: float) -> bytes:
    """As an MP4 file."""
    n_scenes = round(seconds / _SCENE_S)
    shown = [PIL.Image.open(io.BytesIO(photo)).resize(_SIZE_PX) for photo in photos(n_scenes)]
    return clip(
        [(_SCENE_S, picture) for picture in shown],
        voice_wav=_speech(seconds),
        options={"preset": "ultrafast"},
    )


def _speech(seconds: float) -> bytes:
    """The voice and as long a pause, again and again."""
    with wave.open(io.BytesIO(_VOICE.read_bytes())) as opened:
        rate_hz = opened.getframerate()
        voice = np.frombuffer(opened.readframes(opened.getnframes()), "<i2")
    spoken = np.resize(np.concatenate((voice, np.zeros_like(voice))), round(seconds * rate_hz))
    written = io.BytesIO()
    with wave.open(written, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(spoken.tobytes())
    return written.getvalue()


def _deployed(folder: Path) -> VideoEncoderClient:
    models_dir = settings_from_environment().models_dir.resolve()
    text, image, audio = (
        CPU_CATALOG.default(role)
        for role in (Role.TEXT_ENCODER, Role.IMAGE_ENCODER, Role.AUDIO_ENCODER)
    )
    open_store = partial(LocalObjectStore, folder)

    def node(name: str, replica: type[Any], *args: Any) -> Any:
        deployment = ray_serve.deployment(name=name, **NODES[name].deployment_options())
        return deployment(replica).bind(*args)

    watching = node(
        VIDEO_ENCODER,
        VideoEncoderReplica,
        "watching-bench",
        open_store,
        partial(VideoDecoder, MediaLimits()),
        node(IMAGE_ENCODER, ImageEncoderReplica, image, text, models_dir, open_store),
        partial(ImageEncoderClient, node="image encoder", timeout_s=_TIMEOUT_S),
        node(AUDIO_ENCODER, AudioEncoderReplica, audio, text, models_dir, open_store),
        partial(AudioEncoderClient, node="audio encoder", timeout_s=_TIMEOUT_S),
    )
    handle = ray_serve.run(watching, name="watching", route_prefix=None)
    return VideoEncoderClient(handle, node="video encoder", timeout_s=_TIMEOUT_S)


async def watch(client: VideoEncoderClient, media: MediaRef) -> Watched:
    """To its end."""
    began_s = time.perf_counter()
    first_s: dict[str, float] = {}

    def notice(what: str) -> None:
        first_s.setdefault(what, time.perf_counter() - began_s)

    seen: VideoPerception | None = None
    async with aclosing(client.perceive(media, TranscriptionOptions())) as steps:
        async for step in steps:
            match step:
                case Progress(note=note):
                    notice("progress")
                    if note:
                        notice("words" if note.split(" ", 1)[1].startswith('"') else "shot")
                case VideoPerception():
                    seen = step
    whole_s = time.perf_counter() - began_s
    assert seen is not None
    assert seen.sound is not None
    return Watched(
        first_progress_s=first_s.get("progress", whole_s),
        # Of two that come at once, only the later one is told.
        first_shot_s=first_s.get("shot", whole_s),
        first_words_s=first_s.get("words", whole_s),
        whole_s=whole_s,
        n_shots=len(seen.shots),
        n_segments=len(seen.sound.segments),
    )


async def leave(client: VideoEncoderClient, media: MediaRef) -> Left:
    """At the first result."""
    async with aclosing(client.perceive(media, TranscriptionOptions())) as steps:
        async for step in steps:
            if isinstance(step, Progress) and step.note:
                break
    left_s = time.perf_counter()
    decoders = [psutil.Process(pid) for pid in _pids(_DECODER)]
    await asyncio.to_thread(psutil.wait_procs, decoders)
    gone_s = time.perf_counter() - left_s
    resting_s = 0.0
    while not resting_s:
        before_s, looked_s = _replicas_s(), time.perf_counter()
        await asyncio.sleep(_LOOK_EVERY_S)
        if _replicas_s() - before_s < _RESTING * (time.perf_counter() - looked_s):
            resting_s = looked_s - left_s
    return Left(decoder_gone_s=gone_s, replicas_resting_s=resting_s)


def _replicas_s() -> float:
    return sum(processor_s(pid) for name in _NODES for pid in _pids(name))


def _pids(role: str) -> list[int]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if role_of(process.cmdline() or [process.name()]) == role:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


async def _run(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    content = film(options.seconds)
    media = await kept(LocalObjectStore(folder), content, MediaKind.VIDEO, "video/mp4")
    client = _deployed(folder)
    # Loads what is loaded at first use.
    short = await kept(LocalObjectStore(folder), film(_SCENE_S), MediaKind.VIDEO, "video/mp4")
    await watch(client, short)
    watched, left = [], []
    for _ in range(options.rounds):
        watched.append(asdict(await watch(client, media)))
        left.append(asdict(await leave(client, media)))
        print(watched[-1], left[-1], flush=True)
    return {
        "clip": {"seconds": options.seconds, "megabytes": round(len(content) / 1e6, 1)},
        "rounds": options.rounds,
        **_medians(watched),
        **_medians(left),
        "slowest": {name: round(max(each[name] for each in watched), 2) for name in watched[0]},
    }


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in rounds[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args(arguments)
    os.environ.update(NODES[VIDEO_ENCODER].environment)
    with small_ray() as folder:
        figures = asyncio.run(_run(options, folder / "objects"))
    print(keep("two-minute-clip", figures))


if __name__ == "__main__":
    main()
