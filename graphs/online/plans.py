"""What a response's row keeps so that any process can go on with it."""

from __future__ import annotations

from dataclasses import asdict

from serve.domain.asks import Ask, ServerToolUse
from serve.domain.messages import Sampling, ToolSpec
from serve.domain.records import JsonObject, ResponseRecord


def plan_of(ask: Ask) -> JsonObject:
    """The parts of an ask that its record does not have, as JSON."""
    return {
        "instructions": ask.instructions,
        "sampling": asdict(ask.sampling),
        "tools": [asdict(tool) for tool in ask.tools],
        "server_tools": [asdict(tool) for tool in ask.server_tools],
        "tool_choice": ask.tool_choice,
        "parallel_tool_calls": ask.parallel_tool_calls,
        "json_schema": ask.json_schema,
    }


def planned_ask(record: ResponseRecord, plan: JsonObject) -> Ask:
    """The ask again. A plan is ours: what an older version did not write has its default."""
    sampling = plan.get("sampling", {})
    return Ask(
        model=record.model,
        input_items=record.input_items,
        instructions=plan.get("instructions"),
        conversation_id=record.conversation_id,
        previous_response_id=record.previous_response_id,
        sampling=Sampling(**{**sampling, "stop": tuple(sampling.get("stop", ()))}),
        tools=tuple(ToolSpec(**tool) for tool in plan.get("tools", ())),
        server_tools=tuple(ServerToolUse(**tool) for tool in plan.get("server_tools", ())),
        tool_choice=plan.get("tool_choice", "auto"),
        parallel_tool_calls=plan.get("parallel_tool_calls", True),
        json_schema=plan.get("json_schema"),
        stored=record.stored,
        background=record.background,
        echo=record.request,
        response_id=record.id,
    )
