"""Answers that are the same for everybody, given before the framework is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.domain import records
from serve.domain.records import Caller
from serve.ingress.authentication import WINDOW_S, quota_headers, quota_subject
from serve.ingress.context import IngressPorts, reply_headers
from serve.protocol.models import render_models

MODELS_PATH: Final = "/v1/models"
_ROUTE: Final = SimpleNamespace(path=MODELS_PATH)


class FastLane:
    """Lists the models for a caller who is remembered and has requests leased.

    Everybody else goes the whole way, which leaves behind what this one needs.
    """

    def __init__(self, app: ASGIApp, *, state_of: Starlette) -> None:
        """``state_of``: the application whose lifespan opens the ports."""
        self._app = app
        self._state = state_of.state
        self._body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["path"] == MODELS_PATH
            and scope["method"] == "GET"
            and self._may_read(scope)
        ):
            scope["route"] = _ROUTE
            await self._reply(send)
        else:
            await self._app(scope, receive, send)

    def _may_read(self, scope: Scope) -> bool:
        """Count the request, if nobody has to be asked for that."""
        ports: IngressPorts = self._state.ports
        caller = _remembered(scope, ports)
        if caller is None or records.Scope.READ not in caller.scopes:
            return False
        decision = ports.rate_limits.take_leased(
            quota_subject(caller), limit=ports.limits.requests_per_minute, window_s=WINDOW_S
        )
        if decision is None:
            return False
        reply_headers(scope).extend(quota_headers(decision))
        return True

    async def _reply(self, send: Send) -> None:
        if not self._body:
            self._body = orjson.dumps(render_models(self._state.ports.models))
        headers = [
            (b"content-length", b"%d" % len(self._body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def _remembered(scope: Scope, ports: IngressPorts) -> Caller | None:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return ports.credentials.recall_caller(value[7:].strip().decode("latin-1"))
    return None
