"""What surrounds every request: its id, its size, its headers, its count. Plain ASGI."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.domain.errors import MediaTooLarge
from serve.domain.ids import new_id
from serve.ingress.errors import as_error, error_response
from serve.observability.logging import request_id
from serve.observability.metrics import REQUESTS

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

_SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
        "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(self)",
}


class RequestEnvelope:
    """Gives a request its id, caps its body, counts it, and answers what nobody else caught."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rid = _request_id(scope)
        token = request_id.set(rid)
        status: int | None = None
        seen_bytes = 0

        async def capped() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            if seen_bytes > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            return message

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = rid
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if _declared_bytes(scope) > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            await self._app(scope, capped, stamped)
        except Exception as error:
            if status is not None:
                raise  # the status line is gone; the connection must break visibly
            await error_response(as_error(error))(scope, receive, stamped)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            # No status: the client left before there was one.
            REQUESTS.labels(route, f"{status // 100}xx" if status else "none").inc()
            request_id.reset(token)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTABLE_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return new_id("req")


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_large(limit: int) -> MediaTooLarge:
    return MediaTooLarge(f"the request has more than {limit} bytes, the limit", limit=limit)
