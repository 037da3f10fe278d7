"""``/v1/realtime``: what a client says over the connection, and how a session is set up.

Source: https://platform.openai.com/docs/api-reference/realtime-client-events
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from serve.domain.errors import InvalidRequest, MalformedJson, PolymodalError
from serve.domain.realtime import WireFormat
from serve.domain.records import JsonObject
from serve.protocol.errors import render_error
from serve.protocol.items import Wire
from serve.protocol.responses import FunctionTool, NamedTool

MAX_OUTPUT_TOKENS = 4096
_TOOL_DEFAULTS = {"description": "", "parameters": {"type": "object", "properties": {}}}

# --- the session -------------------------------------------------------------------------------


class PcmFormat(Wire):
    """Signed 16-bit little-endian mono at 24 kHz."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class CompandedFormat(Wire):
    """G.711 at 8 kHz."""

    type: Literal["audio/pcmu", "audio/pcma"]


AudioFormat = Annotated[PcmFormat | CompandedFormat, Field(discriminator="type")]


class ServerVad(Wire):
    """A turn ends with silence. ``threshold``: how probable speech must be to count."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0.05, le=0.95)
    prefix_padding_ms: int = Field(default=300, ge=0, le=2000)
    silence_duration_ms: int = Field(default=500, ge=100, le=5000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: None = None

    @property
    def silence_ms(self) -> int:
        """How long a silence ends a turn."""
        return self.silence_duration_ms


class SemanticVad(Wire):
    """As ``ServerVad``; how eager the answer is decides how long a pause may be."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    @property
    def threshold(self) -> float:
        """See ``ServerVad``."""
        return ServerVad().threshold

    @property
    def prefix_padding_ms(self) -> int:
        """See ``ServerVad``."""
        return ServerVad().prefix_padding_ms

    @property
    def silence_ms(self) -> int:
        """How long a silence ends a turn."""
        return {"low": 1200, "high": 350}.get(self.eagerness, 700)


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class NoiseReduction(Wire):
    """Accepted for compatibility: what listens here was trained on noise."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class InputTranscription(Wire):
    """That and how the person's turns are told as text. ``delay`` is a hint we do not need."""

    model: str | None = None
    language: str | None = Field(default=None, max_length=16)
    languages: list[str] | None = None
    prompt: str = Field(default="", max_length=1000)
    keywords: list[str] = Field(default_factory=list, max_length=100)
    delay: str | None = None


class AudioInput(Wire):
    """What comes from the microphone."""

    format: AudioFormat = PcmFormat()
    noise_reduction: NoiseReduction | None = None
    transcription: InputTranscription | None = None
    turn_detection: TurnDetection | None = ServerVad()


class VoiceId(Wire):
    """A voice by id."""

    id: str


class AudioOutput(Wire):
    """What goes to the loudspeaker. ``voice`` None: the speech generator's first."""

    format: AudioFormat = PcmFormat()
    voice: str | VoiceId | None = None
    speed: float = Field(default=1.0, ge=0.25, le=1.5)

    @property
    def voice_name(self) -> str | None:
        """The voice, however it was named."""
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice


class SessionAudio(Wire):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


Modalities = tuple[Literal["text", "audio"]]
ToolChoice = Literal["auto", "none", "required"] | NamedTool
OutputTokens = Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)] | Literal["inf"]


class SessionConfig(Wire):
    """A session as it is set up. ``tracing``, ``truncation``, ``include`` and the like are hints.

    A session of type ``transcription`` writes down what it hears and never answers.
    """

    type: Literal["realtime", "transcription"] = "realtime"
    model: str | None = None
    output_modalities: Modalities = ("audio",)
    instructions: str = Field(default="", max_length=32_768)
    tools: list[FunctionTool] = Field(default_factory=list, max_length=128)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    max_output_tokens: OutputTokens = "inf"
    audio: SessionAudio = SessionAudio()
    tracing: Any = None
    truncation: Any = None
    include: list[str] | None = None
    reasoning: Any = None

    @model_validator(mode="after")
    def _chooses_its_own_tools(self) -> SessionConfig:
        check_tool_choice(self.tool_choice, self.tools)
        return self

    def changed(self, update: JsonObject) -> SessionConfig:
        """The session with what an update says. Raises ``InvalidRequest``."""
        if update.get("type", self.type) != self.type:
            raise InvalidRequest("the type of a session cannot change", param="session.type")
        told = self.model_dump(mode="json")
        return parse_session(_merged(told, update))

    def render(self, session_id: str) -> JsonObject:
        """The session as clients read it back."""
        told = self.model_dump(mode="json", exclude={"parallel_tool_calls"})
        told |= {"id": session_id, "object": "realtime.session"}
        if self.type == "transcription":
            told["object"] = "realtime.transcription_session"
            kept = ("id", "object", "type", "include")
            told = {key: told[key] for key in kept} | {"audio": {"input": told["audio"]["input"]}}
        return told


