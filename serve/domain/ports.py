"""What the service needs from the outside, as protocols. Adapters implement them; graphs choose."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import BinaryIO, Protocol

from serve.domain.idempotency import KeyClaim, KeyState, SavedReply
from serve.domain.journal import JournalRecord, Notice, ResponseFold
from serve.domain.media import Making, MediaKind, MediaRef, SanitizedFile, SanitizedMedia
from serve.domain.messages import (
    AudioPerception,
    DocumentPerception,
    Embeddings,
    FeatureRef,
    Filmed,
    FilmRequest,
    FilmStep,
    GenerationRequest,
    Heard,
    ImagePerception,
    Judgement,
    LogEntry,
    Painted,
    PaintRequest,
    PaintStep,
    PartHeard,
    Perception,
    Progress,
    SoundPart,
    SpeechRequest,
    SpokenSentence,
    TextBatch,
    Transcript,
    TranscriptionOptions,
    VideoPerception,
)
from serve.domain.provenance import ProvenanceReport
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
    Unfinished,
    User,
)

# --- nodes ------------------------------------------------------------------------------------


class TextEncoder(Protocol):
    """Text to vectors."""

    async def encode(self, batch: TextBatch) -> Embeddings:
        """Embed every text. Raises ``InvalidRequest`` for an empty batch or an empty text."""
        ...


class FeatureEncoder(Protocol):
    """Media to what a natively multimodal generator's own tower makes of them."""

    async def features(self, media: MediaRef, model: str) -> FeatureRef:
        """Compute what ``model``'s tower would, and put it in the feature store.

        Raises ``BrokenMedia``, ``UnknownModel`` where no tower for such media is.
        """
        ...


class ImageEncoder(Protocol):
    """Pictures to perceptions."""

    async def perceive(self, media: MediaRef) -> ImagePerception:
        """See everything there is to see. Raises ``BrokenMedia``."""
        ...


class AudioEncoder(Protocol):
    """Recordings to perceptions."""

    def listen(self, media: MediaRef, options: TranscriptionOptions) -> AsyncGenerator[Heard, None]:
        """Hear everything there is to hear, however long. Closing it stops the work.

        Raises ``BrokenMedia``, ``InvalidRequest`` for a language that the model does not know.
        """
        ...

    async def perceive(self, media: MediaRef, options: TranscriptionOptions) -> AudioPerception:
        """What ``listen`` ends with."""
        ...

    async def hear_on(self, part: SoundPart, options: TranscriptionOptions) -> PartHeard:
        """Hear a recording part by part, as ``listen`` would hear it whole.

        Any replica can hear the next part, since all it must know is what this one answered. The
        last part's steps end with the perception. Raises like ``listen``.
        """
        ...


class UtteranceTranscriber(Protocol):
    """What somebody says in a conversation, to text at once."""

    async def transcribe(self, pcm: bytes, options: TranscriptionOptions) -> Transcript:
        """Write down one turn: signed 16-bit little-endian mono at 16 kHz. Nothing is kept.

        Raises ``InvalidRequest`` for a language that the model does not know.
        """
        ...


class VoiceListener(Protocol):
    """One stream of sound, listened to as it comes."""

    def hear(self, pcm: bytes) -> Sequence[float]:
        """The probability of speech in each frame of 32 ms that ``pcm`` completes.

        Signed 16-bit little-endian mono at 16 kHz, any length.
        """
        ...


class VoiceDetector(Protocol):
    """Whether somebody speaks."""

    def listen(self) -> VoiceListener:
        """Begin with a stream of sound."""
        ...


class VideoEncoder(Protocol):
    """Videos to perceptions."""

    def perceive(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Progress | VideoPerception, None]:
        """Watch everything there is to watch: progress on the way, the perception last.

        Closing the generator stops the work. Raises ``BrokenMedia``.
        """
        ...


class DocumentEncoder(Protocol):
    """Documents to perceptions."""

    def perceive(self, media: MediaRef) -> AsyncGenerator[Progress | DocumentPerception, None]:
        """Read every page: progress on the way, the perception last. Raises ``BrokenMedia``."""
        ...


class SpeechGenerator(Protocol):
    """Text to speech."""

    def speak(self, request: SpeechRequest) -> AsyncGenerator[SpokenSentence, None]:
        """Say the text sentence by sentence; the first one comes as soon as it is said.

        Raises ``UnknownModel``, ``InvalidRequest`` for a voice that is not there.
        """
        ...


class ImageGenerator(Protocol):
    """Prompts, and pictures, to pictures."""

    def paint(self, request: PaintRequest) -> AsyncGenerator[PaintStep | Painted, None]:
        """Make one picture: steps on the way, the picture last. Closing it stops at the next step.

        Raises ``UnknownModel``, ``InvalidRequest``, ``BrokenMedia``.
        """
        ...


class VideoGenerator(Protocol):
    """Prompts, and pictures, to clips."""

    def film(self, request: FilmRequest) -> AsyncGenerator[FilmStep | Filmed, None]:
        """Make one clip: steps on the way, the clip last. Closing it stops at the next step.

        Raises ``UnknownModel``, ``InvalidRequest``, ``BrokenMedia``.
        """
        ...


