"""What is left of an encoder's speed behind Serve, when it has more to do than it can.

    make bench NAME=encoders_saturated ARGS="--rounds 5"

Each encoder runs in a replica as the graph runs it, on a Ray of our own, and is called through the
handle by as many callers as keep it busy. The bare loop is the same model code in this process,
one thing after the other (texts: 64 together, as many calls as the replica joins), with the same
thread limits on the same cores. The same items for both, in turn; ``kept`` is the median over
rounds of served against bare items per second, ``kept_per_cpu_s`` the same per second of processor
time, with all that Ray, Serve and the callers use, and ``kept_per_cpu_s_above_idle`` without what
they use unasked. Where other work shares the cores, the clock favours who has more processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve as ray_serve

from benchmarks.load.processes import snapshot, spent_s
from benchmarks.load.workload import Lengths, Workload
from benchmarks.media import kept, photos
from benchmarks.report import keep
from deployments.audio_encoder import AudioEncoderReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.loading import model_dir
from deployments.sentences import SentenceModel
from deployments.text_encoder import TextEncoderReplica
from graphs.nodes import AUDIO_ENCODER, IMAGE_ENCODER, NODES, TEXT_ENCODER
from serve.config.settings import settings_from_environment
from serve.domain.media import MediaKind
from serve.domain.messages import TextBatch, TranscriptionOptions
from serve.handles import AudioEncoderClient, ImageEncoderClient, TextEncoderClient
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import Role
from serve.storage.local_objects import LocalObjectStore
from tests.fixtures.small_ray import small_ray

_VOICE = Path(__file__).parents[2] / "tests" / "media" / "voice.wav"
_TIMEOUT_S = 300.0
_IDLE_S = 3.0
_JOINED_TEXTS = 64
_TEXTS_PER_CALL = {"texts, one a call": 1, "texts, 32 a call": 32}
_TEXT = CPU_CATALOG.default(Role.TEXT_ENCODER)
_IMAGE = CPU_CATALOG.default(Role.IMAGE_ENCODER)
_AUDIO = CPU_CATALOG.default(Role.AUDIO_ENCODER)

Calls = Sequence[Callable[[], Awaitable[Any]]]


@dataclass(frozen=True, slots=True)
class Case:
    """``bare`` and ``served`` do the same ``n_items``; each of ``served`` is one call."""

    n_items: int
    bare: Calls
    served: Calls
    n_callers: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Items per second by the clock, by the processor, and by the processor above idle."""

    per_s: float
    per_cpu_s: float
    per_busy_cpu_s: float


