"""From a catalog row to a model that films. Heavy libraries are imported in the replica only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployments.loading import model_dir
from deployments.painting.loading import load_painter

if TYPE_CHECKING:
    from deployments.filming.film import FilmModel
    from serve.registry.specs import ModelSpec


def load_film_model(spec: ModelSpec, text_spec: ModelSpec, models_dir: Path) -> FilmModel:
    """The model of a row: a painter that is walked about, or else a video pipeline.

    ``text_spec`` reads prompts for models that have no reader.
    """
    if spec.painter is None:
        from deployments.filming.pipelines import PipelineFilm

        return PipelineFilm.load(model_dir(spec, models_dir))
    from deployments.filming.walk import WalkingPainter

    return WalkingPainter(load_painter(spec, text_spec, models_dir))