class Moderator(Protocol):
    """Texts and pictures to scores of what may be wrong with them."""

    async def judge_texts(self, texts: tuple[str, ...]) -> tuple[Judgement, ...]:
        """One judgement per text, in order."""
        ...

    async def judge_picture(self, content: bytes) -> Judgement:
        """Of an encoded picture. Raises ``BrokenMedia``."""
        ...


class Generator(Protocol):
    """Messages to text."""

    async def generate(self, request: GenerationRequest) -> None:
        """Write the answer's events to the journal, ``Generated`` last, and return.

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

    async def put_file(self, key: str, file: BinaryIO, *, mime_type: str) -> None:
        """The same of an open file, from its beginning, without holding it in memory."""
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


class LiveResponse(Protocol):
    """A response whose fold this process keeps up to date."""

    @property
    def fold(self) -> ResponseFold:
        """As far as this process has read. Belongs to the journal: look, do not touch."""
        ...

    async def changed(self, version: int) -> int:
        """Wait until the fold's version is above ``version``, and return it; starts at 0.

        Raises ``StoreUnavailable`` when the store stays away for too long.
        """
        ...


class JournalWriter(Protocol):
    """Where a process that only writes puts its records."""

    async def append(self, records: Sequence[JournalRecord]) -> None:
        """Write in one round trip, in this order; returns when they are in the store.

        Sits out a restart of the store. A batch may then be there twice, which the fold forgives.
        Raises ``StoreUnavailable`` after a while.
        """
        ...

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` unless it answers."""
        ...


class Journal(JournalWriter, Protocol):
    """The records of all responses in flight, in one total order."""

    def open(
        self, response_id: str, *, is_new: bool = False
    ) -> AbstractAsyncContextManager[LiveResponse]:
        """Keep the fold of a response up to date while inside, complete from its beginning.

        ``is_new``: nobody has written about it yet, so nothing needs to be read back. All who
        open the same response in one process share one fold.
        """
        ...

    def follow(
        self, response_id: str, *, from_seq: int = 0
    ) -> AsyncGenerator[Sequence[LogEntry], None]:
        """Every entry from ``from_seq`` on, live and in order, in batches as they come.

        Ends after the last entry of a response that ended.
        """
        ...

    async def checkpoint(self, response_ids: Iterable[str]) -> None:
        """Keep what this process has folded of them, so that readers need not go far back.

        Every supervisor does this every few seconds for its own responses. Idempotent.
        """
        ...

    async def forget(self, response_id: str, after_s: int) -> None:
        """Drop its checkpoint after a while; readers have that long to finish."""
        ...


class NoticeSender(Protocol):
    """Where a process that only tells others something puts it."""

    async def send(self, notice: Notice) -> None:
        """Tell all processes. Raises ``StoreUnavailable``."""
        ...


class Notices(NoticeSender, Protocol):
    """What processes tell each other beside the journal."""

    def listen(self) -> AsyncGenerator[Sequence[Notice], None]:
        """Notices from now on, and cancels and revocations of the last minute, for who is late."""
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


class RealtimeSessions(Protocol):
    """What must outlive the connection of a live conversation, and secrets that open one."""

    async def peek(self, session_id: str) -> JsonObject | None:
        """The state of a session, if it is kept."""
        ...

    async def open(self, session_id: str) -> tuple[int, JsonObject | None]:
        """Take the session over from whoever had it: the new term, and its state if it is kept."""
        ...

    async def save(self, session_id: str, term: int, state: JsonObject, *, ttl_s: int) -> bool:
        """Keep the state for a while. False: another connection has taken the session over."""
        ...

    async def grant(self, secret_digest: bytes, what: JsonObject, *, ttl_s: int) -> None:
        """Let a secret open sessions for a while; only its digest is kept."""
        ...

    async def granted(self, secret_digest: bytes) -> JsonObject | None:
        """What the secret stands for, unless its time is over."""
        ...


