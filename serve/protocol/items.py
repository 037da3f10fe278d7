"""Responses items: what clients may put into a turn, and how items are kept.

Accepted shapes follow OpenAI's ``ResponseInputItem``; kept shapes are those its SDK reads back.
Source: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from serve.domain.errors import InvalidRequest
from serve.domain.ids import new_id
from serve.domain.media import MediaKind, MediaRef
from serve.domain.records import Item, JsonObject


class Wire(BaseModel):
    """A body that a client sends. Unknown keys are refused by name, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputText(Wire):
    """Text of a message."""

    type: Literal["input_text", "text"]
    text: str


class InputImage(Wire):
    """A picture: an https or data URL, or an asset id."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] = "auto"


class AudioData(Wire):
    """Base64 of a recording. The content decides its type, ``format`` is only a hint."""

    data: str = ""
    format: str = "wav"


class InputAudio(Wire):
    """A recording: base64 or an asset id."""

    type: Literal["input_audio"]
    input_audio: AudioData | None = None
    file_id: str | None = None


class InputFile(Wire):
    """Any asset by id, or a data URL; the content decides what it is."""

    type: Literal["input_file"]
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    mime_type: str | None = None
    kind: str | None = None
    detail: str | None = None


class OutputText(BaseModel):
    """Text the assistant wrote earlier, sent back by a client that keeps its own history."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["output_text"]
    text: str


class Refusal(BaseModel):
    """A refusal the assistant wrote earlier."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["refusal"]
    refusal: str


ContentPart = Annotated[
    InputText | InputImage | InputAudio | InputFile | OutputText | Refusal,
    Field(discriminator="type"),
]


class InputMessage(BaseModel):
    """One message. Extra keys such as ``id``, ``status`` and ``phase`` come from echoed items."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[ContentPart]


class FunctionCall(BaseModel):
    """A call the model made earlier, sent back."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(BaseModel):
    """What the client's function answered."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText]


class ServerCall(BaseModel):
    """A call of a tool of the server, sent back. Only what the model is told of it is kept."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: Literal["image_generation_call", "file_search_call", "custom_tool_call"]
    status: str = "completed"
    call_id: str | None = None
    name: Literal["speech"] = "speech"
    input: str = ""
    revised_prompt: str | None = None
    queries: list[str] = Field(default_factory=list)
    results: list[dict[str, Any]] | None = None
    asset_id: str | None = None


def _item_type(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("type") or "message")
    return str(getattr(value, "type", "message"))


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[ServerCall, Tag("image_generation_call")]
    | Annotated[ServerCall, Tag("file_search_call")]
    | Annotated[ServerCall, Tag("custom_tool_call")],
    Discriminator(_item_type),
]

MediaPart = InputImage | InputAudio | InputFile


def media_parts(items: Sequence[InputItem]) -> tuple[MediaPart, ...]:
    """Every medium of a turn, in order."""
    return tuple(
        part
        for item in items
        if isinstance(item, InputMessage) and not isinstance(item.content, str)
        for part in item.content
        if isinstance(part, InputImage | InputAudio | InputFile)
    )


def item_texts(item: InputItem) -> Iterator[str]:
    """Every text of an item, in order."""
    match item:
        case InputMessage(content=str(text)):
            yield text
        case InputMessage(content=parts):
            for part in parts:
                match part:
                    case InputText(text=text) | OutputText(text=text):
                        yield text
                    case Refusal(refusal=text):
                        yield text
                    case _:
                        pass
        case FunctionCall(name=name, arguments=arguments):
            yield name
            yield arguments
        case FunctionCallOutput(output=str(text)):
            yield text
        case FunctionCallOutput(output=output):
            yield from (part.text for part in output if isinstance(part, InputText))
        case ServerCall(input=text, revised_prompt=prompt, queries=queries):
            yield from (text, prompt or "", *queries)


def kept_items(items: Sequence[InputItem], media: Sequence[MediaRef]) -> tuple[Item, ...]:
    """Items as they are stored: fresh ids, and asset ids in the place of bytes.

    ``media``: the stored asset of each of ``media_parts(items)``, in the same order.
    """
    remaining = iter(media)
    return tuple(_kept(item, remaining) for item in items)


def _kept(item: InputItem, media: Iterator[MediaRef]) -> Item:
    match item:
        case InputMessage():
            item_id = new_id("msg")
            body: JsonObject = {
                "id": item_id,
                "type": "message",
                "role": item.role,
                "status": "completed",
                "content": _kept_content(item, media),
            }
        case FunctionCall():
            item_id = new_id("fc")
            body = {
                "id": item_id,
                "type": "function_call",
                "status": "completed",
                "call_id": item.call_id,
                "name": item.name,
                "arguments": item.arguments,
            }
        case ServerCall():
            item_id = new_id("call")
            kept = item.model_dump(exclude_none=True)
            body = {**kept, "id": item_id, "result": None}
        case _:
            item_id = new_id("fco")
            output = item.output
            if not isinstance(output, str):
                output = "".join(part.text for part in output)
            body = {
                "id": item_id,
                "type": "function_call_output",
                "status": "completed",
                "call_id": item.call_id,
                "output": output,
            }
    return Item(id=item_id, body=body)


def _kept_content(message: InputMessage, media: Iterator[MediaRef]) -> list[JsonObject]:
    if isinstance(message.content, str):
        parts: list[ContentPart] = [InputText(type="input_text", text=message.content)]
    else:
        parts = message.content
    kept: list[JsonObject] = []
    for part in parts:
        match part:
            case InputText(text=text) if message.role == "assistant":
                kept.append(output_text(text))
            case InputText(text=text):
                kept.append({"type": "input_text", "text": text})
            case OutputText(text=text):
                kept.append(output_text(text))
            case Refusal(refusal=text):
                kept.append({"type": "refusal", "refusal": text})
            case _:
                kept.append(_kept_media(next(media)))
    return kept


def output_text(text: str) -> JsonObject:
    """A text part as the assistant writes it."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _kept_media(media: MediaRef) -> JsonObject:
    match media.kind:
        case MediaKind.IMAGE:
            return {
                "type": "input_image",
                "file_id": media.asset_id,
                "image_url": None,
                "detail": "auto",
            }
        case MediaKind.AUDIO | MediaKind.VIDEO | MediaKind.DOCUMENT:
            # OpenAI's SDK can read no audio part inside a stored item, but any file.
            return {
                "type": "input_file",
                "file_id": media.asset_id,
                "filename": None,
                "mime_type": media.mime_type,
                "kind": media.kind.value,
            }


def media_ids(item: Item) -> tuple[str, ...]:
    """Asset ids that a stored item refers to, in order."""
    content = item.body.get("content")
    if not isinstance(content, list):
        return ()
    return tuple(
        part["file_id"] for part in content if part.get("type") in ("input_image", "input_file")
    )


def as_items(value: str | list[InputItem]) -> list[InputItem]:
    """A turn given as plain text is one user message."""
    if isinstance(value, str):
        value = [InputMessage(role="user", content=value)]
    if not value:
        raise InvalidRequest("input is empty: send text or at least one item", param="input")
    return value
