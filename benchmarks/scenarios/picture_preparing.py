"""How many photographs become what a model takes, per second of processor time.

    make bench NAME=picture_preparing ARGS="--rounds 5"

From a JPEG's bytes to normalised arrays. ``ours`` is what the image encoder does: the inputs of
the classifier and of the detector, and the pixels that the reader takes, from one decoding. The
others make a single input of 224 by 224: Pillow in a loop, Pillow's draft mode in a loop, and the
draft mode in a ``multiprocessing.Pool`` and in Ray Data (where pandas and pyarrow are installed),
whose arrays come back to the process that asked. The same photographs for all of them, in turn;
figures are medians of rounds, processor time is that of all processes.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from benchmarks.load.processes import snapshot, spent_s
from benchmarks.media import photos
from benchmarks.report import keep
from deployments.vision.classifier import middle
from deployments.vision.detector import letterbox
from deployments.vision.views import View
from graphs.nodes import IMAGE_ENCODER, NODES
from tests.fixtures.small_ray import small_ray

_SIDE_PX = 224
_BATCH = 16

Work = Callable[[Sequence[bytes]], None]


def _ours(files: Sequence[bytes]) -> None:
    for content in files:
        view = View(content)
        middle(view)
        letterbox(view)


def _with_pillow(content: bytes, *, drafts: bool) -> NDArray[np.float32]:
    with PIL.Image.open(io.BytesIO(content)) as picture:
        if drafts:
            picture.draft("RGB", (_SIDE_PX, _SIDE_PX))
        small = picture.convert("RGB").resize((_SIDE_PX, _SIDE_PX))
    pixels = (np.asarray(small, dtype=np.float32) - 127.0) / 128.0
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _loop(files: Sequence[bytes], *, drafts: bool) -> None:
    for content in files:
        _with_pillow(content, drafts=drafts)


def _pooled(pool: Any, files: Sequence[bytes]) -> None:  # a pool's class depends on its context
    for _ in pool.imap(partial(_with_pillow, drafts=True), files, chunksize=_BATCH):
        pass


def _batch(rows: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    return {"image": np.stack([_with_pillow(content, drafts=True) for content in rows["content"]])}


def _with_ray_data(files: Sequence[bytes]) -> None:
    import ray.data

    rows = ray.data.from_items([{"content": content} for content in files])
    made = rows.map_batches(_batch, batch_size=_BATCH)
    n_made = sum(len(batch["image"]) for batch in made.iter_batches(batch_size=_BATCH))
    assert n_made == len(files)


def _quiet_ray_data() -> None:
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False


def measure(work: Work, files: Sequence[bytes]) -> float:
    """Photographs per second of processor time."""
    before = snapshot([os.getpid()])
    work(files)
    return len(files) / sum(spent_s(before, snapshot([os.getpid()])).values())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    os.environ.update(NODES[IMAGE_ENCODER].environment)
    files = photos(options.photos)
    with ExitStack() as stack:
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(options.workers))
        works: dict[str, Work] = {
            "ours": _ours,
            "Pillow": partial(_loop, drafts=False),
            "Pillow, draft mode": partial(_loop, drafts=True),
            "multiprocessing.Pool": partial(_pooled, pool),
        }
        if find_spec("pandas") and find_spec("pyarrow"):
            stack.enter_context(small_ray())
            _quiet_ray_data()
            works["Ray Data"] = _with_ray_data
        found: dict[str, list[float]] = {name: [] for name in works}
        for number in range(options.rounds + 1):
            for name, work in works.items():
                rate = measure(work, files)
                # The first round starts processes and fills caches.
                if number:
                    found[name].append(rate)
    medians = {name: round(statistics.median(rates), 1) for name, rates in found.items()}
    for name, median in medians.items():
        print(f"{name:24} {median:7.1f} photographs per CPU-second")
    figures = {
        "photos": len(files),
        "kilobytes_each": round(statistics.fmean(len(content) for content in files) / 1e3),
        "per_cpu_s": medians,
        "rounds_per_cpu_s": {
            name: [round(rate, 1) for rate in rates] for name, rates in found.items()
        },
    }
    print(keep("picture-preparing", figures))


if __name__ == "__main__":
    main()
