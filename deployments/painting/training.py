"""Train ``emoji-flow``, the small prompt-to-picture model, from nothing: rectified flow.

``polymodal train emoji-flow --minutes 45`` goes on where an earlier run left off. With
``--lessons FILE`` what there is to learn is written to a file, or read from it where it exists: a
machine with an accelerator then needs neither a network nor the text encoder.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from deployments.loading import model_dir
from deployments.painting.emoji import SIDE_PX, NamedPicture, emoji
from deployments.painting.transformer import EmojiFlowTransformer
from deployments.sentences import SentenceModel
from serve.registry.archives import Report
from serve.registry.catalog import catalog
from serve.registry.specs import Role

_STATE: Final = "training-state.pt"
_SENTENCES: Final = ("{}", "{} emoji", "a picture of {}", "draw {}", "{} icon")
_WITHOUT_WORDS: Final = 0.1
_EMA: Final = 0.9995
_WARM_UP_STEPS: Final = 100
_COOL_DOWN: Final = 0.4
_MUON_RATE: Final = 2e-3
_ADAM_RATE: Final = 1e-3
# Noise levels are drawn logit-normal, with more of the high ones, where shape and colour are found.
_LOGIT_MEAN: Final = 0.4
# Errors in the last, fine-grained part of the way would drown all others.
_WEIGHT_FROM_SIGMA: Final = 0.15
# Sentence vectors are blurred by up to so much of their length, so that words it never read lead
# to what is nearest in meaning.
_BLUR: Final = 0.3
_KEYWORD_WORDINGS: Final = 10
_MAX_KEYWORDS: Final = 3
# What reads wrongly in a mirror.
_NEVER_MIRRORED: Final = frozenset({"Flags", "Symbols"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Pictures from -1 to 1 ``(n, 3, 64, 64)`` and sentence vectors ``(n, variants, dim)``.

    ``mirrors``: bool ``(n,)``, whether the mirrored picture has the same name.
    """

    pictures: Tensor
    sentences: Tensor
    mirrors: Tensor

    def on(self, device: torch.device) -> Lessons:
        """The same, where the model is."""
        return Lessons(
            pictures=self.pictures.to(device),
            sentences=self.sentences.to(device),
            mirrors=self.mirrors.to(device),
        )

    def batch(self, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random pictures and one sentence vector for each, a little beside what was said."""
        here = random.device
        chosen = torch.randint(len(self.pictures), (size,), generator=random, device=here)
        variant = torch.randint(self.sentences.shape[1], (size,), generator=random, device=here)
        pictures = self.pictures[chosen]
        turned = self.mirrors[chosen] & (torch.rand(size, generator=random, device=here) < 0.5)
        pictures = torch.where(turned[:, None, None, None], pictures.flip(-1), pictures)
        return pictures, self._blurred(self.sentences[chosen, variant], random)

    @staticmethod
    def _blurred(sentences: Tensor, random: torch.Generator) -> Tensor:
        here = random.device
        blur = torch.randn(sentences.shape, generator=random, device=here)
        blur *= _BLUR * torch.rand((len(sentences), 1), generator=random, device=here)
        return functional.normalize(sentences + blur / math.sqrt(sentences.shape[1]), dim=-1)

    def save(self, path: Path) -> None:
        """Write what ``load`` reads: pictures as bytes, vectors in half precision."""
        half = {
            "pictures": ((self.pictures + 1) * 127.5).round().byte(),
            "sentences": self.sentences.half(),
            "mirrors": self.mirrors,
        }
        save_file(half, path)

    @staticmethod
    def load(path: Path) -> Lessons:
        """What ``save`` wrote."""
        kept = load_file(path)
        return Lessons(
            pictures=kept["pictures"].float() / 127.5 - 1,
            sentences=kept["sentences"].float(),
            mirrors=kept["mirrors"],
        )


def lessons(pictures: Sequence[NamedPicture], sentences: SentenceModel) -> Lessons:
    """What training sees: every picture that is not held out."""
    seen = [picture for picture in pictures if not picture.is_held_out]
    pixels = np.stack([picture.pixels for picture in seen]).transpose(0, 3, 1, 2)
    said = [text for picture in seen for text in _ways_to_say(picture)]
    vectors = sentences.embed(sentences.tokenize(said)).reshape(len(seen), -1, sentences.dim)
    return Lessons(
        pictures=torch.from_numpy(pixels.copy()).float() / 127.5 - 1,
        sentences=torch.from_numpy(vectors),
        mirrors=torch.tensor([picture.category not in _NEVER_MIRRORED for picture in seen]),
    )


def _ways_to_say(picture: NamedPicture) -> list[str]:
    usual, last = picture.names[0], picture.names[-1]
    named = [each.format(name) for name in (usual, last) for each in _SENTENCES]
    words = picture.keywords or picture.names
    chosen = Random(usual)  # noqa: S311 - no secret: the same wordings every time
    thought_of = [
        " ".join(chosen.sample(words, chosen.randint(1, min(_MAX_KEYWORDS, len(words)))))
        for _ in range(_KEYWORD_WORDINGS)
    ]
    return named + thought_of


class Training:
    """One run. ``train`` may be called again after ``restore`` in another process."""

    def __init__(
        self, model: EmojiFlowTransformer, learnt_from: Lessons, *, batch_size: int, seed: int
    ) -> None:
        self._device = next(model.parameters()).device
        self._lessons = learnt_from.on(self._device)
        self._batch_size = batch_size
        self._random = torch.Generator(self._device).manual_seed(seed)
        self.model = model
        self.average = copy.deepcopy(model)
        matrices = [
            parameter
            for name, parameter in self.model.blocks.named_parameters()
            if parameter.ndim == 2 and "modulation" not in name
        ]
        chosen = {id(matrix) for matrix in matrices}
        others = [each for each in self.model.parameters() if id(each) not in chosen]
        self._optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (
                torch.optim.Muon(
                    matrices, lr=_MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
                ),
                _MUON_RATE,
            ),
            (
                torch.optim.AdamW(others, lr=_ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
                _ADAM_RATE,
            ),
        )
        self.steps = 0
        self.seconds = 0.0

    def step(self, progress: float) -> Tensor:
        """One batch; its loss, a scalar. ``progress``, 0 to 1, is how much of the time is spent."""
        rate = min(1.0, (self.steps + 1) / _WARM_UP_STEPS, (1.0 - progress) / _COOL_DOWN + 0.01)
        for optimizer, full in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * full
        loss = self._loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, _ in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self._follow()
        return loss.detach()

    def _loss(self) -> Tensor:
        n = self._batch_size
        pictures, sentences = self._lessons.batch(n, self._random)
        here, random = self._device, self._random
        sigmas = torch.sigmoid(torch.randn(n, generator=random, device=here) + _LOGIT_MEAN)
        known = torch.rand(n, generator=random, device=here) >= _WITHOUT_WORDS
        noise = torch.randn(pictures.shape, generator=random, device=here)
        level = sigmas[:, None, None, None]
        noisy = (1 - level) * pictures + level * noise
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            clean = self.model.predict(noisy, sigmas, sentences, known)
        errors = (clean.float() - pictures).square().mean(dim=(1, 2, 3))
        return (errors / sigmas.clamp_min(_WEIGHT_FROM_SIGMA).square()).mean()

    def _follow(self) -> None:
        keep = min(_EMA, (1 + self.steps) / (10 + self.steps))
        means, newest = list(self.average.parameters()), list(self.model.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(means, newest, 1 - keep)

    def save(self, folder: Path) -> None:
        """Everything to go on with, and the averaged weights in the layout of diffusers."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self._optimizers],
            "random": self._random.get_state(),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        torch.save(state, folder / f"{_STATE}.new")
        (folder / f"{_STATE}.new").replace(folder / _STATE)
        save_weights(self.average, folder)

    def restore(self, folder: Path) -> None:
        """Go on from ``save``; nothing happens where nothing was saved."""
        if not (folder / _STATE).is_file():
            return
        state = torch.load(folder / _STATE, weights_only=True, map_location="cpu")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for (optimizer, _), saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._random.set_state(state["random"])
        self.steps, self.seconds = state["steps"], state["seconds"]

    def train(self, budget_s: float, folder: Path, report: Report, *, save_every_s: float) -> None:
        """Until ``budget_s`` seconds of all runs together are spent, of the processor's time.

        So a busy machine takes longer, and learns the same. On an accelerator, whose time no
        process is told, seconds are those of the clock.
        """
        clock = time.process_time if self._device.type == "cpu" else time.perf_counter
        mean = torch.zeros((), device=self._device)
        saved_at, before = self.seconds, clock()
        while self.seconds < budget_s:
            loss = self.step(self.seconds / budget_s)
            mean = torch.where(mean == 0.0, loss, 0.98 * mean + 0.02 * loss)
            now = clock()
            self.seconds, before = self.seconds + now - before, now
            if self.seconds - saved_at >= save_every_s:
                saved_at = self.seconds
                self.save(folder)
                report(f"{self.seconds / 60:.1f} min, {self.steps} steps, loss {float(mean):.3f}")
        self.save(folder)
        report(f"{self.steps} steps in {self.seconds / 60:.1f} min, loss {float(mean):.3f}")


def save_weights(model: EmojiFlowTransformer, folder: Path) -> None:
    """In the layout of diffusers: ``transformer/`` in bfloat16, and ``scheduler/``."""
    half = EmojiFlowTransformer.from_config(model.config)
    half.load_state_dict(model.state_dict())
    half.to("cpu", torch.bfloat16).save_pretrained(folder / "transformer")
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")


def _to_learn(options: argparse.Namespace, report: Report) -> Lessons:
    if options.lessons is not None and options.lessons.is_file():
        return Lessons.load(options.lessons)
    spec = catalog("cpu").default(Role.TEXT_ENCODER)
    reader = SentenceModel(model_dir(spec, options.models_dir), max_tokens=spec.max_input_tokens)
    made = lessons(emoji(options.out / ".archives", report), reader)
    if options.lessons is not None:
        made.save(options.lessons)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="polymodal train", description=__doc__)
    parser.add_argument("model", choices=("emoji-flow",))
    parser.add_argument("--models-dir", type=Path, required=True, help="where models live")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and state")
    parser.add_argument(
        "--minutes",
        type=float,
        default=45.0,
        help="all runs together: of processor time, or on an accelerator by the clock",
    )
    parser.add_argument("--lessons", type=Path, help="what to learn: read, or written if missing")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every-s", type=float, default=120.0)
    options = parser.parse_args(arguments)

    def report(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    learnt_from = _to_learn(options, report)
    report(f"{len(learnt_from.pictures)} pictures of {SIDE_PX} px to learn from")
    torch.manual_seed(options.seed)
    model = EmojiFlowTransformer().to(options.device)
    training = Training(model, learnt_from, batch_size=options.batch_size, seed=options.seed)
    training.restore(options.out)
    training.train(60 * options.minutes, options.out, report, save_every_s=options.save_every_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
