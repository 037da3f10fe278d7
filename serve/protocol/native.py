"""``/api/v1``: what OpenAI's API has no words for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from serve.domain.media import MediaRef
from serve.domain.messages import (
    AudioPerception,
    Box,
    DetectedObject,
    DocumentPerception,
    ImagePerception,
    Label,
    Perception,
    TextLine,
    VideoPerception,
)
from serve.domain.records import ApiKey, Conversation, ResponseRecord, Scope, Session
from serve.protocol.items import Wire


class SignIn(Wire):
    """Body of ``POST /api/v1/session``."""

    email: str
    password: str


class Setup(Wire):
    """Body of ``POST /api/v1/setup``: redeem a one-time link."""

    token: str
    password: str


class UserView(BaseModel):
    """A person."""

    id: str
    email: str
    name: str
    is_admin: bool


class SessionView(BaseModel):
    """A signed-in browser. ``csrf_token`` goes into ``X-CSRF-Token`` of every change."""

    user: UserView
    csrf_token: str
    expires_at: datetime

    @classmethod
    def of(cls, session: Session) -> SessionView:
        """From the domain."""
        user = session.user
        return cls(
            user=UserView(id=user.id, email=user.email, name=user.name, is_admin=user.is_admin),
            csrf_token=session.csrf_token,
            expires_at=session.expires_at,
        )


class CreateKey(Wire):
    """Body of ``POST /api/v1/keys``."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Scope] = Field(
        default_factory=lambda: [Scope.GENERATE, Scope.READ, Scope.ASSETS], min_length=1
    )
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


class KeyView(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> KeyView:
        """From the domain."""
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            scopes=sorted(key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
        )


class NewKeyView(KeyView):
    """A key just made. The secret is shown this once."""

    secret: str


class KeyList(BaseModel):
    """All keys of the caller."""

    data: list[KeyView]


class ConversationView(BaseModel):
    """A conversation as the sidebar lists it."""

    id: str
    title: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, conversation: Conversation) -> ConversationView:
        """From the domain."""
        return cls(
            id=conversation.id,
            title=conversation.title,
            created_at=conversation.created_at,
            updated_at=conversation.updated_at,
        )


class ConversationPage(BaseModel):
    """Part of the list of conversations, newest first."""

    data: list[ConversationView]
    has_more: bool
    last_id: str | None


class ActiveResponse(BaseModel):
    """The response a conversation is waiting for, if any."""

    response_id: str | None


class AssetView(BaseModel):
    """A stored medium."""

    id: str
    kind: Literal["image", "audio", "video", "document"]
    mime_type: str
    filename: str
    bytes: int
    width_px: int | None
    height_px: int | None
    duration_s: float | None
    content_url: str
    created_at: datetime | None

    @classmethod
    def of(cls, media: MediaRef) -> AssetView:
        """From the domain."""
        return cls(
            id=media.asset_id,
            kind=media.kind.value,
            mime_type=media.mime_type,
            filename=media.filename,
            bytes=media.n_bytes,
            width_px=media.width_px,
            height_px=media.height_px,
            duration_s=media.duration_s,
            content_url=f"/api/v1/assets/{media.asset_id}/content",
            created_at=media.created_at,
        )


class AssetPage(BaseModel):
    """Part of the list of assets, newest first."""

    data: list[AssetView]
    has_more: bool
    last_id: str | None


class LabelView(BaseModel):
    """A name with its score, 0 to 1."""

    name: str
    score: float


class BoxView(BaseModel):
    """Pixels of the stored picture, origin top left."""

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int


class ObjectView(LabelView):
    """An object found in a picture."""

    box: BoxView


class TextLineView(BaseModel):
    """A line read in a picture."""

    text: str
    score: float
    box: BoxView


class ImagePerceptionView(BaseModel):
    """What a picture shows."""

    kind: Literal["image"] = "image"
    description: str
    labels: list[LabelView]
    objects: list[ObjectView]
    text_lines: list[TextLineView]


class SegmentView(BaseModel):
    """Speech between two times."""

    start_s: float
    end_s: float
    text: str


class SoundEventView(LabelView):
    """A kind of sound between two times."""

    start_s: float
    end_s: float


class AudioPerceptionView(BaseModel):
    """What a recording holds."""

    kind: Literal["audio"] = "audio"
    transcript: str
    language: str
    segments: list[SegmentView]
    sound_tags: list[LabelView]
    sound_events: list[SoundEventView]


