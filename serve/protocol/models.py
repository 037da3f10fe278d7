"""``/v1/models``.

Source: https://platform.openai.com/docs/api-reference/models
"""

from __future__ import annotations

from serve.domain.catalogue import ServedModel, ServedModels
from serve.domain.records import JsonObject


def render_models(models: ServedModels) -> JsonObject:
    """Every model, the default generator first."""
    return {"object": "list", "data": [render_model(model) for model in models.models]}


def render_model(model: ServedModel) -> JsonObject:
    """One model."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "polymodal",
        "role": model.role,
        "revision": model.revision,
    }
