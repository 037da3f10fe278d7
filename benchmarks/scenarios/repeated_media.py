"""What the second look costs: a perception that another process made, against making it.

    make bench NAME=repeated_media ARGS="--rounds 5"

One process perceives photographs and recordings with the real encoders and keeps what it perceived
in a Valkey and an object store of our own; a second process, which has no encoders, is then asked
for all of them. Both go through the graph's ``Perceiver``. "Valkey gone" are hits after Valkey has
lost everything: they are read from the object store and indexed again. Figures are medians of
rounds; every round has media of its own. A hit's processor time is that of the asking process and
of Valkey; an encode's is that of the encoding process, without the Ray that it serves under.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load.processes import processor_s
from benchmarks.media import kept, photos
from benchmarks.report import keep
from deployments.audio_encoder import AudioEncoderReplica
from deployments.image_encoder import ImageEncoderReplica
from graphs.nodes import IMAGE_ENCODER, NODES
from graphs.online.perceive import Perceiver
from serve.config.settings import settings_from_environment
from serve.domain.media import MediaKind, MediaRef
from serve.domain.ports import AudioEncoder, ImageEncoder
from serve.embedded.home import Home
from serve.embedded.valkey import ValkeyStore
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import Role
from serve.storage.local_objects import LocalObjectStore
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.scripted import (
    NoIndex,
    ScriptedEars,
    ScriptedEyes,
    ScriptedReader,
    ScriptedWatcher,
)

_VOICE = Path(__file__).parents[2] / "tests" / "media" / "voice.wav"
_WAV_HEADER_BYTES = 44
# One is too short to be measured alone.
_HITS_EACH = 40
_REVISIONS = {kind: f"{kind}-bench" for kind in MediaKind}


@dataclass(frozen=True, slots=True)
class Stores:
    """Where both processes look."""

    folder: Path
    redis_url: str
    redis_pid: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean seconds for one medium."""

    wall_s: float
    cpu_s: float


@asynccontextmanager
async def _perceiver(
    stores: Stores, images: ImageEncoder, sounds: AudioEncoder
) -> AsyncIterator[Perceiver]:
    async with connect(stores.redis_url) as redis:
        # The connection is made once in a process' life.
        await redis.ping()
        yield Perceiver(
            images=images,
            sounds=sounds,
            videos=ScriptedWatcher(),
            documents=ScriptedReader(),
            cache=StoredPerceptionCache(redis, LocalObjectStore(stores.folder)),
            index=NoIndex(),
            revisions=_REVISIONS,
        )


async def _cost(
    perceiver: Perceiver, media: Sequence[MediaRef], pids: Sequence[int], *, is_hit: bool
) -> Cost:
    def cpu_s() -> float:
        return sum(processor_s(pid) for pid in pids)

    before_s, began_s = cpu_s(), time.perf_counter()
    for one in media:
        perceived = await perceiver.perceive(one)
        assert perceived.cache_hit == is_hit
    wall_s = time.perf_counter() - began_s
    return Cost(wall_s / len(media), (cpu_s() - before_s) / len(media))


class Encoders:
    """What the first process loads, once."""

    def __init__(self, objects: LocalObjectStore) -> None:
        models_dir = settings_from_environment().models_dir
        text = CPU_CATALOG.default(Role.TEXT_ENCODER)
        images, sounds = (
            CPU_CATALOG.default(Role.IMAGE_ENCODER),
            CPU_CATALOG.default(Role.AUDIO_ENCODER),
        )
        self.images = ImageEncoderReplica(images, text, models_dir, lambda: objects)
        self.sounds = AudioEncoderReplica(sounds, text, models_dir, lambda: objects)


async def _encode(encoders: Encoders, stores: Stores, media: Sequence[MediaRef]) -> Cost:
    async with _perceiver(stores, encoders.images, encoders.sounds) as perceiver:
        return await _cost(perceiver, media, [os.getpid()], is_hit=False)


async def _recall(stores: Stores, media: Sequence[MediaRef]) -> Cost:
    async with _perceiver(stores, ScriptedEyes(), ScriptedEars()) as perceiver:
        return await _cost(perceiver, media, [os.getpid(), stores.redis_pid], is_hit=True)


def recall(stores: Stores, media: Sequence[MediaRef]) -> Cost:
    """In the second process."""
    return asyncio.run(_recall(stores, media))


async def _forget(stores: Stores) -> None:
    async with connect(stores.redis_url) as redis:
        await redis.flushdb()


async def _media(objects: LocalObjectStore, number: int, n_each: int) -> dict[str, list[MediaRef]]:
    """Like no other of any round."""
    pictures = [
        await kept(objects, content, MediaKind.IMAGE, "image/jpeg")
        for content in photos(n_each, seed=number)
    ]
    wav = _VOICE.read_bytes()
    header, samples = wav[:_WAV_HEADER_BYTES], np.frombuffer(wav[_WAV_HEADER_BYTES:], "<i2")
    steps = range(number * n_each, (number + 1) * n_each)
    recordings = [
        await kept(objects, header + np.roll(samples, step).tobytes(), MediaKind.AUDIO, "audio/wav")
        for step in steps
    ]
    return {"photographs": pictures, "recordings of 7 s": recordings}


def measure(
    encoders: Encoders, stores: Stores, pool: ProcessPoolExecutor, media: Sequence[MediaRef]
) -> dict[str, Cost]:
    """One round."""
    again = list(media) * _HITS_EACH
    encode = asyncio.run(_encode(encoders, stores, media))
    hit = pool.submit(recall, stores, again).result()
    asyncio.run(_forget(stores))
    return {
        "encode": encode,
        "hit": hit,
        "hit, Valkey gone": pool.submit(recall, stores, media).result(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=5)
    options = parser.parse_args(arguments)
    os.environ.update(NODES[IMAGE_ENCODER].environment)
    found: dict[str, list[dict[str, Cost]]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        (home := Home(Path(folder) / "home")).owned(),
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        valkey = ValkeyStore(home)
        valkey.start()
        try:
            valkey.wait_ready()
            assert valkey.child.pid is not None
            stores = Stores(Path(folder) / "objects", valkey.url, valkey.child.pid)
            objects = LocalObjectStore(stores.folder)
            encoders = Encoders(objects)
            for number in range(options.rounds + 1):
                media = asyncio.run(_media(objects, number, options.each))
                for name, some in media.items():
                    round_ = measure(encoders, stores, pool, some)
                    # The first one loads models and imports.
                    if number:
                        found[name].append(round_)
        finally:
            valkey.stop(grace_s=10)
    figures = {name: _summary(rounds) for name, rounds in found.items()}
    print(keep("repeated-media", {"rounds": options.rounds, "each": options.each, **figures}))


def _summary(rounds: Sequence[dict[str, Cost]]) -> dict[str, object]:
    summary: dict[str, object] = {}
    for part in rounds[0]:
        wall_s = statistics.median(one[part].wall_s for one in rounds)
        cpu_s = statistics.median(one[part].cpu_s for one in rounds)
        summary[part] = {
            "wall_ms": round(1e3 * wall_s, 3),
            "cpu_ms": round(1e3 * cpu_s, 3),
            "times_cheaper_wall": round(
                statistics.median(one["encode"].wall_s / one[part].wall_s for one in rounds), 1
            ),
            "times_cheaper_cpu": round(
                statistics.median(one["encode"].cpu_s / one[part].cpu_s for one in rounds), 1
            ),
        }
        print(part, summary[part], flush=True)
    return summary


if __name__ == "__main__":
    main()
