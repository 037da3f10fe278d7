"""``/v1/chat/completions``: the body, the completion and its chunks.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, assert_never

import orjson
from pydantic import Field

from serve.domain.errors import InvalidRequest
from serve.domain.messages import (
    Failed,
    Finished,
    FinishReason,
    Generated,
    LogEvent,
    Queued,
    RoundStarted,
    StageFinished,
    StageProgress,
    StageStarted,
    TextDelta,
    ToolAnswered,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolPreviewed,
    Usage,
)
from serve.domain.records import JsonObject, ResponseRecord
from serve.domain.voices import AudioFormat
from serve.protocol.items import (
    AudioData,
    ContentPart,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputFile,
    InputImage,
    InputItem,
    InputMessage,
    InputText,
    Refusal,
    Wire,
)
from serve.protocol.responses import (
    CreateResponse,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    TextConfig,
    TextFormat,
)
from serve.protocol.speech import VoiceId


class ImageUrl(Wire):
    """Where the picture is: https, data URL or asset id."""

    url: str
    detail: Literal["low", "high", "auto"] = "auto"


class ChatText(Wire):
    """Text of a message."""

    type: Literal["text"]
    text: str


class ChatRefusal(Wire):
    """A refusal the assistant wrote earlier."""

    type: Literal["refusal"]
    refusal: str


class ChatImage(Wire):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class ChatAudio(Wire):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: AudioData


class ChatFileBody(Wire):
    """An asset by id, or a data URL."""

    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class ChatFile(Wire):
    """A file."""

    type: Literal["file"]
    file: ChatFileBody


ChatPart = Annotated[
    ChatText | ChatRefusal | ChatImage | ChatAudio | ChatFile, Field(discriminator="type")
]


class CalledFunction(Wire):
    """Name and JSON arguments."""

    name: str
    arguments: str


class ChatToolCall(Wire):
    """A call the model made earlier."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class SpokenBefore(Wire):
    """An answer the assistant spoke earlier, by the id it was given."""

    id: str


class ChatMessageIn(Wire):
    """One message of the history."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ChatPart] | None = None
    name: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: SpokenBefore | None = None
    function_call: None = None


class ChatFunction(Wire):
    """A function the client can run."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Wire):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: ChatFunction


class ChatNamedFunction(Wire):
    """A function by name."""

    name: str


class ChatNamedTool(Wire):
    """Call exactly this function."""

    type: Literal["function"]
    function: ChatNamedFunction


class ChatJsonSchema(Wire):
    """A named schema."""

    name: str
    json_schema: dict[str, Any] = Field(alias="schema", default_factory=dict)
    description: str | None = None
    strict: bool | None = None


class ChatSchemaFormat(Wire):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    json_schema: ChatJsonSchema


class ChatStreamOptions(Wire):
    """Whether the stream ends with a usage chunk."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SpokenAnswer(Wire):
    """With which voice to answer, and as what to send it."""

    voice: str | VoiceId
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]

    @property
    def audio_format(self) -> AudioFormat:
        """The format in our words."""
        return AudioFormat.PCM if self.format == "pcm16" else AudioFormat(self.format)


class CreateChatCompletion(Wire):
    """Body of ``POST /v1/chat/completions``. ``store`` keeps nothing more than ``responses``."""

    messages: list[ChatMessageIn] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    tools: list[ChatTool] = Field(default_factory=list, max_length=128)
    tool_choice: Literal["auto", "none", "required"] | ChatNamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[
        TextFormat | JsonObjectFormat | ChatSchemaFormat | None, Field(discriminator="type")
    ] = None
    stream: bool | None = False
    stream_options: ChatStreamOptions | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: SpokenAnswer | None = None
    logprobs: Literal[False] | None = None

    @property
    def aloud(self) -> SpokenAnswer | None:
        """How the answer is to be spoken, if it is.

        Raises:
            InvalidRequest: it says that, but not how; or asks for what cannot be streamed.
        """
        if "audio" not in (self.modalities or ()):
            return None
        if self.audio is None:
            raise InvalidRequest("the modality audio needs audio.voice and .format", param="audio")
        if self.stream and self.audio.format != "pcm16":
            message = f"{self.audio.format} cannot be streamed; choose pcm16"
            raise InvalidRequest(message, param="audio.format")
        return self.audio


def to_create_response(body: CreateChatCompletion) -> CreateResponse:
    """The same request in the Responses API's words, so that both share one path."""
    return CreateResponse(
        model=body.model,
        input=[item for message in body.messages for item in _items(message)],
        max_output_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=body.stop,
        tools=[FunctionTool(type="function", **dict(tool.function)) for tool in body.tools],
        tool_choice=_tool_choice(body),
        parallel_tool_calls=body.parallel_tool_calls,
        text=TextConfig(format=_format(body)),
        metadata=body.metadata,
        store=False,
    )


def _tool_choice(
    body: CreateChatCompletion,
) -> Literal["auto", "none", "required"] | NamedTool:
    match body.tool_choice:
        case None:
            return "auto"
        case ChatNamedTool(function=function):
            return NamedTool(type="function", name=function.name)
        case choice:
            return choice


def _format(body: CreateChatCompletion) -> TextFormat | JsonObjectFormat | JsonSchemaFormat:
    match body.response_format:
        case ChatSchemaFormat(json_schema=schema):
            return JsonSchemaFormat(type="json_schema", name=schema.name, schema=schema.json_schema)
        case JsonObjectFormat() as chosen:
            return chosen
        case _:
            return TextFormat()