def _deployed(name: str, replica: type[Any], *args: Any) -> Any:
    node = ray_serve.deployment(name=name, **NODES[name].deployment_options())(replica)
    return ray_serve.run(node.bind(*args), name=name, route_prefix=None)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cases share. Deploying one takes seconds, so one runs at a time."""

    models_dir: Path
    objects: LocalObjectStore

    def texts(self, n_texts: int, per_call: int) -> Case:
        """Sixteen to sixty-four words each."""
        recipe = Workload(prompt_tokens=Lengths(16, 64))
        texts = [recipe.session(0, number).turns[0].text for number in range(n_texts)]
        model = SentenceModel(model_dir(_TEXT, self.models_dir), max_tokens=_TEXT.max_input_tokens)

        async def embed(some: Sequence[str]) -> None:
            model.embed(model.tokenize(some))

        handle = _deployed(TEXT_ENCODER, TextEncoderReplica, _TEXT, self.models_dir)
        client = TextEncoderClient(handle, node="text encoder", timeout_s=_TIMEOUT_S)
        return Case(
            n_items=n_texts,
            bare=[partial(embed, some) for some in _cut(texts, _JOINED_TEXTS)],
            served=[partial(client.encode, TextBatch(some)) for some in _cut(texts, per_call)],
            n_callers=max(4, 2 * _JOINED_TEXTS // per_call),
        )

    async def pictures(self, n_photos: int) -> Case:
        """One a call."""
        files = photos(n_photos)
        media = [await kept(self.objects, one, MediaKind.IMAGE, "image/jpeg") for one in files]
        args = (_IMAGE, _TEXT, self.models_dir, partial(_same, self.objects))
        bare = ImageEncoderReplica(*args)
        handle = _deployed(IMAGE_ENCODER, ImageEncoderReplica, *args)
        client = ImageEncoderClient(handle, node="image encoder", timeout_s=_TIMEOUT_S)
        return Case(
            n_items=n_photos,
            bare=[partial(bare.perceive, one) for one in media],
            served=[partial(client.perceive, one) for one in media],
            n_callers=4,
        )

    async def recordings(self, n_recordings: int) -> Case:
        """Seven seconds of speech a call."""
        media = await kept(self.objects, _VOICE.read_bytes(), MediaKind.AUDIO, "audio/wav")
        args = (_AUDIO, _TEXT, self.models_dir, partial(_same, self.objects))
        bare = AudioEncoderReplica(*args)
        handle = _deployed(AUDIO_ENCODER, AudioEncoderReplica, *args)
        client = AudioEncoderClient(handle, node="audio encoder", timeout_s=_TIMEOUT_S)
        told = TranscriptionOptions()
        return Case(
            n_items=n_recordings,
            bare=[partial(bare.perceive, media, told)] * n_recordings,
            served=[partial(client.perceive, media, told)] * n_recordings,
            n_callers=3,
        )


def _same(objects: LocalObjectStore) -> LocalObjectStore:
    return objects


def _cut(texts: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(texts[start : start + size]) for start in range(0, len(texts), size)]


async def _called(calls: Calls, n_callers: int) -> None:
    waiting = iter(calls)

    async def caller() -> None:
        for call in waiting:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(n_callers):
            group.create_task(caller())


async def _bare_rate(case: Case) -> Rate:
    began_s, own_s = time.perf_counter(), time.process_time()
    await _called(case.bare, 1)
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - own_s
    return Rate(case.n_items / wall_s, case.n_items / cpu_s, case.n_items / cpu_s)


async def _served_rate(case: Case, idle_cores: float) -> Rate:
    before, began_s = snapshot([os.getpid()]), time.perf_counter()
    await _called(case.served, case.n_callers)
    wall_s = time.perf_counter() - began_s
    cpu_s = sum(spent_s(before, snapshot([os.getpid()])).values())
    busy_cpu_s = cpu_s - idle_cores * wall_s
    return Rate(case.n_items / wall_s, case.n_items / cpu_s, case.n_items / busy_cpu_s)


async def _idle_cores() -> float:
    """Processor seconds a second that all processes use unasked."""
    before, began_s = snapshot([os.getpid()]), time.perf_counter()
    await asyncio.sleep(_IDLE_S)
    spent = sum(spent_s(before, snapshot([os.getpid()])).values())
    return spent / (time.perf_counter() - began_s)


async def measure(case: Case, rounds: int) -> dict[str, object]:
    """All rounds, after one that is not counted."""
    await _bare_rate(case)
    await _served_rate(case, 0.0)
    idle_cores = await _idle_cores()
    found = [(await _bare_rate(case), await _served_rate(case, idle_cores)) for _ in range(rounds)]
    shares = [served.per_s / bare.per_s for bare, served in found]
    return {
        "items_a_round": case.n_items,
        "callers": case.n_callers,
        "bare_per_s": round(statistics.median(bare.per_s for bare, _ in found), 2),
        "served_per_s": round(statistics.median(served.per_s for _, served in found), 2),
        "kept": round(statistics.median(shares), 3),
        "kept_rounds": [round(each, 3) for each in shares],
        "kept_per_cpu_s": round(
            statistics.median(served.per_cpu_s / bare.per_cpu_s for bare, served in found), 3
        ),
        "kept_per_cpu_s_above_idle": round(
            statistics.median(
                served.per_busy_cpu_s / bare.per_busy_cpu_s for bare, served in found
            ),
            3,
        ),
        "idle_cores": round(idle_cores, 3),
    }


async def _run(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    bench = Bench(settings_from_environment().models_dir.resolve(), LocalObjectStore(folder))
    figures: dict[str, object] = {"rounds": options.rounds}
    for name in options.cases:
        match name:
            case "pictures":
                case, node = await bench.pictures(options.photos), IMAGE_ENCODER
            case "recordings":
                case, node = await bench.recordings(options.recordings), AUDIO_ENCODER
            case _:
                case, node = bench.texts(options.texts, _TEXTS_PER_CALL[name]), TEXT_ENCODER
        figures[name] = await measure(case, options.rounds)
        print(name, figures[name], flush=True)
        await asyncio.to_thread(ray_serve.delete, node)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--recordings", type=int, default=6)
    every = [*_TEXTS_PER_CALL, "pictures", "recordings"]
    parser.add_argument("--cases", nargs="+", choices=every, default=every)
    options = parser.parse_args(arguments)
    # Every encoder node has the same; libraries read it when they are first imported.
    os.environ.update(NODES[TEXT_ENCODER].environment)
    with small_ray() as folder:
        figures = asyncio.run(_run(options, folder / "objects"))
    print(keep("encoders-saturated", figures))


if __name__ == "__main__":
    main()
