"""``/v1/responses``: the body a client sends and the Response object it gets back.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, field_validator

from serve.domain.admission import (
    USUAL_HISTORY_BYTES,
    USUAL_PICTURE_PX,
    USUAL_RECORDING_S,
    Demand,
)
from serve.domain.asks import Ask, RequestClock
from serve.domain.errors import InvalidRequest
from serve.domain.messages import Sampling, ToolSpec, Usage
from serve.domain.records import Item, JsonObject, ResponseRecord, ResponseStatus
from serve.protocol.items import InputImage, InputItem, Wire, item_texts, media_parts
from serve.protocol.server_tools import (
    ServerToolChoice,
    ServerToolParam,
    SpeechChoice,
    use_of,
)


class ConversationRef(Wire):
    """A conversation by id."""

    id: str


class FunctionTool(Wire):
    """A function the client can run."""

    type: Literal["function"]
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(Wire):
    """Call exactly this function."""

    type: Literal["function"]
    name: str


class TextFormat(Wire):
    """Plain text."""

    type: Literal["text"] = "text"


class JsonObjectFormat(Wire):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(Wire):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    name: str
    json_schema: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextConfig(Wire):
    """How the answer's text is to look."""

    format: Annotated[
        TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
    ] = TextFormat()
    verbosity: Literal["low", "medium", "high"] | None = None


class StreamOptions(Wire):
    """Accepted for compatibility; we never obfuscate."""

    include_obfuscation: bool | None = None