_SESSION: TypeAdapter[SessionConfig] = TypeAdapter(SessionConfig)


def parse_session(value: JsonObject, *, where: str = "session") -> SessionConfig:
    """A session's set-up from JSON. Raises ``InvalidRequest``, naming the place."""
    for tool in value.get("tools") or ():
        if isinstance(tool, dict):
            # Optional in the realtime API alone.
            for key, default in _TOOL_DEFAULTS.items():
                if tool.get(key) is None:
                    tool[key] = default
    try:
        return _SESSION.validate_python(value)
    except ValidationError as exc:
        raise _explained(exc, where) from exc


def check_tool_choice(choice: ToolChoice, tools: list[FunctionTool]) -> None:
    """Raises ``ValueError`` when there is no such tool."""
    names = [tool.name for tool in tools]
    if isinstance(choice, NamedTool) and choice.name not in names:
        msg = f"tool_choice names {choice.name!r}, tools has: {', '.join(names) or 'none'}"
        raise ValueError(msg)
    if choice == "required" and not names:
        msg = "tool_choice 'required' needs tools"
        raise ValueError(msg)


def wire_format(form: PcmFormat | CompandedFormat) -> WireFormat:
    """The format by its name."""
    return WireFormat(form.type)


_WHOLE = frozenset({"format", "turn_detection", "transcription", "noise_reduction", "tool_choice"})


def _merged(old: JsonObject, new: JsonObject) -> JsonObject:
    """``new`` over ``old``; what is a choice between kinds is replaced whole."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        goes_deeper = isinstance(value, dict) and isinstance(before, dict) and key not in _WHOLE
        result[key] = _merged(before, value) if goes_deeper and before is not None else value
    return result


# --- items -------------------------------------------------------------------------------------


class InputTextPart(Wire):
    """Typed text."""

    type: Literal["input_text"]
    text: str


class InputAudioPart(Wire):
    """Recorded speech in the session's input format, or an asset."""

    type: Literal["input_audio"]
    audio: str | None = None
    file_id: str | None = None
    transcript: str | None = None


class InputImagePart(Wire):
    """A picture as data URL, or an asset."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high"] = "auto"


class OutputTextPart(Wire):
    """Text that the assistant wrote."""

    type: Literal["output_text", "text"]
    text: str


class OutputAudioPart(Wire):
    """What the assistant said; only the words count."""

    type: Literal["output_audio", "audio"]
    transcript: str = ""
    audio: str | None = None


MessagePart = Annotated[
    InputTextPart | InputAudioPart | InputImagePart | OutputTextPart | OutputAudioPart,
    Field(discriminator="type"),
]
_PARTS_OF = {
    "user": (InputTextPart, InputAudioPart, InputImagePart),
    "assistant": (OutputTextPart, OutputAudioPart),
    "system": (InputTextPart,),
}


class ItemBase(Wire):
    """What every item may bring. ``status`` and ``object`` come back from who echoes items."""

    id: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class MessageItem(ItemBase):
    """One message."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: list[MessagePart] = Field(min_length=1, max_length=32)

    @model_validator(mode="after")
    def _speaks_in_its_role(self) -> MessageItem:
        for part in self.content:
            if not isinstance(part, _PARTS_OF[self.role]):
                msg = f"a message of the {self.role} cannot hold {part.type}"
                raise ValueError(msg)
        return self


class FunctionCallItem(ItemBase):
    """A call the model made."""

    type: Literal["function_call"]
    name: str
    arguments: str
    call_id: str | None = None


