"""Schema of ``args:`` in ``serve_config.yaml``: what an operator may change per application."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AppArgs(BaseModel):
    """Which models play which part. Names come from the catalog; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_encoder: str | None = Field(default=None, description="None: the profile's default.")
    image_encoder: str | None = None
    audio_encoder: str | None = None
    image_generator: str | None = None
    video_generator: str | None = None
    speech_generators: tuple[str, ...] = Field(
        default=(),
        description="The default one first. Empty: as POLYMODAL_SPEECH_GENERATORS says.",
    )
    moderator: str | None = None
    generators: tuple[str, ...] = Field(
        default=(),
        description="The default one first. Empty: as POLYMODAL_GENERATORS says.",
    )
