"""What every route may use, and how it gets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.types import Scope, Send

from serve.domain.asks import Admission, Graph, Perceiving, Runs
from serve.domain.catalogue import ServedModels
from serve.domain.jobs import JobDesk
from serve.domain.moderation import ContentPolicy
from serve.domain.ports import (
    Accounts,
    Assets,
    Conversations,
    IdempotencyKeys,
    ImageGenerator,
    ObjectStore,
    ProvenanceReader,
    RealtimeSessions,
    Responses,
    SpeechGenerator,
    TextEncoder,
    UtteranceTranscriber,
    VoiceDetector,
)
from serve.ingress.credentials import Credentials
from serve.ingress.quota import LeasedRateLimits
from serve.media.intake import MediaIntake
from serve.media.pages import PageReader

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressLimits:
    """What a client may do, and how its browser is to keep the session."""

    requests_per_minute: int
    sign_ins_per_minute: int
    max_body_bytes: int
    session_ttl_s: int
    cookie_secure: bool
    cors_origins: tuple[str, ...] = ()
    webclient_dir: Path | None = None
    metrics_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressPorts:
    """Everything behind the ingress, as ports."""

    accounts: Accounts
    admission: Admission
    credentials: Credentials
    assets: Assets
    conversations: Conversations
    responses: Responses
    objects: ObjectStore
    rate_limits: LeasedRateLimits
    intake: MediaIntake
    pages: PageReader
    provenance: ProvenanceReader
    moderation: ContentPolicy
    runs: Runs
    jobs: JobDesk
    perceiving: Perceiving
    text_encoder: TextEncoder
    speech: SpeechGenerator
    transcriber: UtteranceTranscriber
    voice_detector: VoiceDetector
    realtime: RealtimeSessions
    painter: ImageGenerator
    graph: Graph
    idempotency_keys: IdempotencyKeys
    models: ServedModels
    limits: IngressLimits


def get_ports(connection: HTTPConnection) -> IngressPorts:
    """The ports that the application's lifespan opened."""
    return cast("IngressPorts", connection.app.state.ports)


def reply_headers(scope: Scope) -> list[Header]:
    """Headers that the envelope adds to the reply to this request, whoever makes it."""
    headers: list[Header] = scope.setdefault("polymodal.reply_headers", [])
    return headers


async def _get_ports(connection: HTTPConnection) -> IngressPorts:
    """``get_ports`` as a dependency: FastAPI would send a plain function to another thread."""
    return get_ports(connection)


def send_on_behind(scope: Scope, send: Send) -> None:
    """Once the reply to this request has begun, what follows may go straight to ``send``.

    Layers say so whose own ``send`` looks at the beginning of a reply only. Those around them that
    look at all of it say it first, those inside them last: the innermost holds.
    """
    scope["polymodal.send_on"] = send


def send_on(scope: Scope, send: Send) -> Send:
    """Where what follows the beginning of a reply goes, past the layers that do not look at it."""
    shortcut: Send = scope.get("polymodal.send_on", send)
    return shortcut


Ports = Annotated[IngressPorts, Depends(_get_ports)]
