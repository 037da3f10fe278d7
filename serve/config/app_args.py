"""Schema of ``args:`` in ``serve_config.yaml``: what an operator may change per application."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AppArgs(BaseModel):
    """Which models play which part. Names come from the catalog; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_encoder: str = "minilm-l6-v2"
    image_encoder: str = "vision-lite"
    audio_encoder: str = "whisper-base"
    generators: tuple[str, ...] = Field(
        default=(),
        description="The default one first. Empty: as POLYMODAL_GENERATORS says.",
    )
