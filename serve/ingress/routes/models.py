"""``/v1/models``."""

from __future__ import annotations

from fastapi import APIRouter

from serve.domain.catalogue import ServedModel
from serve.domain.records import JsonObject
from serve.ingress.authentication import Reader
from serve.ingress.context import Ports

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(ports: Ports, _caller: Reader) -> JsonObject:
    """Every model served here, the default generator first."""
    return {"object": "list", "data": [_render(model) for model in ports.models.models]}


@router.get("/{name}")
async def retrieve(name: str, ports: Ports, _caller: Reader) -> JsonObject:
    """One model, by name or alias."""
    return _render(ports.models.named(name))


def _render(model: ServedModel) -> JsonObject:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "polymodal",
        "role": model.role,
        "revision": model.revision,
    }
