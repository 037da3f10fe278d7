"""Tools that the server runs for the model: how a client asks for them, what it sees of a call.

``image_generation`` and ``file_search`` are OpenAI's. ``speech`` has the shape of a custom tool,
because OpenAI has none; its output item carries the asset like the others do.
Source: https://platform.openai.com/docs/guides/tools
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field

from serve.domain.asks import ServerToolUse
from serve.domain.messages import ToolAnswered
from serve.domain.records import JsonObject
from serve.protocol.items import Wire

IMAGE_GENERATION: Final = "image_generation"
FILE_SEARCH: Final = "file_search"
SPEECH: Final = "speech"
PARTIAL_IMAGE_EVENT: Final = "response.image_generation_call.partial_image"
NAMES: Final = frozenset((IMAGE_GENERATION, FILE_SEARCH, SPEECH))


class ImageGenerationTool(Wire):
    """Pictures on the model's word. What our generators cannot vary is accepted and ignored."""

    type: Literal["image_generation"]
    model: str | None = None
    size: str | None = Field(default=None, pattern=r"^(auto|\d{2,4}x\d{2,4})$")
    action: Literal["generate", "edit", "auto"] | None = None
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    output_format: Literal["png"] | None = None
    output_compression: int | None = None
    input_fidelity: str | None = None
    partial_images: int | None = Field(default=None, ge=0, le=3)


class FileSearchTool(Wire):
    """The caller's library. There is one store, called ``library``."""

    type: Literal["file_search"]
    vector_store_ids: list[Literal["library"]] = Field(default=["library"])
    max_num_results: int | None = Field(default=None, ge=1, le=50)
    ranking_options: dict[str, Any] | None = None
    filters: None = None


class SpeechTool(Wire):
    """The answer, or what the model wants said, as sound."""

    type: Literal["custom"]
    name: Literal["speech"]
    description: str | None = None
    voice: str | None = Field(default=None, max_length=64)
    model: str | None = None
    format: dict[str, Any] | None = None


ServerToolParam = Annotated[
    ImageGenerationTool | FileSearchTool | SpeechTool, Field(discriminator="type")
]


class ServerToolChoice(Wire):
    """Use exactly this tool of the server."""

    type: Literal["image_generation", "file_search"]


class SpeechChoice(Wire):
    """Speak."""

    type: Literal["custom"]
    name: Literal["speech"]


def name_of(tool: ImageGenerationTool | FileSearchTool | SpeechTool) -> str:
    """The name under which the model calls it."""
    return SPEECH if isinstance(tool, SpeechTool) else tool.type


def use_of(tool: ImageGenerationTool | FileSearchTool | SpeechTool) -> ServerToolUse:
    """What the graph must know of the request for it."""
    options = tool.model_dump(exclude_none=True, exclude={"type", "name", "description"})
    return ServerToolUse(name_of(tool), options)


def names_in(tools: list[JsonObject]) -> frozenset[str]:
    """Names of the server's tools among those that a response repeats back."""
    named = (tool["name"] if tool["type"] == "custom" else tool["type"] for tool in tools)
    return NAMES & frozenset(named)


def call_item(
    name: str, item_id: str, call_id: str, arguments: str, answer: ToolAnswered | None, status: str
) -> JsonObject:
    """The output item of a call, as far as it has come."""
    asked = arguments_of(arguments)
    asset = {"asset_id": answer.asset_id} if answer and answer.asset_id else {}
    match name:
        case "image_generation":
            return {
                "id": item_id,
                "type": "image_generation_call",
                "status": "generating" if status == "in_progress" else status,
                "result": answer.content_base64 or None if answer else None,
                "revised_prompt": asked.get("prompt"),
                **asset,
            }
        case "file_search":
            return {
                "id": item_id,
                "type": "file_search_call",
                "status": "searching" if status == "in_progress" else status,
                "queries": [str(asked.get("query", ""))] if asked else [],
                "results": arguments_of(answer.output).get("results") if answer else None,
            }
        case _:
            return {
                "id": item_id,
                "type": "custom_tool_call",
                "status": status,
                "call_id": call_id,
                "name": name,
                "input": str(asked.get("text", "")),
                **asset,
            }


def started_events(name: str) -> tuple[str, ...]:
    """Types of the events that follow when a call is whole and work on it begins."""
    match name:
        case "image_generation":
            kind = "response.image_generation_call"
            return (f"{kind}.in_progress", f"{kind}.generating")
        case "file_search":
            kind = "response.file_search_call"
            return (f"{kind}.in_progress", f"{kind}.searching")
        case _:
            return ()


def finished_event(name: str) -> str | None:
    """Type of the event that precedes the end of the item."""
    if name == SPEECH:
        return None
    return f"response.{name}_call.completed"


def told_in_words(body: JsonObject) -> str:
    """What the model is told later of a call that it once made."""
    if body.get("status") != "completed":
        return "[Something was to be made here, which failed.]"
    match body["type"]:
        case "image_generation_call":
            return (
                f"[A picture of {body.get('revised_prompt') or 'what was asked for'!r} was shown.]"
            )
        case "file_search_call":
            found = [
                f"{result.get('filename')}: {result.get('text')}"
                for result in body.get("results") or ()
            ]
            return f"[Found in the library: {'; '.join(found) or 'nothing'}]"
        case _:
            return f"[{body.get('input', '')!r} was said aloud.]"


def arguments_of(text: str) -> JsonObject:
    """Parsed arguments; nothing where they are not, or not yet, an object."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
