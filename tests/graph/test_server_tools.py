"""The model calls tools of the server, reads their answers and goes on, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from graphs.online.tools.registry import Asked, Outcome
from serve.domain.asks import Ask, ServerToolUse, Watch
from serve.domain.errors import InvalidRequest
from serve.domain.journal import Wrote
from serve.domain.messages import (
    FinishReason,
    Generated,
    GenerationRequest,
    LogEvent,
    Progress,
    RoundStarted,
    Stage,
    StageProgress,
    TextDelta,
    TextPart,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolPreviewed,
    ToolSpec,
    Usage,
)
from serve.domain.ports import Journal
from serve.domain.records import Caller, Item, ResponseRecord, ResponseStatus
from serve.protocol.events import ResponseEvents
from serve.storage.postgres.pool import Database
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.scripted import MODEL, Bus, ScriptedGenerator, supervised

_DRAW = "image_generation"


@dataclass
class CallingGenerator(ScriptedGenerator):
    """Calls tools in the first rounds and then speaks; token ids are places in the round."""

    journal: Journal
    rounds: list[list[tuple[str, str]]] = field(default_factory=list)

    async def _generate(self, request: GenerationRequest) -> None:
        told = "".join(
            part.text
            for message in request.messages
            for part in message.parts
            if isinstance(part, TextPart)
        )
        answers = told.count("is shown") + told.count("It failed")
        calls: list[tuple[str, str]] = []
        for each in self.rounds:
            if answers < len(each):
                calls = each
                break
            answers -= len(each)
        events: list[LogEvent] = []
        for index, (name, arguments) in enumerate(calls):
            events.append(ToolCallStarted(index, f"call_{len(request.messages)}_{index}", name))
            events.append(ToolArgumentsDelta(index, arguments, (index,)))
        if not calls:
            events.append(TextDelta("Here it is.", (0,)))
        reason = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        usage = Usage(input_tokens=10, output_tokens=5)
        events.append(Generated(reason, usage, queue_s=0.0, prefill_s=0.0, decode_s=0.0))
        record = Wrote(request.response_id, request.epoch, request.first_seq, tuple(events))
        await self.journal.append([record])


@dataclass
class Pencil:
    """A tool that draws nothing, at once or when it may."""

    hold: asyncio.Event | None = None
    fails: bool = False
    preview: bytes = b""
    asked: list[Asked] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: bool = False
    stage = Stage.DRAWING
    node = "ImageGenerator"
    makes_assets: bool = True
    spec = ToolSpec(name=_DRAW, description="Draw.", parameters_json='{"type":"object"}')

    async def run(self, asked: Asked, watch: Watch) -> Outcome:
        self.asked.append(asked)
        await watch(Progress(0.5, "half", self.preview))
        self.began.set()
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        if self.fails:
            raise InvalidRequest("no paper left")
        return Outcome(f"{asked.text('prompt')} is shown", "asset_1")


def _ask(*uses: ServerToolUse, tool_choice: str = "auto") -> Ask:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "Draw a cat"}],
    }
    return Ask(
        model=MODEL,
        input_items=(Item(id="msg_1", body=body),),
        server_tools=uses or (ServerToolUse(_DRAW),),
        tool_choice=tool_choice,
        echo={"tools": [{"type": _DRAW}]},
    )


def _wire(record: ResponseRecord) -> list[dict[str, Any]]:
    fold = ResponseEvents(record)
    return [*fold.opening(), *(event for entry in record.log for event in fold.apply(entry.event))]


async def test_a_tool_is_run_and_the_model_goes_on_with_what_it_said(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]])
    pencil = Pencil()
    async with supervised(database, bus, cache, generator, tools=[pencil]) as runs:
        run = await runs.start(ada, _ask(tool_choice=_DRAW))
        record = await run.finished()
    assert record.status is ResponseStatus.COMPLETED
    assert [asked.arguments for asked in pencil.asked] == [{"prompt": "a cat"}]
    drawn, said = (item.body for item in record.output_items)
    assert drawn["type"] == "image_generation_call"
    assert drawn["status"] == "completed"
    assert drawn["asset_id"] == "asset_1"
    assert drawn["revised_prompt"] == "a cat"
    assert said["content"][0]["text"] == "Here it is."
    first, second = generator.requests
    assert [tool.name for tool in first.tools] == [_DRAW]
    # Told to call it, it has: the second time it may only speak.
    assert (first.tool_choice, second.tool_choice) == (_DRAW, "none")
    assert second.tools == ()
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert record.usage == Usage(input_tokens=20, output_tokens=10)
    assert any(isinstance(entry.event, StageProgress) for entry in record.log)
    assert {span.name for span in record.trace} >= {_DRAW, "generate"}


async def test_clients_see_the_calls_in_openais_words(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]])
    async with supervised(database, bus, cache, generator, tools=[Pencil()]) as runs:
        record = await (await runs.start(ada, _ask())).finished()
    events = _wire(record)
    numbered = [event for event in events if event["type"] != "polymodal.stage"]
    assert [event["sequence_number"] for event in numbered] == list(range(len(numbered)))
    kinds = [event["type"] for event in numbered]
    call = "response.image_generation_call"
    first = kinds.index("response.output_item.added")
    assert kinds[first : first + 5] == [
        "response.output_item.added",
        f"{call}.in_progress",
        f"{call}.generating",
        f"{call}.completed",
        "response.output_item.done",
    ]
    assert kinds[-1] == "response.completed"
    done = numbered[-1]["response"]["output"]
    assert [item["type"] for item in done] == ["image_generation_call", "message"]


async def test_a_tool_that_fails_tells_the_model_why(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]])
    async with supervised(database, bus, cache, generator, tools=[Pencil(fails=True)]) as runs:
        record = await (await runs.start(ada, _ask())).finished()
    assert record.status is ResponseStatus.COMPLETED
    assert record.output_items[0].body["status"] == "failed"
    told = generator.requests[1].messages[1].parts[0]
    assert "no paper left" in getattr(told, "text", "")


async def test_a_call_of_the_clients_own_function_ends_the_answer(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    both = [(_DRAW, '{"prompt":"a cat"}'), ("weather", "{}")]
    generator = CallingGenerator(bus.journal, rounds=[both])
    async with supervised(database, bus, cache, generator, tools=[Pencil()]) as runs:
        record = await (await runs.start(ada, _ask())).finished()
    assert len(generator.requests) == 1
    drawn, called = (item.body for item in record.output_items)
    assert (drawn["type"], drawn["status"]) == ("image_generation_call", "completed")
    assert (called["type"], called["status"]) == ("function_call", "completed")


async def test_a_model_that_only_ever_calls_comes_to_an_end(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]] * 4)
    finder = Pencil(makes_assets=False)
    async with supervised(database, bus, cache, generator, tools=[finder]) as runs:
        record = await (await runs.start(ada, _ask())).finished()
    assert record.status is ResponseStatus.COMPLETED
    assert [request.tool_choice for request in generator.requests] == ["auto"] * 4 + ["none"]


async def test_what_the_model_has_made_it_does_not_make_again(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]])
    async with supervised(database, bus, cache, generator, tools=[Pencil()]) as runs:
        await (await runs.start(ada, _ask())).finished()
    first, second = generator.requests
    assert (first.tool_choice, second.tool_choice) == ("auto", "none")
    assert second.tools == ()


async def test_cancelling_stops_the_tool(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]])
    pencil = Pencil(hold=asyncio.Event())
    async with supervised(database, bus, cache, generator, tools=[pencil]) as runs:
        run = await runs.start(ada, _ask())
        await pencil.began.wait()
        record = await runs.cancel(ada, run.record.id)
    assert record.status is ResponseStatus.CANCELLED
    assert pencil.was_cancelled
    assert record.output_items[0].body["status"] == "incomplete"


async def test_another_process_runs_the_tool_again_when_its_supervisor_left(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = CallingGenerator(bus.journal, rounds=[[(_DRAW, '{"prompt":"a cat"}')]])
    held, quick = Pencil(hold=asyncio.Event(), preview=b"his"), Pencil(preview=b"hers")
    async with AsyncExitStack() as stack:
        async with supervised(database, bus, cache, generator, tools=[held]) as runs:
            run = await runs.start(ada, _ask())
            await held.began.wait()
            others = await stack.enter_async_context(
                supervised(database, bus, cache, generator, tools=[quick])
            )
        told = [entry async for batch in others.follow(run.record.id) for entry in batch]
    assert len(quick.asked) == 1
    assert len(generator.requests) == 2
    assert sum(isinstance(entry.event, RoundStarted) for entry in told) == 1
    assert [entry.seq for entry in told] == list(range(len(told)))
    # Another picture, seen from its own beginning.
    previews = [entry.event for entry in told if isinstance(entry.event, ToolPreviewed)]
    assert [(each.index, base64.b64decode(each.webp_base64)) for each in previews] == [
        (0, b"his"),
        (0, b"hers"),
    ]


async def test_a_tool_that_is_not_served_is_refused(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    async with supervised(database, bus, cache, CallingGenerator(bus.journal)) as runs:
        with pytest.raises(InvalidRequest, match="not served here"):
            await runs.start(ada, _ask())
