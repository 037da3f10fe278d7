"""What surrounds every request: its id, its size, its headers, its count. Plain ASGI."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.domain.errors import MediaTooLarge
from serve.domain.ids import new_id
from serve.ingress.context import reply_headers, send_on_behind
from serve.ingress.errors import as_error, error_response
from serve.observability.logging import request_id
from serve.observability.metrics import count_request

Header = tuple[bytes, bytes]

_ACCEPTABLE_ID: Final = re.compile(rb"[A-Za-z0-9_-]{8,64}")

_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
# Nothing that a browser would show as a page: the other headers have no say there.
_DATA_TYPES: Final = frozenset({b"application/json", b"text/event-stream; charset=utf-8"})
_PAGE_HEADERS: Final = (
    _NO_SNIFFING,
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        b"connect-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
        b"object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"microphone=(self), camera=(self)"),
)


class RequestEnvelope:
    """Gives a request its id, caps its body, counts it, and answers what nobody else caught."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rid, declared_bytes = _id_and_length(scope)
        token = request_id.set(rid.decode())
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
                message["headers"] = [
                    *_security_headers(message["headers"]),
                    (b"x-request-id", rid),
                    *reply_headers(scope),
                    *message["headers"],
                ]
            await send(message)

        send_on_behind(scope, send)
        try:
            if declared_bytes > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            await self._app(scope, capped, stamped)
        except Exception as error:
            if status is not None:
                raise  # the status line is gone; the connection must break visibly
            await error_response(as_error(error))(scope, receive, stamped)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            # No status: the client left before there was one.
            count_request(route, f"{status // 100}xx" if status else "none")
            request_id.reset(token)


def _security_headers(own: Iterable[Header]) -> Iterable[Header]:
    """Those that this reply needs and does not set by itself."""
    reply = dict(own)
    if reply.get(b"content-type") in _DATA_TYPES:
        return (_NO_SNIFFING,)
    return [header for header in _PAGE_HEADERS if header[0] not in reply]


def _id_and_length(scope: Scope) -> tuple[bytes, int]:
    """The client's id for this request, or one of ours; the bytes its body says it has."""
    rid, length = b"", 0
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTABLE_ID.fullmatch(value):
            rid = value
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    return rid or new_id("req").encode(), length


def _too_large(limit: int) -> MediaTooLarge:
    return MediaTooLarge(f"the request has more than {limit} bytes, the limit", limit=limit)
