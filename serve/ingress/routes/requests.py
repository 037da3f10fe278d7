"""``/api/v1/requests``: where the time of an answer went."""

from __future__ import annotations

from fastapi import APIRouter

from serve.ingress.authentication import Reader
from serve.ingress.context import Ports
from serve.protocol.native import TraceView

router = APIRouter(prefix="/api/v1/requests", tags=["requests"])


@router.get("/{response_id}/trace")
async def trace(response_id: str, ports: Ports, caller: Reader) -> TraceView:
    """One span per graph node; perceptions carry ``cache``: hit or miss."""
    return TraceView.of(await ports.responses.get(caller, response_id))
