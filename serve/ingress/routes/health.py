"""Alive, ready, measured."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve.ingress.context import Ports
from serve.observability.metrics import exposition
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
def metrics(ports: Ports) -> Response:
    """Prometheus text of this machine's ingress replicas. Reads files: not on the event loop."""
    return Response(exposition(ports.limits.metrics_dir), media_type=CONTENT_TYPE_LATEST)


@router.get("/-/healthz", include_in_schema=False)
async def serves() -> PlainTextResponse:
    """What KubeRay asks Serve's proxy before it sends traffic to a node."""
    return PlainTextResponse("success")
