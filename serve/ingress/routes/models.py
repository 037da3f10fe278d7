"""``/v1/models``."""

from __future__ import annotations

from fastapi import APIRouter

from serve.domain.records import JsonObject
from serve.ingress.authentication import Reader
from serve.ingress.context import Ports
from serve.protocol.models import render_model, render_models

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(ports: Ports, _caller: Reader) -> JsonObject:
    """Every model served here, the default generator first."""
    return render_models(ports.models)


@router.get("/{name}")
async def retrieve(name: str, ports: Ports, _caller: Reader) -> JsonObject:
    """One model, by name or alias."""
    return render_model(ports.models.named(name))