class CreateResponse(Wire):
    """Body of ``POST /v1/responses``.

    ``user``, ``safety_identifier``, ``prompt_cache_key``, ``prompt_cache_retention``,
    ``service_tier``, ``include``, ``reasoning`` and ``stream_options`` are hints for which this
    server has nothing to decide.
    """

    model: str | None = None
    input: str | list[InputItem] = Field(default_factory=list)
    instructions: str | None = None
    conversation: str | ConversationRef | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    tools: list[FunctionTool | ServerToolParam] = Field(default_factory=list, max_length=128)
    tool_choice: (
        Literal["auto", "none", "required"] | NamedTool | ServerToolChoice | SpeechChoice
    ) = "auto"
    parallel_tool_calls: bool | None = None
    text: TextConfig = TextConfig()
    metadata: dict[str, str] | None = None
    stream: bool | None = False
    background: bool | None = False
    store: bool | None = True
    truncation: Literal["disabled"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    include: list[str] | None = None
    reasoning: dict[str, Any] | None = None
    stream_options: StreamOptions | None = None
    top_logprobs: Literal[0] | None = None

    @field_validator("metadata")
    @classmethod
    def _bounded(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        too_long = value and any(len(k) > 64 or len(v) > 512 for k, v in value.items())
        if value and (len(value) > 16 or too_long):
            msg = "at most 16 pairs, keys up to 64 and values up to 512 characters"
            raise ValueError(msg)
        return value

    @property
    def conversation_id(self) -> str | None:
        """The conversation, however it was named."""
        if isinstance(self.conversation, ConversationRef):
            return self.conversation.id
        return self.conversation


def to_ask(
    body: CreateResponse,
    *,
    model: str,
    items: tuple[Item, ...],
    clock: RequestClock | None = None,
) -> Ask:
    """Translate, refusing what contradicts itself.

    Args:
        body: as sent.
        model: the catalog name that ``body.model`` stands for.
        items: ``body.input`` in its kept shape, media stored.
        clock: running since the request arrived.
    """
    if body.conversation and body.previous_response_id:
        raise InvalidRequest(
            "give conversation or previous_response_id, not both", param="previous_response_id"
        )
    if body.background and body.store is False:
        raise InvalidRequest("background needs store=true", param="background")
    functions = [tool for tool in body.tools if isinstance(tool, FunctionTool)]
    ours = [use_of(tool) for tool in body.tools if not isinstance(tool, FunctionTool)]
    names = [*(tool.name for tool in functions), *(tool.name for tool in ours)]
    tool_choice = _tool_choice(body, names)
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Ask(
        model=model,
        input_items=items,
        instructions=body.instructions,
        conversation_id=body.conversation_id,
        previous_response_id=body.previous_response_id,
        sampling=Sampling(
            max_output_tokens=body.max_output_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            seed=body.seed,
            stop=stop,
        ),
        tools=tuple(
            ToolSpec(
                name=tool.name,
                description=tool.description or "",
                parameters_json=_schema_text(tool.parameters or {"type": "object"}),
            )
            for tool in functions
        ),
        server_tools=tuple(ours),
        tool_choice=tool_choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        json_schema=_json_schema(body.text),
        stored=body.store is not False,
        background=bool(body.background),
        echo=_echo(body),
        clock=clock,
    )


def _tool_choice(body: CreateResponse, names: Sequence[str]) -> str:
    if len(set(names)) < len(names):
        raise InvalidRequest("two tools have the same name", param="tools")
    match body.tool_choice:
        case ServerToolChoice(type=choice) | NamedTool(name=choice) | SpeechChoice(name=choice):
            if choice not in names:
                raise InvalidRequest(
                    f"tool_choice names {choice!r}, tools has: {', '.join(names) or 'none'}",
                    param="tool_choice",
                )
            return choice
        case "required" if not names:
            raise InvalidRequest("tool_choice 'required' needs tools", param="tool_choice")
        case str(choice):
            return choice


def demand_of(body: CreateResponse, items: Sequence[InputItem]) -> Demand:
    """How much a body asks for, by the sizes of what it holds. Media are not looked into."""
    media = media_parts(items)
    texts = sum(len(text.encode()) for item in items for text in item_texts(item))
    functions = (tool for tool in body.tools if isinstance(tool, FunctionTool))
    schemas = sum(len(_schema_text(tool.parameters or {})) for tool in functions)
    has_history = bool(body.conversation or body.previous_response_id)
    return Demand(
        prompt_bytes=len((body.instructions or "").encode())
        + texts
        + schemas
        + (USUAL_HISTORY_BYTES if has_history else 0),
        max_output_tokens=body.max_output_tokens,
        picture_px=(USUAL_PICTURE_PX,) * sum(isinstance(part, InputImage) for part in media),
        audio_s=sum(USUAL_RECORDING_S for part in media if not isinstance(part, InputImage)),
    )


def _schema_text(schema: dict[str, Any]) -> str:
    return orjson.dumps(schema).decode()


def _json_schema(text: TextConfig) -> str | None:
    match text.format:
        case JsonSchemaFormat(json_schema=schema):
            return _schema_text(schema)
        case JsonObjectFormat():
            return "{}"
        case TextFormat():
            return None


def _echo(body: CreateResponse) -> JsonObject:
    choice = body.tool_choice
    return {
        "instructions": body.instructions,
        "metadata": body.metadata or {},
        "max_output_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "tools": [
            tool.model_dump()
            if isinstance(tool, FunctionTool)
            else tool.model_dump(exclude_none=True)
            for tool in body.tools
        ],
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "text": body.text.model_dump(by_alias=True, exclude_none=True),
        "truncation": "disabled",
    }


# OpenAI's SDK knows these codes for ``response.error``; the human text carries ours.
_ERROR_CODES = {
    "rate_limit_exceeded": "rate_limit_exceeded",
    "overloaded": "rate_limit_exceeded",
    "context_length_exceeded": "invalid_prompt",
    "invalid_request": "invalid_prompt",
}


def render_response(record: ResponseRecord) -> JsonObject:
    """The Response object."""
    status = record.status
    reason = record.incomplete_reason
    error = None
    if status is ResponseStatus.FAILED:
        error = {
            "code": _ERROR_CODES.get(record.error_code or "", "server_error"),
            "message": record.error_message or "",
        }
    return {
        "id": record.id,
        "object": "response",
        "created_at": _unix(record.created_at),
        "completed_at": _unix(record.completed_at),
        "status": status.value,
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": record.model,
        "output": [item.body for item in record.output_items],
        "previous_response_id": record.previous_response_id,
        "conversation": {"id": record.conversation_id} if record.conversation_id else None,
        "background": record.background,
        "store": record.stored,
        "usage": render_usage(record.usage) if status.is_final else None,
        **record.request,
    }


def render_usage(usage: Usage) -> JsonObject:
    """Tokens as the Responses API counts them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def render_items(items: Sequence[Item], *, has_more: bool) -> JsonObject:
    """A page of items, each with the response it belongs to."""
    return {
        "object": "list",
        "data": [render_item(item) for item in items],
        "first_id": items[0].id if items else "",
        "last_id": items[-1].id if items else "",
        "has_more": has_more,
    }


def render_item(item: Item) -> JsonObject:
    """One item."""
    return {**item.body, "response_id": item.response_id}


def _unix(at: datetime | None) -> float | None:
    return at.astimezone(UTC).timestamp() if at else None
