"""``/api/v1`` sessions, first set-up and API keys."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from serve.auth.policies import require_scopes_granted
from serve.domain.errors import NotAllowed
from serve.domain.records import User
from serve.ingress.authentication import (
    SESSION_COOKIE,
    AnyCaller,
    current_session,
    limited,
)
from serve.ingress.context import IngressPorts, Ports
from serve.protocol.native import (
    CreateKey,
    KeyList,
    KeyView,
    NewKeyView,
    SessionView,
    Setup,
    SignIn,
)

router = APIRouter(prefix="/api/v1", tags=["accounts"])

_DAY_S = 86_400


@router.get("/session")
async def whoami(request: Request, ports: Ports) -> SessionView:
    """The signed-in person, and the CSRF token this page needs."""
    return SessionView.of(await current_session(request, ports))


@router.post("/session")
async def sign_in(body: SignIn, request: Request, response: Response, ports: Ports) -> SessionView:
    """Sign in with a password."""
    address = request.client.host if request.client else "unknown"
    for subject in (f"sign-in:from:{address}", f"sign-in:as:{body.email.lower()}"):
        await limited(ports, subject, ports.limits.sign_ins_per_minute)
    user = await ports.accounts.verify_password(email=body.email, password=body.password)
    return await _signed_in(user, response, ports)


@router.delete("/session", status_code=204)
async def sign_out(caller: AnyCaller, response: Response, ports: Ports) -> None:
    """End this session."""
    if caller.session_id is not None:
        await ports.accounts.end_session(caller.session_id)
        await ports.credentials.revoked(caller.session_id)
    response.delete_cookie(SESSION_COOKIE, path="/")


@router.post("/setup")
async def set_up(body: Setup, request: Request, response: Response, ports: Ports) -> SessionView:
    """Redeem a one-time link: choose a password and be signed in."""
    address = request.client.host if request.client else "unknown"
    await limited(ports, f"sign-in:from:{address}", ports.limits.sign_ins_per_minute)
    user = await ports.accounts.redeem_setup_link(token=body.token, password=body.password)
    await ports.credentials.revoked(user.id)
    return await _signed_in(user, response, ports)


async def _signed_in(user: User, response: Response, ports: IngressPorts) -> SessionView:
    limits = ports.limits
    secret, session = await ports.accounts.start_session(user=user, ttl_s=limits.session_ttl_s)
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=limits.session_ttl_s,
        path="/",
        httponly=True,
        secure=limits.cookie_secure,
        samesite="strict",
    )
    return SessionView.of(session)


@router.get("/keys")
async def list_keys(caller: AnyCaller, ports: Ports) -> KeyList:
    """The caller's keys, without secrets."""
    return KeyList(data=[KeyView.of(key) for key in await ports.accounts.list_keys(caller)])


@router.post("/keys")
async def create_key(
    body: CreateKey, response: Response, caller: AnyCaller, ports: Ports
) -> NewKeyView:
    """Make a key. Its secret is in this answer and nowhere else."""
    response.headers["cache-control"] = "no-store"
    if caller.key_id is not None:
        raise NotAllowed("keys are made by a signed-in person or on the command line")
    require_scopes_granted(caller, frozenset(body.scopes))
    ttl_s = body.expires_in_days * _DAY_S if body.expires_in_days else None
    secret, key = await ports.accounts.create_key(
        owner_id=caller.user_id, name=body.name, scopes=frozenset(body.scopes), ttl_s=ttl_s
    )
    return NewKeyView(**KeyView.of(key).model_dump(), secret=secret)


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, caller: AnyCaller, ports: Ports) -> None:
    """Make a key worthless at once."""
    if caller.key_id is not None:
        raise NotAllowed("keys are revoked by a signed-in person")
    await ports.accounts.revoke_key(caller, key_id)
    await ports.credentials.revoked(key_id)