class VectorIndex(Protocol):
    """Vectors by asset, one collection per encoder revision and owner."""

    async def upsert(
        self,
        collection: str,
        owner_id: str,
        asset_id: str,
        vector: Sequence[float],
        *,
        parts: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Insert or replace. ``parts`` of the asset have vectors of their own, by name."""
        ...

    async def nearest(
        self, collection: str, owner_id: str, vector: Sequence[float], n: int
    ) -> tuple[tuple[str, float], ...]:
        """``(asset_id, cosine similarity)``, best first, of this owner only.

        A part is found as ``asset_id#name``.
        """
        ...

    async def delete(self, collection: str, owner_id: str, asset_id: str) -> None:
        """Remove with all parts; absent is fine."""
        ...

    async def ping(self) -> None:
        """Raise ``StoreUnavailable`` unless it answers."""
        ...


class ArrivingMedia(Protocol):
    """A recording that is still being uploaded."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Its sound some seconds at a time, as soon as it is there; to be read once.

        Signed 16-bit little-endian mono at 16 kHz. Nothing, where only the whole file can be
        decoded.
        """
        ...

    async def sanitized(self) -> SanitizedMedia | SanitizedFile:
        """Wait until it is there: something safe."""
        ...


class ArrivingAsset(Protocol):
    """A recording of somebody that is still being uploaded."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """See ``ArrivingMedia``."""
        ...

    async def kept(self) -> MediaRef:
        """Wait until it is there, and store it."""
        ...


class MediaSanitizer(Protocol):
    """Turns whatever was uploaded into something safe, in a process that can be killed."""

    def receiving(
        self, pieces: AsyncIterator[bytes], *, declared_mime_type: str | None
    ) -> AbstractAsyncContextManager[ArrivingMedia]:
        """Decode a recording while it is being uploaded.

        What is wrong with it, or with ``pieces``, cancels whoever is inside and is raised by the
        context: what ``sanitize`` raises. Leaving early stops everything.
        """
        ...

    async def sanitize(
        self, content: bytes, *, declared_mime_type: str | None, expect: MediaKind | None = None
    ) -> SanitizedMedia:
        """Raises ``UnsupportedMedia``, ``MediaTooLarge``, ``BrokenMedia``."""
        ...


class ProvenanceSigner(Protocol):
    """Writes into a medium how it was made, so that anybody can check it."""

    async def sign(
        self, media: SanitizedMedia, making: Making, parents: Sequence[tuple[MediaRef, bytes]]
    ) -> SanitizedMedia:
        """The medium with a signed manifest; unchanged where its format can hold none.

        ``parents``: what it was made from, with their bytes, as ingredients.
        """
        ...


class ProvenanceReader(Protocol):
    """Reads what any file says of its own making, and checks it."""

    @property
    def certificate(self) -> str:
        """PEM of the root that whoever checks our signatures must trust."""
        ...

    async def read(self, content: bytes) -> ProvenanceReport:
        """Untrusted bytes as they came. Raises ``UnsupportedMedia``, ``BrokenMedia``."""
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
        self,
        caller: Caller,
        media: SanitizedMedia | SanitizedFile,
        *,
        filename: str,
        content_hash: str,
        making: Making | None = None,
    ) -> MediaRef:
        """A new row, or the one this owner already has for equal bytes.

        ``making``: how it was made here; its parents must be assets of this owner.
        """
        ...

    async def children(
        self, caller: Caller, asset_id: str, *, limit: int = 100
    ) -> tuple[MediaRef, ...]:
        """What was made from an asset, newest first."""
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
    async def put_items(self, caller: Caller, conversation_id: str, items: Sequence[Item]) -> None:
        """Replace those that are there, append the others in order. Raises ``NotFound``."""
        ...

    async def get_item(self, caller: Caller, conversation_id: str, item_id: str) -> Item: ...
    async def delete_item(self, caller: Caller, conversation_id: str, item_id: str) -> None: ...


class Responses(Protocol):
    """Answers, from the moment they were asked for."""

    async def begin(
        self, caller: Caller, record: ResponseRecord, *, supervisor: str, plan: JsonObject
    ) -> None:
        """Commit the row and, inside a conversation, its input items, in one transaction.

        ``supervisor`` is the process that makes it; ``plan`` all that another one would need to
        go on. Raises ``Conflict`` when the conversation already has a response in flight.
        """
        ...

    async def settle(self, record: ResponseRecord) -> ResponseRecord:
        """Commit the final state; output items join the conversation; unstored rows vanish.

        Returns what holds: the first one to settle decides, later ones change nothing and get
        the record that is there.
        """
        ...

    async def started(self, response_id: str) -> None:
        """A queued response is in progress now."""
        ...

    async def unfinished(
        self, supervisors_alive: Iterable[str], *, known: Iterable[str] = ()
    ) -> tuple[Unfinished, ...]:
        """Responses in flight, oldest first, but for the known ones and those of these."""
        ...

    async def take_over(self, response_id: str, supervisor: str) -> None:
        """Note the new supervisor."""
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


class IdempotencyKeys(Protocol):
    """What was asked under which ``Idempotency-Key``, kept for a day from its answer."""

    @property
    def lease_s(self) -> float:
        """How long a claim holds without being extended: then another attempt may begin."""
        ...

    async def claim(self, claim: KeyClaim, *, fingerprint: bytes, response_id: str) -> KeyState:
        """Claim the key for this attempt, or learn who has it.

        ``response_id`` becomes the key's own if the key is new.
        """
        ...

    async def extend(self, claim: KeyClaim) -> bool:
        """Still at it. False: another attempt has taken over."""
        ...

    async def replace_response(self, claim: KeyClaim, response_id: str) -> bool:
        """Make another response than the earlier attempt, which never can make its own any more.

        False: it has made it, and it did not fail. Raises ``Conflict`` when yet another attempt
        has taken over.
        """
        ...

    async def save(self, claim: KeyClaim, reply: SavedReply) -> bool:
        """The request is carried out. False: another attempt has taken over."""
        ...

    async def let_go(self, claim: KeyClaim) -> None:
        """Not carried out as far as we know: the next attempt may begin at once."""
        ...

    async def forget(self, claim: KeyClaim) -> None:
        """Certainly not carried out: as if it had never been sent."""
        ...
