"""Watches videos through real replicas and prints what happened: run as a module."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from deployments.video_encoder import VideoEncoderReplica
from deployments.watching.decoding import VideoDecoder
from serve.domain.media import MediaKind, MediaLimits, MediaRef
from serve.domain.messages import (
    AudioPerception,
    ImagePerception,
    Progress,
    TranscriptionOptions,
    VideoPerception,
)
from serve.handles import AudioEncoderClient, ImageEncoderClient, VideoEncoderClient
from serve.storage.local_objects import LocalObjectStore
from tests.fixtures.clips import clip, colours
from tests.fixtures.scripted import ScriptedEars, ScriptedEyes
from tests.fixtures.small_ray import small_ray

_MAX_ASKED = 400


class SlowEyes:
    """``ImageEncoder`` whose second look takes for ever; tells how that look ended."""

    def __init__(self) -> None:
        self._eyes = ScriptedEyes()
        self._end = "not begun"

    async def perceive(self, media: MediaRef) -> ImagePerception:
        if self._eyes.n_encodes > 0:
            self._end = "looking"
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self._end = "cancelled"
                raise
        return await self._eyes.perceive(media)

    async def end(self) -> str:
        return self._end


def _film(name: str, content: bytes) -> MediaRef:
    return MediaRef(
        asset_id=f"asset_{name}",
        owner_id="user_ada",
        kind=MediaKind.VIDEO,
        mime_type="video/mp4",
        content_hash="0" * 64,
        storage_key=name,
        n_bytes=len(content),
        duration_s=3.0,
    )


def _watcher(name: str, eyes: Any, folder: Path) -> DeploymentHandle[Any]:
    video = ray_serve.deployment(name="Video", ray_actor_options={"num_cpus": 0.1})
    ears = ray_serve.deployment(name="Ears", ray_actor_options={"num_cpus": 0.1})
    bound = video(VideoEncoderReplica).bind(
        "watching-1",
        partial(LocalObjectStore, folder),
        partial(VideoDecoder, MediaLimits()),
        eyes,
        partial(ImageEncoderClient, node="image encoder", timeout_s=60),
        ears(ScriptedEars).bind(),
        partial(AudioEncoderClient, node="audio encoder", timeout_s=60),
    )
    return ray_serve.run(bound, name=name, route_prefix=None)


async def _watch_whole(client: VideoEncoderClient, film: MediaRef) -> dict[str, Any]:
    *progress, seen = [step async for step in client.perceive(film, TranscriptionOptions())]
    assert isinstance(seen, VideoPerception)
    return {
        "shots": [shot.start_s for shot in seen.shots],
        "progress": [step.done for step in progress if isinstance(step, Progress)],
        "has_sound": isinstance(seen.sound, AudioPerception),
    }


async def _leave(client: VideoEncoderClient, film: MediaRef, eyes: DeploymentHandle[Any]) -> str:
    steps = client.perceive(film, TranscriptionOptions())
    async for step in steps:
        if isinstance(step, Progress) and step.note:
            break
    await _until(eyes, "looking")
    await steps.aclose()
    return await _until(eyes, "cancelled")


async def _until(eyes: DeploymentHandle[Any], wanted: str) -> str:
    """How the second look stands, once it is as wanted or has not become so for long."""
    end = ""
    for _ in range(_MAX_ASKED):
        end = await eyes.end.remote()
        if end == wanted:
            break
        await asyncio.sleep(0.05)
    return end


async def _told(folder: Path, voice_wav: bytes) -> dict[str, Any]:
    content = clip([(1.0, ground) for ground in colours()], voice_wav=voice_wav)
    await LocalObjectStore(folder).put("film", content, mime_type="video/mp4")
    eyes = ray_serve.deployment(name="Eyes", ray_actor_options={"num_cpus": 0.1})
    quick = _watcher("quick", eyes(ScriptedEyes).bind(), folder)
    film = _film("film", content)
    whole = await _watch_whole(VideoEncoderClient(quick, node="video", timeout_s=60), film)
    slow = _watcher("slow", eyes(SlowEyes).bind(), folder)
    slow_eyes = ray_serve.get_deployment_handle("Eyes", "slow")
    client = VideoEncoderClient(slow, node="video", timeout_s=60)
    return {**whole, "end": await _leave(client, film, slow_eyes)}


def main() -> None:
    voice_wav = (Path(__file__).parents[1] / "media" / "voice.wav").read_bytes()
    with small_ray() as folder:
        told = asyncio.run(_told(folder / "objects", voice_wav))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
