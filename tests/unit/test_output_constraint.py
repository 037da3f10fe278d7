"""Which grammar the engine gets for which request."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deployments.generation.constraints import offered_tools, output_constraint
from serve.domain.errors import InvalidRequest
from serve.domain.messages import GenerationRequest, Sampling, ToolSpec

_TOOLS = tuple(
    ToolSpec(name=name, description="", parameters_json='{"type": "object"}') for name in "ab"
)
_PLAIN = GenerationRequest(
    response_id="r", model="m", messages=(), sampling=Sampling(), first_seq=0
)


def _format(request: GenerationRequest) -> dict[str, object]:
    constraint = output_constraint(request)
    assert constraint is not None
    assert constraint.structural_tag is not None
    tag: dict[str, dict[str, object]] = json.loads(constraint.structural_tag)
    return tag["format"]


def test_without_schema_and_tools_the_model_is_free() -> None:
    assert output_constraint(_PLAIN) is None
    assert output_constraint(replace(_PLAIN, tools=_TOOLS, tool_choice="none")) is None


def test_an_empty_schema_means_any_object() -> None:
    constraint = output_constraint(replace(_PLAIN, json_schema="{}"))
    assert constraint is not None
    assert constraint.json_schema == '{"type": "object"}'


def test_auto_leaves_text_possible_and_a_begun_call_bound() -> None:
    format_ = _format(replace(_PLAIN, tools=_TOOLS))
    assert format_["type"] == "triggered_tags"
    assert format_["triggers"] == ["<tool_call>"]


def test_auto_with_a_schema_is_one_or_the_other() -> None:
    format_ = _format(replace(_PLAIN, tools=_TOOLS, json_schema="{}"))
    elements = format_["elements"]
    assert isinstance(elements, list)
    assert [each["type"] for each in elements] == ["json_schema", "tags_with_separator"]


@pytest.mark.parametrize(
    ("choice", "parallel", "one"),
    [("required", True, False), ("required", False, True), ("a", True, True)],
)
def test_required_allows_calls_only(choice: str, parallel: bool, one: bool) -> None:
    format_ = _format(
        replace(_PLAIN, tools=_TOOLS, tool_choice=choice, parallel_tool_calls=parallel)
    )
    assert format_["type"] == "tags_with_separator"
    assert format_["at_least_one"] is True
    assert format_["stop_after_first"] is one


def test_a_named_tool_is_the_only_one_offered() -> None:
    assert offered_tools(replace(_PLAIN, tools=_TOOLS, tool_choice="b")) == _TOOLS[1:]


@pytest.mark.parametrize("schema", ["{", "[]", "1", "[" * 100_000])
def test_a_schema_that_is_no_object_is_refused(schema: str) -> None:
    with pytest.raises(InvalidRequest):
        output_constraint(replace(_PLAIN, json_schema=schema))
