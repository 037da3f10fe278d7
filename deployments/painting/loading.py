"""From a catalog row to a painter. Heavy libraries are imported in the replica only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.loading import model_dir
from deployments.sentences import SentenceModel

if TYPE_CHECKING:
    from deployments.painting.canvas import Painter
    from serve.registry.specs import ModelSpec


def load_painter(spec: ModelSpec, text_spec: ModelSpec, models_dir: Path) -> Painter:
    """The painter of a row; ``text_spec`` reads prompts for models that have no reader."""
    traits = spec.painter
    if traits is None:
        raise ValueError(f"{spec.name} does not paint")
    folder = model_dir(spec, models_dir)
    if traits.engine == "sdxl":
        from deployments.painting.latent_painter import LatentPainter

        return LatentPainter(folder, traits)
    from deployments.painting.emoji_painter import EmojiPainter

    reader = SentenceModel(model_dir(text_spec, models_dir), max_tokens=text_spec.max_input_tokens)
    return EmojiPainter(folder, reader, traits)
