"""``/v1/realtime``: live conversation over a WebSocket, and secrets with which browsers open one.

As at OpenAI, a session is forgotten. With ``conversation`` in the query, which is ours, it goes on
with that conversation of the caller and what is said becomes its items: as words, an answer as far
as it was heard.

Source: https://platform.openai.com/docs/guides/realtime
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

import orjson
from fastapi import APIRouter, WebSocket
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from serve.auth.policies import require_scope
from serve.domain.errors import InvalidRequest, NotAuthenticated, PolymodalError
from serve.domain.ids import new_id
from serve.domain.records import Caller, JsonObject, Scope
from serve.ingress.authentication import (
    GeneratingCaller,
    limited,
    quota_subject,
    websocket_caller,
)
from serve.ingress.context import IngressPorts, Ports, get_ports
from serve.ingress.errors import as_error
from serve.ingress.realtime.live import RESUME_S
from serve.ingress.realtime.outbox import Seen, parse_event_id
from serve.ingress.realtime.session import RealtimeSession, check_models
from serve.ingress.realtime.state import Conversation, SessionState
from serve.protocol.realtime import (
    CreateClientSecret,
    SessionConfig,
    parse_session,
    render_error_event,
)

router = APIRouter(tags=["realtime"])

_SECRET_PREFIX: Final = "ek_"  # noqa: S105 - only how they begin
_SUBPROTOCOL: Final = "realtime"
_SECRET_SUBPROTOCOL: Final = "openai-insecure-api-key."  # noqa: S105 - what precedes one
_KNOWN_QUERY: Final = frozenset(
    {"model", "intent", "conversation", "session_id", "resume_token", "last_event_id", "call_id"}
)
# RFC 6455 leaves 4000-4999 to applications; these mirror the HTTP statuses.
_CLOSE_BASE: Final = 4000


@router.post("/v1/realtime/client_secrets")
async def create_client_secret(
    body: CreateClientSecret, caller: GeneratingCaller, ports: Ports
) -> JsonObject:
    """A secret that opens realtime sessions of the caller, so set up, and nothing else."""
    config = parse_session(body.session)
    check_models(ports, config)
    secret = _SECRET_PREFIX + secrets.token_urlsafe(32)
    seconds = body.expires_after.seconds
    grant = {
        "user_id": caller.user_id,
        "scopes": [Scope.GENERATE.value],
        "key_id": caller.key_id,
        "config": config.model_dump(mode="json"),
    }
    await ports.realtime.grant(_digest(secret), grant, ttl_s=seconds)
    expires_at = int(time.time()) + seconds
    session = config.render(new_id("sess")) | {"expires_at": expires_at}
    return {"value": secret, "expires_at": expires_at, "session": session}


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Talk until the client goes; it may come back and go on."""
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in offered else None)
    ports = get_ports(socket)
    try:
        opened = await _open(socket, ports)
    except PolymodalError as error:
        await _refuse(socket, error)
        return
    except Exception as error:  # noqa: BLE001 - the border: log, answer
        await _refuse(socket, as_error(error))
        return
    greeting = {"resume_token": opened.token, "resume_s": RESUME_S}
    await RealtimeSession(socket, ports, opened.state, opened.term).serve(greeting, opened.seen)


async def _refuse(socket: WebSocket, error: PolymodalError) -> None:
    event = {"event_id": "event_0", **render_error_event(error, None)}
    try:
        await socket.send_text(orjson.dumps(event).decode())
        await socket.close(_CLOSE_BASE + error.status)
    except (RuntimeError, WebSocketDisconnect):
        return


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session that this connection has now. ``seen``: given when it goes on with one."""

    state: SessionState
    term: int
    token: str
    seen: Seen | None


async def _open(socket: WebSocket, ports: IngressPorts) -> _Opened:
    query = socket.query_params
    unknown = sorted(set(query) - _KNOWN_QUERY)
    if unknown:
        raise InvalidRequest(f"unknown in the query: {', '.join(unknown)}", param=unknown[0])
    if "call_id" in query:
        raise InvalidRequest("calls are not served; connect with model", param="call_id")
    if "session_id" in query:
        return await _resumed(socket, ports)
    caller, config = await _caller(socket, ports)
    require_scope(caller, Scope.GENERATE)
    await limited(ports, quota_subject(caller), ports.limits.requests_per_minute)
    if "model" in query:
        config = config.model_copy(update={"model": query["model"]})
    if query.get("intent") == "transcription":
        config = config.model_copy(update={"type": "transcription"})
    check_models(ports, config)
    config = config.model_copy(
        update={"model": ports.models.choose("generator", config.model).name}
    )
    token = _new_token()
    state = SessionState(
        id=new_id("sess"),
        caller=caller,
        token_digest=_digest(token).hex(),
        config=config,
    )
    if "conversation" in query:
        kept = await ports.conversations.get(caller, query["conversation"])
        state.conversation = Conversation(id=kept.id)
        state.is_stored = True
    term, _ = await ports.realtime.open(state.id)
    return _Opened(state, term, token, None)


async def _resumed(socket: WebSocket, ports: IngressPorts) -> _Opened:
    """The session that the query names; the token is proof enough."""
    query = socket.query_params
    gone = NotAuthenticated(
        "no such session, or its time is over, or another resume_token: begin a new one"
    )
    token = query.get("resume_token", "")
    # Looked up before the term moves: a wrong token must not cut anybody's connection.
    kept = await ports.realtime.peek(query["session_id"])
    if kept is None or not hmac.compare_digest(kept["token_digest"], _digest(token).hex()):
        raise gone
    seen = parse_event_id(query.get("last_event_id", "event_0"))
    if seen is None:
        raise InvalidRequest("last_event_id is not of an event of ours", param="last_event_id")
    term, kept = await ports.realtime.open(query["session_id"])
    if kept is None:
        raise gone
    return _Opened(SessionState.from_json(kept), term, token, seen)


async def _caller(socket: HTTPConnection, ports: IngressPorts) -> tuple[Caller, SessionConfig]:
    """Who connects, and how their session is set up. Raises ``NotAuthenticated``."""
    secret = _secret_of(socket)
    if secret is None:
        return await websocket_caller(socket), SessionConfig()
    if not secret.startswith(_SECRET_PREFIX):
        return await ports.credentials.caller(secret), SessionConfig()
    grant = await ports.realtime.granted(_digest(secret))
    if grant is None:
        raise NotAuthenticated("this client secret is unknown or expired: create a new one")
    caller = Caller(
        user_id=grant["user_id"],
        scopes=frozenset(Scope(scope) for scope in grant["scopes"]),
        key_id=grant["key_id"],
    )
    return caller, SessionConfig.model_validate(grant["config"])


def _secret_of(socket: HTTPConnection) -> str | None:
    """The key or client secret; browsers can send none but as a subprotocol."""
    scheme, _, secret = socket.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not secret.strip():
            raise NotAuthenticated("the Authorization header must be 'Bearer <API key>'")
        return secret.strip()
    for offered in socket.scope.get("subprotocols", ()):
        if offered.startswith(_SECRET_SUBPROTOCOL):
            return str(offered.removeprefix(_SECRET_SUBPROTOCOL))
    return None


def _new_token() -> str:
    return "rt_" + secrets.token_urlsafe(32)


def _digest(secret: str) -> bytes:
    # A query may hold anything; a wrong secret must be refused, not crash.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
