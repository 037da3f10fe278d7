"""Do pictures show what was asked for? Prompts to pictures, and pictures back to names.

    python -m benchmarks.scenarios.picture_rank --models-dir var/models

Names that the painter never saw, as many that it learnt, and the real emoji of both, for what
the judges themselves can do. Two judges, both against chance: the picture encoder ranks the names
by its vector of the picture; the nearest emoji by pixels is, or is not, the one of that name, or
at least of its category.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from benchmarks.media import kept
from benchmarks.report import keep
from deployments.image_encoder import ImageEncoderReplica
from deployments.image_generator import ImageGeneratorReplica
from deployments.loading import model_dir
from deployments.painting.emoji import SIDE_PX, NamedPicture, emoji
from deployments.painting.loading import load_painter
from deployments.sentences import SentenceModel
from serve.domain.media import MediaKind
from serve.domain.messages import Painted, PaintRequest
from serve.registry.catalog import CPU_CATALOG
from serve.storage.local_objects import LocalObjectStore

_SIDE_PX = 256
_BATCH = 16

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Shares of pictures, 0 to 1; ``chance`` values are those of a judge that guesses.

    ``median_rank`` counts from 1, of ``n_names``. ``nearest_is_own`` and ``nearest_is_kin`` are
    of the nearest of all emoji by pixels.
    """

    n_names: int
    first: float
    among_5: float
    among_10: float
    median_rank: float
    nearest_is_own: float
    nearest_is_kin: float
    chance_first: float
    chance_among_5: float
    chance_among_10: float
    chance_median_rank: float
    chance_nearest_is_own: float
    chance_nearest_is_kin: float


class Judges:
    """The picture encoder and the pixels of all emoji."""

    def __init__(self, models_dir: Path, known: Sequence[NamedPicture], folder: Path) -> None:
        text = CPU_CATALOG.get("minilm-l6-v2")
        self._store = LocalObjectStore(folder)
        self._encoder = ImageEncoderReplica(
            CPU_CATALOG.get("vision-lite"), text, models_dir, lambda: self._store
        )
        self._sentences = SentenceModel(
            model_dir(text, models_dir), max_tokens=text.max_input_tokens
        )
        self._known = known
        self._pixels = np.stack([_small(picture.pixels) for picture in known])

    async def judge(self, subjects: Sequence[NamedPicture], shown: Sequence[Pixels]) -> Verdict:
        """How well what is shown goes with the subjects' names."""
        said = [subject.names[0] for subject in subjects]
        names = self._sentences.embed(self._sentences.tokenize(said))
        vectors = np.stack([await self._vector(pixels) for pixels in shown])
        scores = vectors @ names.T
        ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
        nearest = [self._nearest(pixels) for pixels in shown]
        pairs = list(zip(nearest, subjects, strict=True))
        n = len(subjects)
        return Verdict(
            n_names=n,
            first=float((ranks == 1).mean()),
            among_5=float((ranks <= 5).mean()),
            among_10=float((ranks <= 10).mean()),
            median_rank=float(np.median(ranks)),
            nearest_is_own=statistics.fmean(one is other for one, other in pairs),
            nearest_is_kin=statistics.fmean(one.category == other.category for one, other in pairs),
            chance_first=1 / n,
            chance_among_5=5 / n,
            chance_among_10=10 / n,
            chance_median_rank=(n + 1) / 2,
            chance_nearest_is_own=1 / len(self._known),
            chance_nearest_is_kin=statistics.fmean(
                statistics.fmean(one.category == subject.category for one in self._known)
                for subject in subjects
            ),
        )

    async def _vector(self, pixels: Pixels) -> NDArray[np.float32]:
        written = io.BytesIO()
        picture = PIL.Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX))
        picture.save(written, "PNG")
        content = written.getvalue()
        media = await kept(self._store, content, MediaKind.IMAGE, "image/png")
        return np.asarray((await self._encoder.perceive(media)).vector, dtype=np.float32)

    def _nearest(self, pixels: Pixels) -> NamedPicture:
        distances = np.square(self._pixels - _small(pixels)).sum(axis=(1, 2, 3))
        return self._known[int(distances.argmin())]


def _small(pixels: Pixels) -> NDArray[np.float32]:
    # Half the size: a nose that is one pixel off is the same nose.
    picture = PIL.Image.fromarray(pixels).resize((SIDE_PX // 2, SIDE_PX // 2))
    return np.asarray(picture, dtype=np.float32)


async def paint(replica: ImageGeneratorReplica, prompts: Sequence[str]) -> list[Pixels]:
    """One picture for each prompt, at the model's own settings."""

    async def one(prompt: str, seed: int) -> Pixels:
        request = PaintRequest(
            prompt=prompt, model="emoji-flow", width_px=_SIDE_PX, height_px=_SIDE_PX, seed=seed
        )
        async with aclosing(replica.paint(request)) as news:
            *_, last = [each async for each in news]
        if not isinstance(last, Painted):
            raise TypeError("the picture was never finished")
        with PIL.Image.open(io.BytesIO(last.png)) as picture:
            return np.asarray(picture.convert("RGB"))

    return await asyncio.gather(*(one(prompt, seed) for seed, prompt in enumerate(prompts)))


async def measure(models_dir: Path, cache: Path) -> dict[str, object]:
    """Every verdict, by what was judged."""
    known = emoji(cache, print)
    unseen = [picture for picture in known if picture.is_held_out]
    learnt = [picture for picture in known if not picture.is_held_out]
    chosen = np.random.default_rng(0).choice(len(learnt), len(unseen), replace=False)
    seen = [learnt[index] for index in chosen]
    spec, text = CPU_CATALOG.get("emoji-flow"), CPU_CATALOG.get("minilm-l6-v2")
    replica = ImageGeneratorReplica(
        spec,
        partial(load_painter, spec, text, models_dir),
        lambda: LocalObjectStore(cache),
        max_batch=_BATCH,
    )
    verdicts: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        judges = Judges(models_dir, known, Path(folder))
        for what, subjects in (("held_out", unseen), ("learnt", seen)):
            painted = await paint(replica, [subject.names[0] for subject in subjects])
            for how, shown in (
                ("painted", painted),
                ("real", [subject.pixels for subject in subjects]),
            ):
                verdict = await judges.judge(subjects, shown)
                verdicts[f"{what}_{how}"] = asdict(verdict)
                print(f"{what} {how}: {verdict}")
    return {"n_emoji": len(known), **verdicts}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder for the emoji archive; kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        numbers = asyncio.run(measure(options.models_dir, options.cache or Path(scratch)))
    print(keep("picture-rank", numbers))


if __name__ == "__main__":
    main()
