"""What the database keeps, as the rest of the service sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from serve.domain.messages import LogEntry, TraceSpan, Usage

JsonObject = dict[str, Any]
"""A JSON object on its way between the wire and a ``jsonb`` column, opaque to us."""


class Scope(StrEnum):
    """What an API key may do. Sessions of a person have all of them, ADMIN only for admins."""

    GENERATE = "generate"
    READ = "read"
    ASSETS = "assets"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person with an account."""

    id: str
    email: str
    name: str
    is_admin: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking, proven. Everything that touches owned rows takes one."""

    user_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as its owner may see it: never the secret, only its first characters."""

    id: str
    owner_id: str
    name: str
    prefix: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in browser. ``csrf_token`` must come back in the header of every change."""

    id: str
    user: User
    csrf_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A thread of items. ``title`` is made from the first message."""

    id: str
    owner_id: str
    title: str
    metadata: JsonObject
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One message, tool call or tool output, in OpenAI's Responses item shape (``body``).

    ``body["id"]`` equals ``id``. Media parts inside hold asset ids, never data URLs.
    """

    id: str
    body: JsonObject
    response_id: str | None = None


class ResponseStatus(StrEnum):
    """Where a response is. The last four are final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing will change any more."""
        return self not in (ResponseStatus.QUEUED, ResponseStatus.IN_PROGRESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRecord:
    """One answer: what was asked (``request``: its normalised parameters), what came of it.

    ``input_items`` are this turn's own; the turns before it are reached through
    ``previous_response_id`` or ``conversation_id``. ``log`` is filled once the response is final.
    """

    id: str
    owner_id: str
    model: str
    status: ResponseStatus
    created_at: datetime
    request: JsonObject
    input_items: tuple[Item, ...]
    output_items: tuple[Item, ...] = ()
    conversation_id: str | None = None
    previous_response_id: str | None = None
    background: bool = False
    stored: bool = True
    completed_at: datetime | None = None
    usage: Usage = field(default_factory=Usage)
    error_code: str | None = None
    error_message: str | None = None
    incomplete_reason: str | None = None
    log: tuple[LogEntry, ...] = ()
    trace: tuple[TraceSpan, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A response in flight, as its row has it: enough for any process to go on with it."""

    record: ResponseRecord
    supervisor: str
    plan: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list. ``after``: id of the last object already seen."""

    limit: int = 20
    after: str | None = None
    newest_first: bool = True
