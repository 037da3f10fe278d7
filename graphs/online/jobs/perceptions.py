"""Jobs that look, listen and read: an asset to what is perceived in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from serve.domain.asks import Perceiving
from serve.domain.errors import UnsupportedMedia
from serve.domain.jobs import Job, JobContext
from serve.domain.messages import (
    AudioPerception,
    Perception,
    Progress,
    TranscriptionOptions,
    VideoPerception,
)
from serve.domain.ports import Assets
from serve.domain.records import JsonObject
from serve.protocol.native import perception_view
from serve.protocol.transcriptions import Granularity, render_verbose_transcription

TRANSCRIPTION: Final = "transcription"
PERCEPTION: Final = "perception"
_TIMED: Final[tuple[Granularity, ...]] = ("segment",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Perceptions:
    """What both kinds share. The perception cache is their checkpoint."""

    perceiving: Perceiving
    assets: Assets

    async def tidy(self, job: Job) -> None:
        """See ``JobKind``. Perceptions are kept with their assets."""

    async def _perceive(
        self, context: JobContext, options: TranscriptionOptions | None
    ) -> Perception:
        async def watch(progress: Progress) -> None:
            context.report(progress)

        media = await self.assets.get(context.caller, context.job.request["asset_id"])
        perceived = await self.perceiving.perceive(media, options, watch=watch)
        return perceived.perception


class PerceptionJobs(_Perceptions):
    """``JobKind`` "perception" of ``asset_id``. The result is as the asset's perception."""

    async def run(self, context: JobContext) -> JsonObject:
        """See ``JobKind``."""
        return perception_view(await self._perceive(context, None)).model_dump(mode="json")


class TranscriptionJobs(_Perceptions):
    """``JobKind`` "transcription" of ``asset_id``, a recording or a video with sound.

    ``language``, ``prompt`` and ``translate`` are as in ``TranscriptionOptions``. The result is
    OpenAI's verbose transcription.
    """

    async def run(self, context: JobContext) -> JsonObject:
        """See ``JobKind``."""
        asked = context.job.request
        options = TranscriptionOptions(
            language=asked.get("language"),
            prompt=asked.get("prompt", ""),
            translate=asked.get("translate", False),
        )
        match await self._perceive(context, options):
            case AudioPerception() as heard:
                pass
            case VideoPerception(sound=AudioPerception() as heard):
                pass
            case _:
                raise UnsupportedMedia("this asset has no sound to transcribe", param="asset_id")
        return render_verbose_transcription(heard, _TIMED)
