"""Jobs that film: a prompt, or a picture, to a clip that becomes an asset."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from serve.domain.errors import EngineDead
from serve.domain.jobs import Job, JobContext
from serve.domain.media import Making, MediaKind, SanitizedMedia
from serve.domain.messages import Filmed, FilmRequest, FilmStep, Progress
from serve.domain.moderation import ContentPolicy
from serve.domain.ports import Assets, ObjectStore, VideoGenerator
from serve.domain.records import JsonObject
from serve.media.intake import MediaIntake
from serve.protocol.jobs import preview_key, preview_url

VIDEO: Final = "video"
_FRAMES_PER_S: Final = 12
# What comes after the last step: frames are drawn, compressed, signed and stored.
_DENOISED: Final = 0.95


def checkpoint_key(job_id: str) -> str:
    """Where a clip leaves its state for a next attempt."""
    return f"jobs/{job_id}/checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoJobs:
    """``JobKind`` "video".

    Its request has ``prompt``, ``model``, ``seconds``, ``width_px``, ``height_px`` and ``seed``;
    ``source`` is the asset that becomes the first frame, ``remix_of`` the video job it varies. The
    result has ``asset_id``.
    """

    generator: VideoGenerator
    intake: MediaIntake
    assets: Assets
    objects: ObjectStore
    policy: ContentPolicy

    async def run(self, context: JobContext) -> JsonObject:
        """See ``JobKind``. Raises ``ContentPolicyViolation``."""
        job = context.job
        filmed = await self._film(context, await self._request(context))
        for look in filmed.looks:
            await self.policy.check_picture(look.png, param="prompt", at_s=look.at_s)
        await self._show(context, filmed.looks[0].png)
        _report(context, FilmStep(step=filmed.steps, of_steps=filmed.steps), has_preview=True)
        media = SanitizedMedia(
            kind=MediaKind.VIDEO,
            mime_type="video/mp4",
            content=filmed.mp4,
            width_px=filmed.width_px,
            height_px=filmed.height_px,
            duration_s=filmed.duration_s,
        )
        kept = await self.intake.keep_made(
            context.caller, media, _making(job), filename=f"{job.id}.mp4"
        )
        return {"asset_id": kept.asset_id, "film_s": round(filmed.seconds, 3)}

    async def tidy(self, job: Job) -> None:
        """See ``JobKind``. The preview stays for as long as the job."""
        await self.objects.delete(checkpoint_key(job.id))

    async def _request(self, context: JobContext) -> FilmRequest:
        asked = context.job.request
        source = asked.get("source")
        return FilmRequest(
            prompt=asked["prompt"],
            model=asked["model"],
            width_px=asked["width_px"],
            height_px=asked["height_px"],
            n_frames=asked["seconds"] * _FRAMES_PER_S,
            frames_per_s=_FRAMES_PER_S,
            seed=asked["seed"],
            source=await self.assets.get(context.caller, source) if source else None,
            checkpoint_key=checkpoint_key(context.job.id),
        )

    async def _film(self, context: JobContext, request: FilmRequest) -> Filmed:
        has_preview = False
        async with aclosing(self.generator.film(request)) as steps:
            async for step in steps:
                if isinstance(step, Filmed):
                    return step
                if step.png:
                    await self.policy.check_picture(step.png, param="prompt")
                    await self._show(context, step.png)
                    has_preview = True
                _report(context, step, has_preview=has_preview)
        raise EngineDead("the video generator stopped before it was done; try again")

    async def _show(self, context: JobContext, png: bytes) -> None:
        await self.objects.put(preview_key(context.job.id), png, mime_type="image/png")


def _report(context: JobContext, step: FilmStep, *, has_preview: bool) -> None:
    told: dict[str, str | int | float] = {"step": step.step, "of_steps": step.of_steps}
    if has_preview:
        # A new address for each step, so that no cache shows an old one.
        told["preview_url"] = f"{preview_url(context.job.id)}?step={step.step}"
    done = _DENOISED * step.step / max(1, step.of_steps)
    context.report(Progress(done, f"step {step.step} of {step.of_steps}"), **told)


def _making(job: Job) -> Making:
    asked = job.request
    source = asked.get("source")
    recipe = {key: asked[key] for key in ("prompt", "seconds", "width_px", "height_px", "seed")}
    return Making(
        action="c2pa.created",
        model=asked["model"],
        recipe={**recipe, "job_id": job.id},
        parents=(source,) if source else (),
    )
