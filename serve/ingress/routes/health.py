"""Alive, ready, measured."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from serve.ingress.context import Ports
from serve.observability.metrics import REGISTRY
from serve.protocol.native import Readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Readiness)
async def ready(ports: Ports) -> Response:
    """Every deployment of the graph and every store answers; 503 says which does not."""
    parts = await ports.graph.ping()
    is_ready = all(state == "ok" for state in parts.values())
    body = Readiness(ready=is_ready, parts=parts)
    return JSONResponse(body.model_dump(), status_code=200 if is_ready else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics() -> Response:
    """Prometheus text of this ingress replica."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
