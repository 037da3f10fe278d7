"""Our painter against diffusers' own pipelines, on the GPU if there is one.

    make bench NAME=painter_device ARGS="--models tiny-sdxl,tiny-flux --rounds 5"

Models have random weights, written for this run: speed does not depend on what they know. Both
sides use the very same pipeline object, seeds and steps, in turn. *Together*: pictures that are
asked for at once; stock gets them as one batch. *One by one*: each comes a step after the one
before it; stock paints one after the other, because a call of it takes nobody in. Figures are
pictures a second, from prompts to pixels, medians of rounds. Needs only torch, diffusers,
transformers, numpy, Pillow and safetensors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
import torch

from benchmarks.random_painters import MIDDLING, TINY, Shape, write_flux, write_sdxl
from benchmarks.report import commit, keep, machine
from deployments.painting.canvas import Canvas, Sketch
from deployments.painting.flux import Flux
from deployments.painting.latent_painter import LatentModel, LatentPainter
from deployments.painting.sdxl import StableDiffusionXL
from serve.domain.messages import PaintRequest
from serve.registry.specs import PainterTraits

_TRAITS: Final = {
    "sdxl": PainterTraits(engine="sdxl", steps=4, guidance=5.0),
    "flux": PainterTraits(engine="flux", steps=4, guidance=1.0),
}
_STOCK_WORDS: Final[dict[str, dict[str, Any]]] = {
    "sdxl": {"guidance_scale": 5.0},
    "flux": {"max_sequence_length": 256},
}
_SHAPES: Final = {"tiny": TINY, "middling": MIDDLING}
_PROMPT: Final = "a red boat on a green lake"


@dataclass(frozen=True, slots=True)
class Bench:
    """One model, how both sides paint with it, and pictures of what size and how many steps."""

    family: str
    model: LatentModel
    side_px: int
    steps: int

    @classmethod
    def of(cls, name: str, folder: Path, side_px: int, steps: int) -> Bench:
        """The model called ``tiny-flux`` and the like, written to ``folder``."""
        size, family = name.split("-")
        return cls(family, _written(family, folder, _SHAPES[size]), side_px, steps)

    def ours(self, n: int, *, apart: bool = False) -> list[PIL.Image.Image]:
        """Paint ``n``; ``apart``: each begins a step behind the one before it."""
        painter = LatentPainter(self.model, _TRAITS[self.family])
        waiting = [self._request(seed) for seed in range(n)]
        canvases: list[Canvas] = []
        while waiting or not all(canvas.is_done for canvas in canvases):
            for request in waiting[: 1 if apart else n]:
                canvases.append(painter.begin(request, Sketch()))
                waiting.remove(request)
            painter.step([canvas for canvas in canvases if not canvas.is_done])
        return [painter.picture(canvas) for canvas in canvases]

    def stock(self, n: int, *, apart: bool = False) -> list[PIL.Image.Image]:
        """The same by diffusers' own call, or by one for each picture."""
        seeds = [[seed] for seed in range(n)] if apart else [list(range(n))]
        return [picture for group in seeds for picture in self._call(group)]

    def _call(self, seeds: Sequence[int]) -> list[PIL.Image.Image]:
        pipeline = self.model.parts
        pipeline.set_progress_bar_config(disable=True)
        called = pipeline(
            [_PROMPT] * len(seeds),
            width=self.side_px,
            height=self.side_px,
            num_inference_steps=self.steps,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            **_STOCK_WORDS[self.family],
        )
        pictures: list[PIL.Image.Image] = called.images
        return pictures

    def _request(self, seed: int) -> PaintRequest:
        return PaintRequest(
            prompt=_PROMPT,
            model=self.family,
            width_px=self.side_px,
            height_px=self.side_px,
            seed=seed,
            steps=self.steps,
        )


def _written(family: str, folder: Path, shape: Shape) -> LatentModel:
    if family == "sdxl":
        write_sdxl(folder, shape)
        return StableDiffusionXL(folder)
    write_flux(folder, shape)
    return Flux(folder)


def measure(bench: Bench, n: int, rounds: int, *, apart: bool) -> dict[str, object]:
    """Both sides in every round, in an order that changes, after one that is not counted."""
    sides: dict[str, Callable[..., list[PIL.Image.Image]]] = {
        "ours": bench.ours,
        "stock": bench.stock,
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            started_s = time.perf_counter()
            sides[name](n, apart=apart)
            if number:
                rates[name].append(n / (time.perf_counter() - started_s))
    ratios = [ours / stock for ours, stock in zip(rates["ours"], rates["stock"], strict=True)]
    return {
        "pictures": n,
        "come": "one by one" if apart else "together",
        "ours_per_s": round(statistics.median(rates["ours"]), 3),
        "stock_per_s": round(statistics.median(rates["stock"]), 3),
        "ours_to_stock": round(statistics.median(ratios), 3),
    }


def largest_difference(bench: Bench) -> int:
    """Between one picture of ours and of stock, in any value of 0 to 255."""
    ours, stock = (
        np.asarray(pictures[0], dtype=np.int16) for pictures in (bench.ours(1), bench.stock(1))
    )
    return int(np.abs(ours - stock).max())


def _parameters(bench: Bench) -> int:
    parts = bench.model.parts
    network = parts.unet if bench.family == "sdxl" else parts.transformer
    return sum(each.numel() for each in network.parameters())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    names = [f"{size}-{family}" for size in _SHAPES for family in _TRAITS]
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(names if has_gpu else names[:2]))
    parser.add_argument("--batches", default="1,4,8")
    parser.add_argument("--side", type=int, default=512 if has_gpu else 128)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write JSON there instead of under results/")
    options = parser.parse_args(arguments)
    figures: dict[str, object] = {
        "device": torch.cuda.get_device_name() if has_gpu else "cpu",
        "torch": torch.__version__,
        "side_px": options.side,
        "steps": options.steps,
        "rounds": options.rounds,
    }
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench.of(name, Path(scratch), options.side, options.steps)
        rows = []
        for n in map(int, options.batches.split(",")):
            for apart in (False, True)[: 1 if n == 1 else 2]:
                rows.append(measure(bench, n, options.rounds, apart=apart))
                print(name, rows[-1], flush=True)
        figures[name] = {
            "parameters": _parameters(bench),
            "largest_difference": largest_difference(bench),
            "rates": rows,
        }
    if options.out is None:
        print(keep("painter-device", figures))
        return
    kept = {"commit": commit(), "machine": machine(), **figures}
    options.out.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