def _items(message: ChatMessageIn) -> Iterator[InputItem]:
    if message.role == "tool":
        if not message.tool_call_id:
            raise InvalidRequest("a tool message needs tool_call_id", param="messages")
        yield FunctionCallOutput(
            type="function_call_output",
            call_id=message.tool_call_id,
            output=_plain_text(message),
        )
        return
    content = [message.content] if isinstance(message.content, str) else message.content or []
    if content or not message.tool_calls:
        yield InputMessage(role=message.role, content=[_part(part) for part in content])
    for call in message.tool_calls or []:
        yield FunctionCall(
            type="function_call",
            call_id=call.id,
            name=call.function.name,
            arguments=call.function.arguments,
        )


def _plain_text(message: ChatMessageIn) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content or [] if isinstance(part, ChatText))


def _part(part: str | ChatPart) -> ContentPart:
    match part:
        case str():
            return InputText(type="input_text", text=part)
        case ChatText(text=text):
            return InputText(type="input_text", text=text)
        case ChatRefusal(refusal=refusal):
            return Refusal(type="refusal", refusal=refusal)
        case ChatImage(image_url=image):
            by_id = image.url.startswith("asset_")
            return InputImage(
                type="input_image",
                file_id=image.url if by_id else None,
                image_url=None if by_id else image.url,
                detail=image.detail,
            )
        case ChatAudio(input_audio=audio):
            by_id = audio.data.startswith("asset_")
            return InputAudio(
                type="input_audio",
                file_id=audio.data if by_id else None,
                input_audio=None if by_id else audio,
            )
        case ChatFile(file=file):
            return InputFile(
                type="input_file",
                file_id=file.file_id,
                file_data=file.file_data,
                filename=file.filename,
            )
        case _:
            assert_never(part)


_FINISH = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CANCELLED: "stop",
}

# Stands where the text goes while a chunk is made into a template.
_MARK = "\x00text\x00"
_MARK_JSON = orjson.dumps(_MARK)


class ChatChunks:
    """Folds log events into chunks. One instance per stream."""

    def __init__(self, record: ResponseRecord, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._base: JsonObject = {
            "id": _completion_id(record.id),
            "object": "chat.completion.chunk",
            "created": int(record.created_at.timestamp()),
            "model": record.model,
        }
        head, _, tail = orjson.dumps(self._chunk({"content": _MARK})).partition(_MARK_JSON)
        self._text_head, self._text_tail = head, tail

    def opening(self) -> Iterator[JsonObject]:
        """The chunk that names the role."""
        yield self._chunk({"role": "assistant", "content": ""})

    def apply_text(self, text: str) -> bytes:
        """The chunk of a piece of text, as JSON."""
        return self._text_head + orjson.dumps(text) + self._text_tail

    def apply(self, event: LogEvent) -> Iterator[JsonObject]:
        """Chunks for one event. ``Failed`` becomes an error frame."""
        match event:
            case (
                StageStarted()
                | StageProgress()
                | StageFinished()
                | Queued()
                | Generated()
                | ToolPreviewed()
                | ToolAnswered()
                | RoundStarted()
            ):
                return
            case TextDelta(text=text):
                yield self._chunk({"content": text})
            case ToolCallStarted(index=index, call_id=call_id, name=name):
                function: JsonObject = {"name": name, "arguments": ""}
                call = {"index": index, "id": call_id, "type": "function", "function": function}
                yield self._chunk({"tool_calls": [call]})
            case ToolArgumentsDelta(index=index, arguments=arguments):
                call = {"index": index, "function": {"arguments": arguments}}
                yield self._chunk({"tool_calls": [call]})
            case Finished(reason=reason, usage=usage):
                yield self._chunk({}, finish_reason=_FINISH[reason])
                if self._include_usage:
                    yield {**self._base, "choices": [], "usage": render_chat_usage(usage)}
            case Failed(code=code, message=message):
                error = {"message": message, "type": "server_error", "param": None, "code": code}
                yield {"error": error}
            case _:
                assert_never(event)

    def apply_sound(self, part: JsonObject) -> JsonObject:
        """The chunk of a part of the spoken answer."""
        return self._chunk({"audio": part})

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._base, "choices": [choice]}


def render_completion(record: ResponseRecord, reason: FinishReason) -> JsonObject:
    """The whole completion of a settled record."""
    texts: list[str] = []
    calls: list[JsonObject] = []
    for item in record.output_items:
        if item.body["type"] == "message":
            texts.extend(part["text"] for part in item.body["content"])
        else:
            function = {"name": item.body["name"], "arguments": item.body["arguments"]}
            calls.append({"id": item.body["call_id"], "type": "function", "function": function})
    message: JsonObject = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = calls
    return {
        "id": _completion_id(record.id),
        "object": "chat.completion",
        "created": int(record.created_at.timestamp()),
        "model": record.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _FINISH[reason],
            }
        ],
        "usage": render_chat_usage(record.usage),
    }


def render_spoken_completion(completion: JsonObject, sound: JsonObject) -> JsonObject:
    """The same completion, with its text as the transcript of a sound."""
    (choice,) = completion["choices"]
    message = {**choice["message"], "content": None, "audio": sound}
    return {**completion, "choices": [{**choice, "message": message}]}


def render_chat_usage(usage: Usage) -> JsonObject:
    """Tokens as Chat Completions counts them."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _completion_id(response_id: str) -> str:
    return "chatcmpl_" + response_id.removeprefix("resp_")
