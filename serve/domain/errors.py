"""Everything that can fail, and what a client sees. Foreign exceptions end at the border."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class PolymodalError(Exception):
    """Something went wrong in a way a client can understand.

    ``message`` is for people and says what to do; ``context`` holds the numbers behind it.
    Errors cross processes, so every class survives pickling.
    """

    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, param: str | None = None, **context: str | int | float
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.context = context

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.param, self.context))


def _rebuild(
    cls: type[PolymodalError],
    message: str,
    param: str | None,
    context: dict[str, str | int | float],
) -> PolymodalError:
    return cls(message, param=param, **context)


# --- the caller must change the request -------------------------------------------------------


class InvalidRequest(PolymodalError):
    """The request cannot be understood or contradicts itself."""

    code = "invalid_request"
    type = "invalid_request_error"
    status = 400


class MalformedJson(InvalidRequest):
    """The body is not JSON."""

    code = "malformed_json"


class ContextLengthExceeded(InvalidRequest):
    """The prompt and its media need more tokens than the model's window."""

    code = "context_length_exceeded"


class ContentPolicyViolation(InvalidRequest):
    """What was asked for or made is not given out here; the message names the category."""

    code = "content_policy_violation"


class NotAuthenticated(PolymodalError):
    """No credentials, or wrong or expired ones."""

    code = "invalid_api_key"
    type = "authentication_error"
    status = 401


class NotAllowed(PolymodalError):
    """Known caller, but the key's scopes or the missing CSRF token forbid this."""

    code = "insufficient_permissions"
    type = "permission_error"
    status = 403


class NotFound(PolymodalError):
    """No such object, or not yours: the two look the same."""

    code = "not_found"
    type = "invalid_request_error"
    status = 404


class UnknownModel(NotFound):
    """No model of that name; the message names the choices."""

    code = "model_not_found"


class Conflict(PolymodalError):
    """The object is in a state that does not allow this."""

    code = "conflict"
    type = "invalid_request_error"
    status = 409


class MediaTooLarge(PolymodalError):
    """Too many bytes, pixels or seconds; the message names the limit."""

    code = "media_too_large"
    type = "invalid_request_error"
    status = 413


class UnsupportedMedia(PolymodalError):
    """The content is of a kind we do not take, or is not what it claims to be."""

    code = "unsupported_media_type"
    type = "invalid_request_error"
    status = 415


class BrokenMedia(PolymodalError):
    """The right kind of file, but it cannot be decoded."""

    code = "broken_media"
    type = "invalid_request_error"
    status = 422


class IdempotencyKeyReused(InvalidRequest):
    """The Idempotency-Key came with another request before. Take a new key."""

    code = "idempotency_key_reused"
    status = 422


class RateLimited(PolymodalError):
    """Too many requests. ``context["retry_after_s"]`` says when to come back."""

    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    status = 429
    retryable = True


class NotServed(PolymodalError):
    """Part of the OpenAI surface we do not serve; the message names what is served."""

    code = "not_served"
    type = "invalid_request_error"
    status = 501


# --- the platform must recover ----------------------------------------------------------------


class Overloaded(PolymodalError):
    """A queue is full. Try again shortly."""

    code = "overloaded"
    type = "rate_limit_error"
    status = 429
    retryable = True


class EngineDead(PolymodalError):
    """The generator or an encoder is gone or restarting; nothing was lost, try again."""

    code = "engine_unavailable"
    status = 503
    retryable = True


class StoreUnavailable(PolymodalError):
    """PostgreSQL, Redis, Chroma or the object store does not answer; try again."""

    code = "store_unavailable"
    status = 503
    retryable = True


class NodeTimeout(PolymodalError):
    """A graph node did not answer within its budget."""

    code = "node_timeout"
    status = 504
    retryable = True


class InternalError(PolymodalError):
    """A bug of ours. The request id finds it in the log."""


def error_of(code: str, message: str) -> PolymodalError:
    """The error that was once told as this code; ``InternalError`` for a code of nobody."""
    made = next((each for each in _family(PolymodalError) if each.code == code), InternalError)
    return made(message)


def _family(ancestor: type[PolymodalError]) -> Iterator[type[PolymodalError]]:
    for child in ancestor.__subclasses__():
        yield child
        yield from _family(child)
