"""What the service needs from the outside, as protocols. Adapters implement them; graphs choose."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Protocol

from serve.domain.media import MediaKind, MediaRef, SanitizedMedia
from serve.domain.messages import (
    AudioPerception,
    Embeddings,
    FeatureRef,
    GenerationOutcome,
    GenerationRequest,
    ImagePerception,
    LogEntry,
    Perception,
    TextBatch,
    TranscriptionOptions,
)
from serve.domain.records import (
    ApiKey,
    Caller,
    Conversation,
    Item,
    JsonObject,
    Page,
    ResponseRecord,
    Scope,
    Session,
    User,
)

# --- nodes ------------------------------------------------------------------------------------


class TextEncoder(Protocol):
    """Text to vectors."""

    async def encode(self, batch: TextBatch) -> Embeddings:
        """Embed every text. Raises ``InvalidRequest`` for an empty batch or an empty text."""
        ...


class ImageEncoder(Protocol):
    """Pictures to perceptions and features."""

    async def perceive(self, media: MediaRef) -> ImagePerception:
        """See everything there is to see. Raises ``BrokenMedia``."""
        ...

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """Compute what ``model``'s own vision tower would, and put it in the feature store."""
        ...


class AudioEncoder(Protocol):
    """Recordings to perceptions."""

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        """Hear everything there is to hear. Raises ``BrokenMedia``."""
        ...


class Generator(Protocol):
    """Messages to text."""

    async def generate(self, request: GenerationRequest) -> GenerationOutcome:
        """Write the answer's events to the stream log, then say how it went.

        Cancelling the call stops the engine's sequence within one step. Raises ``UnknownModel``,
        ``ContextLengthExceeded``, ``InvalidRequest``, ``EngineDead``.
        """
        ...


# --- stores -----------------------------------------------------------------------------------


class ObjectStore(Protocol):
    """Bytes by key. Keys are ours: lower-case letters, digits, ``-``, ``_``, ``.`` and ``/``."""

    async def put(self, key: str, content: bytes, *, mime_type: str) -> None:
        """Write whole or not at all; writing equal bytes twice is harmless."""
        ...

    async def get(self, key: str) -> bytes:
        """Read whole. Raises ``NotFound``."""
        ...

    async def exists(self, key: str) -> bool:
        """Whether ``get`` would succeed."""
        ...

    async def delete(self, key: str) -> None:
        """Remove; absent is fine."""
        ...

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` unless reads and writes would work."""
        ...


class PerceptionCache(Protocol):
    """Perceptions by ``perception_key``, shared by all replicas, surviving restarts."""

    async def get(self, key: str) -> Perception | None:
        """The perception, or None. Never raises for a damaged entry: that is a miss."""
        ...

    async def put(self, key: str, perception: Perception) -> None:
        """Keep it. Last writer wins; equal keys mean equal values."""
        ...


class StreamLog(Protocol):
    """The ordered events of every response in flight."""

    async def append(self, entries: Iterable[tuple[str, LogEntry]]) -> None:
        """Write events of one or many responses, ``(response_id, entry)``, in one round trip.

        Each response's entries must continue its sequence without a gap. An entry whose place
        is already taken raises ``Conflict``: somebody else writes this response.
        """
        ...

    def follow(self, response_id: str, *, from_seq: int = 0) -> AsyncGenerator[LogEntry, None]:
        """Every entry from ``from_seq`` on, in order, live, ending after a terminal event."""
        ...

    async def read(self, response_id: str) -> tuple[LogEntry, ...]:
        """What is there now, from the start."""
        ...

    async def expire(self, response_id: str, after_s: int) -> None:
        """Forget the log after a while; readers still following have that long to finish."""
        ...

    async def request_cancel(self, response_id: str) -> None:
        """Tell whoever runs this response, in any process, to stop."""
        ...

    def cancellations(self) -> AsyncIterator[str]:
        """Ids of responses whose cancel was requested from now on, anywhere."""
        ...

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` unless it answers."""
        ...


class RateLimits(Protocol):
    """How much a caller may ask."""

    async def take(self, subject: str, *, limit: int, window_s: int) -> RateDecision:
        """Count one request against ``subject``'s window."""
        ...


