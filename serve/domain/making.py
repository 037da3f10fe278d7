"""What is written down of how media were made."""

from __future__ import annotations

from serve.domain.media import Making
from serve.domain.messages import Painted, PaintRequest, SpeechRequest
from serve.domain.records import JsonObject


def making_of_picture(
    request: PaintRequest, painted: Painted, *, parents: tuple[str, ...] = ()
) -> Making:
    """How a picture was painted. The picture it was painted over is always its first parent."""
    source = () if request.source is None else (request.source.asset_id,)
    return Making(
        action="c2pa.edited" if source else "c2pa.created",
        model=request.model,
        recipe=_recipe(request, painted),
        parents=tuple(dict.fromkeys((*source, *parents))),
    )


def making_of_speech(request: SpeechRequest) -> Making:
    """How a text was said."""
    recipe: JsonObject = {"text": request.text, "voice": request.voice, "speed": request.speed}
    return Making(action="c2pa.created", model=request.model, recipe=recipe)


def _recipe(request: PaintRequest, painted: Painted) -> JsonObject:
    recipe: JsonObject = {
        "prompt": request.prompt,
        "seed": request.seed,
        "steps": painted.steps,
        "size": f"{request.width_px}x{request.height_px}",
    }
    if request.guidance is not None:
        recipe["guidance"] = request.guidance
    if request.negative_prompt:
        recipe["negative_prompt"] = request.negative_prompt
    if request.source is not None:
        recipe["strength"] = request.strength
    if request.mask is not None:
        recipe["mask"] = request.mask.asset_id
    return recipe
