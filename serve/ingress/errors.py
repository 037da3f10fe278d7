"""Errors to HTTP: one envelope, the right status, never a stack trace."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from serve.domain.errors import (
    InternalError,
    InvalidRequest,
    MalformedJson,
    NotFound,
    NotServed,
    PolymodalError,
)
from serve.ingress.leaving import ClientLeft
from serve.protocol.errors import render_error

_log = logging.getLogger(__name__)

# What web servers write in their logs for a client that left; nobody reads it.
_CLIENT_CLOSED_REQUEST = 499

SERVED = (
    "models, responses (create, retrieve, cancel, delete, input_items), conversations and their "
    "items, chat/completions, embeddings, audio/transcriptions, audio/speech, images/generations, "
    "images/edits, moderations"
)


def error_response(error: PolymodalError) -> JSONResponse:
    """The reply that an error amounts to."""
    headers: dict[str, str] = {}
    if "retry_after_s" in error.context:
        headers["retry-after"] = str(error.context["retry_after_s"])
    elif error.retryable:
        headers["retry-after"] = "1"
    if "remaining" in error.context:
        headers["x-ratelimit-remaining-requests"] = str(error.context["remaining"])
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(render_error(error), status_code=error.status, headers=headers)


def as_error(error: BaseException) -> PolymodalError:
    """Ours as it is; anything else is a bug, logged once and told as such."""
    if isinstance(error, PolymodalError):
        if error.status >= 500:
            _log.warning("request failed", extra={"code": error.code, "reason": error.message})
        return error
    _log.error("unexpected error", exc_info=error)
    return InternalError("something went wrong on our side; the request id finds it in the log")


def explain_validation(errors: Sequence[Mapping[str, object]]) -> InvalidRequest:
    """Say which field is wrong and why, in one sentence each."""
    if any(error.get("type") == "json_invalid" for error in errors):
        return MalformedJson("the body is not valid JSON")
    # A union reports every member's complaint; the deepest says what was really meant.
    errors = sorted(errors, key=lambda error: -len(_location(error)))
    param = ".".join(_location(errors[0])) if errors else None
    told = [f"{'.'.join(_location(error)) or 'body'}: {error['msg']}" for error in errors[:3]]
    return InvalidRequest("; ".join(told), param=param)


def _location(error: Mapping[str, object]) -> list[str]:
    location = error.get("loc", ())
    parts = [str(part) for part in location] if isinstance(location, tuple) else []
    return parts[1:] if parts and parts[0] in ("body", "query", "path", "header") else parts


def install_error_handlers(app: FastAPI) -> None:
    """Answer every exception in the one envelope."""

    @app.exception_handler(PolymodalError)
    async def _ours(_request: Request, error: PolymodalError) -> JSONResponse:
        return error_response(as_error(error))

    @app.exception_handler(ClientLeft)
    async def _left(_request: Request, _error: ClientLeft) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(explain_validation(list(error.errors())))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        path = request.url.path
        if error.status_code in (404, 405) and path.startswith("/v1/"):
            return error_response(
                NotServed(f"{request.method} {path} is not served here; served are: {SERVED}")
            )
        if error.status_code == 400:
            return error_response(MalformedJson(f"the body cannot be read: {error.detail}"))
        if error.status_code == 405:
            refused = InvalidRequest(f"{request.method} is not allowed on {path}")
            return JSONResponse(render_error(refused), status_code=405, headers=error.headers)
        return error_response(NotFound(f"there is nothing at {path}"))