class FunctionCallOutputItem(ItemBase):
    """What the client's function answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str


NewItem = Annotated[
    MessageItem | FunctionCallItem | FunctionCallOutputItem, Field(discriminator="type")
]

# --- client events -----------------------------------------------------------------------------


class ClientEvent(Wire):
    """``event_id`` comes back in the error, should there be one."""

    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdate(ClientEvent):
    """Change the session. Only what is given changes."""

    type: Literal["session.update"]
    session: dict[str, Any]


class AppendAudio(ClientEvent):
    """More sound, base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class CommitAudio(ClientEvent):
    """The turn is over."""

    type: Literal["input_audio_buffer.commit"]


class ClearAudio(ClientEvent):
    """Forget what was heard of this turn."""

    type: Literal["input_audio_buffer.clear"]


class CreateItem(ClientEvent):
    """Add an item: behind ``previous_item_id``, first for "root", else last."""

    type: Literal["conversation.item.create"]
    item: NewItem
    previous_item_id: str | None = None


class RetrieveItem(ClientEvent):
    """Tell an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class DeleteItem(ClientEvent):
    """Forget an item."""

    type: Literal["conversation.item.delete"]
    item_id: str


class TruncateItem(ClientEvent):
    """The person has heard so much of what the assistant said."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(ge=0)
    audio_end_ms: int = Field(ge=0)


class ResponseAudioOutput(Wire):
    """How to speak this once."""

    format: AudioFormat | None = None
    voice: str | VoiceId | None = None

    @property
    def voice_name(self) -> str | None:
        """The voice, however it was named."""
        return self.voice.id if isinstance(self.voice, VoiceId) else self.voice


class ResponseAudio(Wire):
    """How to speak this once."""

    output: ResponseAudioOutput = ResponseAudioOutput()


class ItemReference(Wire):
    """An item of the session."""

    type: Literal["item_reference"]
    id: str


class ResponseParams(Wire):
    """What is different for one response. ``input`` replaces the conversation."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[Annotated[NewItem | ItemReference, Field(discriminator="type")]] | None = None
    instructions: str | None = None
    output_modalities: Modalities | None = None
    max_output_tokens: OutputTokens | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    audio: ResponseAudio = ResponseAudio()
    reasoning: Any = None


class CreateResponse(ClientEvent):
    """Answer now."""

    type: Literal["response.create"]
    response: ResponseParams = ResponseParams()


class CancelResponse(ClientEvent):
    """Stop answering."""

    type: Literal["response.cancel"]
    response_id: str | None = None


AnyClientEvent = (
    SessionUpdate
    | AppendAudio
    | CommitAudio
    | ClearAudio
    | CreateItem
    | RetrieveItem
    | DeleteItem
    | TruncateItem
    | CreateResponse
    | CancelResponse
)
_EVENT: TypeAdapter[AnyClientEvent] = TypeAdapter(
    Annotated[AnyClientEvent, Field(discriminator="type")]
)


def parse_event(text: str | bytes) -> AnyClientEvent:
    """One message of a client. Raises ``MalformedJson``, ``InvalidRequest``."""
    try:
        return _EVENT.validate_python(orjson.loads(text))
    except orjson.JSONDecodeError as exc:
        raise MalformedJson("the message is not valid JSON") from exc
    except ValidationError as exc:
        raise _explained(exc, "") from exc
    except RecursionError as exc:
        raise InvalidRequest("the message is nested too deeply") from exc


def event_id_of(text: str | bytes) -> str | None:
    """The id of a message, even of one that is wrong otherwise."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    event_id = value.get("event_id") if isinstance(value, dict) else None
    return event_id if isinstance(event_id, str) else None


def render_error_event(error: PolymodalError, event_id: str | None) -> JsonObject:
    """An error that leaves the session as it is."""
    return {"type": "error", "error": {**render_error(error)["error"], "event_id": event_id}}


def _explained(exc: ValidationError, where: str) -> InvalidRequest:
    first = exc.errors(include_url=False)[0]
    place = ".".join(str(part) for part in (where, *first["loc"]) if part != "")
    return InvalidRequest(f"{place or 'the message'}: {first['msg']}", param=place or None)


# --- client secrets ----------------------------------------------------------------------------


class ExpiresAfter(Wire):
    """For how long the secret opens sessions."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=600, ge=10, le=7200)


class CreateClientSecret(Wire):
    """Body of ``POST /v1/realtime/client_secrets``."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = Field(default_factory=dict)