class RateDecision(Protocol):
    """Outcome of ``take``."""

    @property
    def allowed(self) -> bool:
        """Go on, or refuse."""
        ...

    @property
    def limit(self) -> int:
        """Requests per window."""
        ...

    @property
    def remaining(self) -> int:
        """Requests left now."""
        ...

    @property
    def reset_after_s(self) -> float:
        """When there is room again."""
        ...


class VectorIndex(Protocol):
    """Vectors by asset, one collection per encoder revision and owner."""

    async def upsert(
        self, collection: str, owner_id: str, asset_id: str, vector: Sequence[float]
    ) -> None:
        """Insert or replace."""
        ...

    async def nearest(
        self, collection: str, owner_id: str, vector: Sequence[float], n: int
    ) -> tuple[tuple[str, float], ...]:
        """``(asset_id, cosine similarity)``, best first, of this owner only."""
        ...

    async def delete(self, collection: str, owner_id: str, asset_id: str) -> None:
        """Remove; absent is fine."""
        ...

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` unless it answers."""
        ...


class MediaSanitizer(Protocol):
    """Turns whatever was uploaded into something safe, in a process that can be killed."""

    async def sanitize(
        self, content: bytes, *, declared_mime_type: str | None, expect: MediaKind | None = None
    ) -> SanitizedMedia:
        """Raises ``UnsupportedMedia``, ``MediaTooLarge``, ``BrokenMedia``."""
        ...


class UrlFetcher(Protocol):
    """Fetches what a client pointed at, guarding us from what it points at."""

    async def fetch(self, url: str) -> tuple[bytes, str | None]:
        """Bytes and declared type. Raises ``InvalidRequest``, ``MediaTooLarge``."""
        ...


# --- credentials ------------------------------------------------------------------------------


class PasswordHasher(Protocol):
    """Passwords to what may be kept of them."""

    async def hash(self, password: str) -> str:
        """A salted hash with its parameters. Raises ``InvalidRequest`` for a poor password."""
        ...

    async def verify(self, password: str, kept: str | None) -> bool:
        """Whether ``kept`` came from ``password``; False, as slowly, when nothing is kept."""
        ...

    def is_outdated(self, kept: str) -> bool:
        """Whether the parameters behind ``kept`` are no longer ours."""
        ...


class SecretMint(Protocol):
    """Random secrets, and the digests by which they are found again."""

    def new_api_key(self) -> str: ...
    def new_session_secret(self) -> str: ...
    def new_setup_token(self) -> str: ...
    def digest(self, secret: str) -> bytes:
        """What is kept in place of the secret."""
        ...

    def csrf_token(self, session_secret: str) -> str:
        """The token that belongs to a session; always the same, and of no use to find it."""
        ...


# --- the database -----------------------------------------------------------------------------


class Accounts(Protocol):
    """People, their sessions and keys."""

    async def create_user(
        self, *, email: str, name: str, password: str | None, is_admin: bool
    ) -> User: ...
    async def verify_password(self, *, email: str, password: str) -> User:
        """Raises ``NotAuthenticated``; takes as long for an unknown address as for a known one."""
        ...

    async def set_password(self, *, user_id: str, password: str) -> None: ...
    async def has_password(self, user_id: str) -> bool:
        """Whether the person can sign in; False for one who has yet to use a setup link."""
        ...

    async def get_user(self, user_id: str) -> User: ...
    async def first_admin(self) -> User | None: ...
    async def find_user(self, email: str) -> User | None: ...
    async def create_setup_link(self, *, user_id: str, ttl_s: int) -> str:
        """A one-time token to choose a password with; only its hash is kept."""
        ...

    async def redeem_setup_link(self, *, token: str, password: str) -> User: ...
    async def start_session(self, *, user: User, ttl_s: int) -> tuple[str, Session]:
        """The cookie's secret and the session."""
        ...

    async def session(self, secret: str) -> Session:
        """Raises ``NotAuthenticated`` when unknown or expired."""
        ...

    async def end_session(self, session_id: str) -> None: ...
    async def create_key(
        self, *, owner_id: str, name: str, scopes: frozenset[Scope], ttl_s: int | None
    ) -> tuple[str, ApiKey]:
        """The secret, shown once, and the key."""
        ...

    async def authenticate_key(self, secret: str) -> Caller:
        """Raises ``NotAuthenticated`` when unknown, revoked or expired."""
        ...

    async def list_keys(self, caller: Caller) -> tuple[ApiKey, ...]: ...
    async def revoke_key(self, caller: Caller, key_id: str) -> None: ...


class Assets(Protocol):
    """Rows of stored media. Absent and not yours look the same: ``NotFound``."""

    async def add(
        self, caller: Caller, media: SanitizedMedia, *, filename: str, content_hash: str
    ) -> MediaRef:
        """A new row, or the one this owner already has for equal bytes."""
        ...

    async def get(self, caller: Caller, asset_id: str) -> MediaRef: ...
    async def list(self, caller: Caller, page: Page) -> tuple[MediaRef, ...]: ...
    async def delete(self, caller: Caller, asset_id: str) -> MediaRef: ...


class Conversations(Protocol):
    """Threads and their items, in order."""

    async def create(
        self, caller: Caller, *, title: str, metadata: JsonObject, items: Sequence[Item]
    ) -> Conversation: ...
    async def get(self, caller: Caller, conversation_id: str) -> Conversation: ...
    async def list(self, caller: Caller, page: Page) -> tuple[Conversation, ...]: ...
    async def update(
        self,
        caller: Caller,
        conversation_id: str,
        *,
        title: str | None,
        metadata: JsonObject | None,
    ) -> Conversation: ...
    async def delete(self, caller: Caller, conversation_id: str) -> None: ...
    async def items(self, caller: Caller, conversation_id: str, page: Page) -> tuple[Item, ...]: ...
    async def all_items(self, caller: Caller, conversation_id: str) -> tuple[Item, ...]:
        """Oldest first, for building the prompt."""
        ...

    async def add_items(
        self, caller: Caller, conversation_id: str, items: Sequence[Item]
    ) -> None: ...
    async def get_item(self, caller: Caller, conversation_id: str, item_id: str) -> Item: ...
    async def delete_item(self, caller: Caller, conversation_id: str, item_id: str) -> None: ...


class Responses(Protocol):
    """Answers, from the moment they were asked for."""

    async def begin(self, caller: Caller, record: ResponseRecord) -> None:
        """Commit the row and, inside a conversation, its input items, in one transaction.

        Raises ``Conflict`` when the conversation already has a response in flight.
        """
        ...

    async def settle(self, record: ResponseRecord) -> None:
        """Commit the final state; output items join the conversation; unstored rows vanish.

        Settling a response that is already final changes nothing.
        """
        ...

    async def get(self, caller: Caller, response_id: str) -> ResponseRecord: ...
    async def delete(self, caller: Caller, response_id: str) -> None: ...
    async def chain(self, caller: Caller, response_id: str) -> tuple[ResponseRecord, ...]:
        """The response and all before it by ``previous_response_id``, oldest first, no logs."""
        ...

    async def discard(self, response_id: str) -> None:
        """Remove a refused response and its input items, as if it had never been asked."""
        ...

    async def active(self, caller: Caller, conversation_id: str) -> str | None:
        """Id of the response that is being made in this conversation, if any."""
        ...

    async def fail_unfinished(
        self, *, older_than_s: float, code: str, message: str
    ) -> tuple[str, ...]:
        """Settle as failed what a crash left open; returns the ids."""
        ...
