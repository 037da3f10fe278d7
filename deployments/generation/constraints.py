"""What the engine's grammar must enforce, from the request's schema and tools. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from serve.domain.errors import InvalidRequest
from serve.domain.messages import GenerationRequest, ToolSpec

JsonValue = object
_ANY_OBJECT: Final = {"type": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """JSON text for the engine's grammar: one of the two."""

    json_schema: str | None = None
    structural_tag: str | None = None


def output_constraint(request: GenerationRequest) -> Constraint | None:
    """What every answer must look like; None leaves the model free.

    Arguments always satisfy their tool's schema, once the model begins a call.

    Raises:
        InvalidRequest: A schema is not JSON, or the tool choice names no tool.
    """
    tools = offered_tools(request)
    schema = None
    if request.json_schema is not None:
        schema = _parse_schema(request.json_schema, "text.format")
    if not tools:
        return None if schema is None else Constraint(json_schema=json.dumps(schema))
    tags = [_call_tag(tool) for tool in tools]
    only_calls = _only_calls(request, tags)
    if request.tool_choice != "auto":
        return _structural(only_calls)
    if schema is not None:
        answer = {"type": "json_schema", "json_schema": schema}
        return _structural({"type": "or", "elements": [answer, only_calls]})
    return _structural({"type": "triggered_tags", "triggers": ["<tool_call>"], "tags": tags})


def offered_tools(request: GenerationRequest) -> tuple[ToolSpec, ...]:
    """The tools the model may call now.

    Raises:
        InvalidRequest: The tool choice names none of them.
    """
    choice = request.tool_choice
    if choice == "none" or (not request.tools and choice == "auto"):
        return ()
    if choice in ("auto", "required"):
        if not request.tools:
            raise InvalidRequest("a tool is required, but none is given", param="tools")
        return request.tools
    chosen = tuple(tool for tool in request.tools if tool.name == choice)
    if not chosen:
        names = ", ".join(tool.name for tool in request.tools) or "none"
        raise InvalidRequest(
            f"tool_choice names {choice!r}; the tools are: {names}", param="tool_choice"
        )
    return chosen


def _parse_schema(text: str, param: str) -> JsonValue:
    """A JSON Schema's object. Raises ``InvalidRequest``."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the JSON schema is not JSON: {error}", param=param) from None
    if not isinstance(schema, dict):
        raise InvalidRequest("a JSON schema must be a JSON object", param=param)
    return schema or _ANY_OBJECT


def _structural(format_: dict[str, JsonValue]) -> Constraint:
    tag = {"type": "structural_tag", "format": format_}
    return Constraint(structural_tag=json.dumps(tag))


def _call_tag(tool: ToolSpec) -> dict[str, JsonValue]:
    name = json.dumps(tool.name, ensure_ascii=False)
    return {
        "type": "tag",
        "begin": f'<tool_call>\n{{"name": {name}, "arguments": ',
        "content": {
            "type": "json_schema",
            "json_schema": _parse_schema(tool.parameters_json or "{}", "tools"),
        },
        "end": "}\n</tool_call>",
    }


def _only_calls(
    request: GenerationRequest, tags: list[dict[str, JsonValue]]
) -> dict[str, JsonValue]:
    one = not request.parallel_tool_calls or request.tool_choice not in ("auto", "required")
    return {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": "\n",
        "at_least_one": True,
        "stop_after_first": one,
    }
