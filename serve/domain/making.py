"""What is written down of how media were made."""

from __future__ import annotations

from serve.domain.media import Making
from serve.domain.messages import Painted, PaintRequest, SpeechRequest
from serve.domain.records import JsonObject


def making_of_picture(
    request: PaintRequest, painted: Painted, *, response_id: str = "", parents: tuple[str, ...] = ()
) -> Making:
    """How a picture was painted. The picture it was painted over is always its first parent.

    ``response_id`` and ``parents``: within which answer, from which media of its turn.
    """
    source = () if request.source is None else (request.source.asset_id,)
    return Making(
        action="c2pa.edited" if source else "c2pa.created",
        model=request.model,
        recipe=_within(response_id, _picture_recipe(request, painted)),
        parents=tuple(dict.fromkeys((*source, *parents))),
    )


def making_of_speech(
    request: SpeechRequest, *, response_id: str = "", parents: tuple[str, ...] = ()
) -> Making:
    """How a text was said. ``response_id`` and ``parents`` as of a picture."""
    recipe: JsonObject = {"text": request.text, "voice": request.voice, "speed": request.speed}
    return Making(
        action="c2pa.created",
        model=request.model,
        recipe=_within(response_id, recipe),
        parents=parents,
    )


def _within(response_id: str, recipe: JsonObject) -> JsonObject:
    return {**recipe, "response_id": response_id} if response_id else recipe


def _picture_recipe(request: PaintRequest, painted: Painted) -> JsonObject:
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