class ShotView(BaseModel):
    """What is seen between two times. Boxes are pixels of the stored video."""

    start_s: float
    end_s: float
    frame_s: float
    description: str
    labels: list[LabelView]
    objects: list[ObjectView]
    text_lines: list[TextLineView]


class VideoPerceptionView(BaseModel):
    """A video's timeline. ``sound`` is null when it has none."""

    kind: Literal["video"] = "video"
    duration_s: float
    shots: list[ShotView]
    sound: AudioPerceptionView | None


class PageView(BaseModel):
    """One page of a document."""

    number: int
    text: str
    is_read_from_picture: bool
    description: str


class DocumentPerceptionView(BaseModel):
    """What a document says, page by page."""

    kind: Literal["document"] = "document"
    title: str
    pages: list[PageView]


PerceptionView = (
    ImagePerceptionView | AudioPerceptionView | VideoPerceptionView | DocumentPerceptionView
)


def perception_view(perception: Perception) -> PerceptionView:
    """What was perceived, without vectors."""
    match perception:
        case ImagePerception():
            return ImagePerceptionView(
                description=perception.description,
                labels=_labels(perception.labels),
                objects=_objects(perception.objects),
                text_lines=_text_lines(perception.text_lines),
            )
        case AudioPerception():
            return _audio_view(perception)
        case VideoPerception():
            return VideoPerceptionView(
                duration_s=perception.duration_s,
                shots=[
                    ShotView(
                        start_s=shot.start_s,
                        end_s=shot.end_s,
                        frame_s=shot.frame_s,
                        description=shot.description,
                        labels=_labels(shot.labels),
                        objects=_objects(shot.objects),
                        text_lines=_text_lines(shot.text_lines),
                    )
                    for shot in perception.shots
                ],
                sound=None if perception.sound is None else _audio_view(perception.sound),
            )
        case DocumentPerception():
            return DocumentPerceptionView(
                title=perception.title,
                pages=[
                    PageView(
                        number=page.number,
                        text=page.text,
                        is_read_from_picture=page.is_read_from_picture,
                        description=page.description,
                    )
                    for page in perception.pages
                ],
            )


def _audio_view(perception: AudioPerception) -> AudioPerceptionView:
    return AudioPerceptionView(
        transcript=perception.transcript,
        language=perception.language,
        segments=[
            SegmentView(start_s=x.start_s, end_s=x.end_s, text=x.text) for x in perception.segments
        ],
        sound_tags=_labels(perception.sound_tags),
        sound_events=[
            SoundEventView(name=x.name, score=x.score, start_s=x.start_s, end_s=x.end_s)
            for x in perception.sound_events
        ],
    )


def _labels(labels: Iterable[Label]) -> list[LabelView]:
    return [LabelView(name=x.name, score=x.score) for x in labels]


def _objects(objects: Iterable[DetectedObject]) -> list[ObjectView]:
    return [ObjectView(name=x.name, score=x.score, box=_box(x.box)) for x in objects]


def _text_lines(lines: Iterable[TextLine]) -> list[TextLineView]:
    return [TextLineView(text=x.text, score=x.score, box=_box(x.box)) for x in lines]


def _box(box: Box) -> BoxView:
    return BoxView(
        left_px=box.left_px, top_px=box.top_px, right_px=box.right_px, bottom_px=box.bottom_px
    )


class SpanView(BaseModel):
    """One graph node's share of a request; seconds since the request arrived."""

    name: str
    node: str
    start_s: float
    end_s: float
    attributes: dict[str, str | int | float]


class UsageView(BaseModel):
    """Tokens."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    total_tokens: int


class TraceView(BaseModel):
    """Where the time of one answer went."""

    response_id: str
    model: str
    status: str
    total_s: float
    spans: list[SpanView]
    usage: UsageView

    @classmethod
    def of(cls, record: ResponseRecord) -> TraceView:
        """From a settled record; one still running has no spans yet."""
        usage = record.usage
        return cls(
            response_id=record.id,
            model=record.model,
            status=record.status.value,
            total_s=max((span.end_s for span in record.trace), default=0.0),
            spans=[
                SpanView(
                    name=span.name,
                    node=span.node,
                    start_s=span.start_s,
                    end_s=span.end_s,
                    attributes=span.attributes,
                )
                for span in record.trace
            ],
            usage=UsageView(
                input_tokens=usage.input_tokens,
                cached_tokens=usage.cached_tokens,
                output_tokens=usage.output_tokens,
                total_tokens=usage.total_tokens,
            ),
        )


class Readiness(BaseModel):
    """Whether every part answers. ``parts`` maps a name to "ok" or what is wrong."""

    ready: bool
    parts: dict[str, str]
