"""Who is calling: an API key, or a signed-in browser that proves it meant to."""

from __future__ import annotations

import hmac
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from starlette.types import Scope as RequestScope

from serve.auth.policies import require_scope, session_caller
from serve.domain.errors import NotAllowed, NotAuthenticated, RateLimited
from serve.domain.ports import RateDecision
from serve.domain.records import Caller, Scope, Session
from serve.ingress.context import IngressPorts, Ports, get_ports, reply_headers

SESSION_COOKIE = "polymodal_session"
CSRF_HEADER = "x-csrf-token"
WINDOW_S = 60
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


async def current_session(connection: HTTPConnection, ports: IngressPorts) -> Session:
    """The session whose cookie came along. Raises ``NotAuthenticated``."""
    secret = connection.cookies.get(SESSION_COOKIE)
    if not secret:
        raise NotAuthenticated("sign in, or send 'Authorization: Bearer <API key>'")
    return await ports.credentials.session(secret)


async def identify(request: Request, ports: IngressPorts) -> Caller:
    """The caller, by key or session. Raises ``NotAuthenticated``, ``NotAllowed``."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not secret.strip():
            raise NotAuthenticated("the Authorization header must be 'Bearer <API key>'")
        return await ports.credentials.caller(secret.strip())
    session = await current_session(request, ports)
    if request.method not in _SAFE_METHODS:
        token = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(token.encode(), session.csrf_token.encode()):
            raise NotAllowed(f"the {CSRF_HEADER} header is missing or stale: reload the page")
    return session_caller(session)


async def limited(ports: IngressPorts, subject: str, limit: int) -> RateDecision:
    """Count one request of ``subject``. Raises ``RateLimited``."""
    decision = await ports.rate_limits.take(subject, limit=limit, window_s=WINDOW_S)
    if not decision.allowed:
        wait_s = max(1, round(decision.reset_after_s + 0.5))
        raise RateLimited(
            f"more than {limit} requests in a minute; try again in {wait_s} s",
            retry_after_s=wait_s,
            limit=limit,
            remaining=0,
        )
    return decision


async def get_caller(request: Request, ports: Ports) -> Caller:
    """Authenticate, then count against the caller's rate limit."""
    caller = await identify(request, ports)
    await count_request(request.scope, ports, caller)
    return caller


async def count_request(scope: RequestScope, ports: IngressPorts, caller: Caller) -> None:
    """Count against the caller's rate limit, and tell what is left. Raises ``RateLimited``."""
    limit = ports.limits.requests_per_minute
    decision = await limited(ports, quota_subject(caller), limit)
    reply_headers(scope).extend(quota_headers(decision))


def quota_subject(caller: Caller) -> str:
    """Whose requests count together."""
    return f"caller:{caller.user_id}"


def quota_headers(decision: RateDecision) -> tuple[tuple[bytes, bytes], ...]:
    """What is left of the allowance, in OpenAI's words."""
    return (
        (b"x-ratelimit-limit-requests", b"%d" % decision.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % decision.remaining),
        (b"x-ratelimit-reset-requests", b"%.0fs" % decision.reset_after_s),
    )


AnyCaller = Annotated[Caller, Depends(get_caller)]


def _requires(scope: Scope) -> object:
    async def check(caller: AnyCaller) -> Caller:
        require_scope(caller, scope)
        return caller

    return Depends(check)


Reader = Annotated[Caller, _requires(Scope.READ)]
GeneratingCaller = Annotated[Caller, _requires(Scope.GENERATE)]
AssetCaller = Annotated[Caller, _requires(Scope.ASSETS)]


async def websocket_caller(connection: HTTPConnection) -> Caller:
    """A signed-in browser on a page of ours; other sites' pages may not use its cookie."""
    ports = get_ports(connection)
    origin = connection.headers.get("origin", "")
    host = connection.headers.get("host", "")
    if urlsplit(origin).netloc != host and origin not in ports.limits.cors_origins:
        raise NotAllowed(f"a page from {origin or 'nowhere'} may not open this WebSocket")
    return session_caller(await current_session(connection, ports))
