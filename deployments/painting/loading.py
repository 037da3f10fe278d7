"""From a catalog row to a painter. Heavy libraries are imported in the replica only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

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
    match traits.engine:
        case "emoji-flow":
            from deployments.painting.emoji_painter import EmojiPainter

            words_dir = model_dir(text_spec, models_dir)
            reader = SentenceModel(words_dir, max_tokens=text_spec.max_input_tokens)
            return EmojiPainter(folder, reader, traits)
        case "sdxl":
            from deployments.painting.latent_painter import LatentPainter
            from deployments.painting.sdxl import StableDiffusionXL

            return LatentPainter(StableDiffusionXL(folder), traits)
        case "flux":
            from deployments.painting.flux import Flux
            from deployments.painting.latent_painter import LatentPainter

            return LatentPainter(Flux(folder), traits)
        case _:
            assert_never(traits.engine)
