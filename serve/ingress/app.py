"""The HTTP application, made of ports. Knows no Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from serve.domain.records import JsonObject
from serve.ingress.context import IngressLimits, IngressPorts
from serve.ingress.errors import install_error_handlers
from serve.ingress.fast_lane import FastLane
from serve.ingress.idempotency import Idempotency
from serve.ingress.middleware import RequestEnvelope
from serve.ingress.routes import (
    accounts,
    assets,
    chat,
    conversations,
    dictation,
    embeddings,
    health,
    images,
    jobs,
    models,
    moderations,
    provenance,
    realtime,
    requests,
    responses,
    speech,
    transcriptions,
    videos,
    websocket,
)
from serve.ingress.webclient import install_webclient

OpenPorts = Callable[[], AbstractAsyncContextManager[IngressPorts]]

_ROUTERS = (
    health.router,
    models.router,
    responses.router,
    chat.router,
    conversations.router,
    conversations.native,
    embeddings.router,
    transcriptions.router,
    transcriptions.arriving,
    dictation.router,
    images.router,
    jobs.router,
    videos.router,
    speech.router,
    accounts.router,
    assets.router,
    moderations.router,
    provenance.router,
    realtime.router,
    requests.router,
    websocket.router,
)


def create_app(open_ports: OpenPorts, limits: IngressLimits) -> FastAPI:
    """Build the application. ``open_ports`` runs when it starts and closes when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_ports() as ports:
            app.state.ports = ports
            yield

    app = FastAPI(
        title="Polymodal",
        version=version("polymodal"),
        summary="Text, pictures and sound in; streamed answers out.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    install_error_handlers(app)
    for router in _ROUTERS:
        app.include_router(router)
    if limits.webclient_dir is not None and (limits.webclient_dir / "index.html").is_file():
        install_webclient(app, limits.webclient_dir)
    app.add_middleware(Idempotency, state_of=app)
    app.add_middleware(FastLane, state_of=app)
    if limits.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(limits.cors_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=[
                "authorization",
                "content-type",
                "idempotency-key",
                "x-csrf-token",
                "x-request-id",
            ],
        )
    app.add_middleware(RequestEnvelope, max_body_bytes=limits.max_body_bytes)
    return app


def openapi_document() -> JsonObject:
    """The OpenAPI description, made without starting anything."""

    def nothing() -> AbstractAsyncContextManager[IngressPorts]:
        raise NotImplementedError("this application is only described, never served")

    limits = IngressLimits(
        requests_per_minute=1,
        sign_ins_per_minute=1,
        max_body_bytes=1,
        session_ttl_s=1,
        cookie_secure=True,
    )
    return create_app(nothing, limits).openapi()
