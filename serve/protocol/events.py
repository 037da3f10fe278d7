"""A response's log as OpenAI's stream events, and as the output items it amounts to.

The log holds what happened; the wire events and their sequence numbers follow from it by a fold
without choices, so every process that reads the same log sends the same events.
Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, assert_never

import orjson

from serve.domain.messages import (
    Failed,
    Finished,
    FinishReason,
    Generated,
    LogEvent,
    Queued,
    RoundStarted,
    Stage,
    StageFinished,
    StageProgress,
    StageStarted,
    TextDelta,
    ToolAnswered,
    ToolArgumentsDelta,
    ToolCallStarted,
    ToolPreviewed,
)
from serve.domain.records import Item, JsonObject, ResponseRecord, ResponseStatus
from serve.protocol.items import output_text
from serve.protocol.responses import render_response
from serve.protocol.server_tools import (
    IMAGE_GENERATION,
    PARTIAL_IMAGE_EVENT,
    SPEECH,
    arguments_of,
    call_item,
    finished_event,
    names_in,
    started_events,
)

STAGE_EVENT: Final = "polymodal.stage"
TEXT_EVENT: Final = "response.output_text.delta"
_TEXT_TYPE: Final = TEXT_EVENT.encode()


@dataclass(slots=True)
class _Open:
    """The output item being written. ``text_head``: what a delta of text says before its text.

    ``is_ours``: a call of a tool that the server runs, which ends when the tool has answered.
    """

    item_id: str
    index: int
    call: ToolCallStarted | None = None
    is_ours: bool = False
    text: list[str] = field(default_factory=list)
    text_head: bytes = b""

    def __post_init__(self) -> None:
        self.text_head = orjson.dumps({**self.place, "content_index": 0})[1:-1] + b',"delta":'

    @property
    def place(self) -> JsonObject:
        """Where it stands among the output."""
        return {"item_id": self.item_id, "output_index": self.index}

    def body(self, status: str, answer: ToolAnswered | None = None) -> JsonObject:
        """The item so far."""
        text = "".join(self.text)
        if self.call is not None and self.is_ours:
            call = self.call
            return call_item(call.name, self.item_id, call.call_id, text, answer, status)
        if self.call is None:
            return {
                "id": self.item_id,
                "type": "message",
                "role": "assistant",
                "status": status,
                "content": [output_text(text)],
            }
        return {
            "id": self.item_id,
            "type": "function_call",
            "status": status,
            "call_id": self.call.call_id,
            "name": self.call.name,
            "arguments": text,
        }


class ResponseEvents:
    """Folds log events into wire events. One instance per reader, fed from the log's start."""

    def __init__(self, record: ResponseRecord) -> None:
        self._record = replace(
            record, status=ResponseStatus.IN_PROGRESS, output_items=(), completed_at=None
        )
        self._suffix = record.id.removeprefix("resp_")
        self._next_number = 0
        self._open: _Open | None = None
        self._n_items = 0
        self._done: dict[int, Item] = {}
        self._unanswered: dict[str, _Open] = {}
        self._our_tools = names_in(record.request.get("tools", []))
        self._writing = False

    def opening(self) -> Iterator[JsonObject]:
        """The two events that precede everything in the log."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=render_response(self._record))

    def apply(self, event: LogEvent) -> Iterator[JsonObject]:
        """The wire events that ``event`` amounts to, numbered."""
        match event:
            case StageStarted() | StageProgress() | StageFinished() | Queued():
                yield self._stage(event)
            case Generated() | RoundStarted():
                # Between us and the supervisor; the last event says it to the client.
                yield from self._calls_are_whole()
            case ToolPreviewed():
                yield from self._previewed(event)
            case ToolAnswered():
                yield from self._answered(event)
            case TextDelta(text=text):
                yield from self._writing_begins()
                yield from self._text(text)
            case ToolCallStarted():
                yield from self._writing_begins()
                yield from self._close("completed")
                yield from self._begin(event)
            case ToolArgumentsDelta(arguments=arguments):
                yield from self._arguments(arguments)
            case Finished():
                yield from self._finished(event)
            case Failed():
                yield from self._failed(event)
            case _:
                assert_never(event)

    def apply_text(self, text: str) -> tuple[int, bytes] | None:
        """Number and JSON of the delta, when more of the open text is all that ``text`` means.

        Else None, and ``apply`` has to do it. Of the many tokens of an answer, this is what all
        but the first few amount to.
        """
        opened = self._open
        if opened is None or not self.skip_text(text):
            return None
        number = self._next_number - 1
        return number, b'{"type":"%b","sequence_number":%d,%b%b,"logprobs":[]}' % (
            _TEXT_TYPE,
            number,
            opened.text_head,
            orjson.dumps(text),
        )

    def skip_text(self, text: str) -> bool:
        """As ``apply_text``, for who does not want the event. False: ``apply`` has to do it."""
        opened = self._open
        if opened is None or opened.call is not None:
            return False
        opened.text.append(text)
        self._next_number += 1
        return True

    @property
    def last_number(self) -> int:
        """Number of the last event so far, -1 before the first."""
        return self._next_number - 1

    @property
    def record(self) -> ResponseRecord:
        """The response as far as the fold has come, open output included."""
        unfinished = [*self._unanswered.values(), *((self._open,) if self._open else ())]
        items = self._done | {
            each.index: Item(id=each.item_id, body=each.body("in_progress")) for each in unfinished
        }
        return replace(self._record, output_items=_ordered(items))

    def _event(self, kind: str, **fields: object) -> JsonObject:
        event = {"type": kind, "sequence_number": self._next_number, **fields}
        self._next_number += 1
        return event

    def _writing_begins(self) -> Iterator[JsonObject]:
        # The generator owns the log by then and writes tokens only; the first says it all.
        if not self._writing:
            self._writing = True
            yield self._stage(StageStarted(Stage.WRITING, "", 0.0))

    def _stage(self, event: StageStarted | StageProgress | StageFinished | Queued) -> JsonObject:
        # No number of its own: a client that asked for OpenAI's events alone sees no gap.
        head: JsonObject = {"type": STAGE_EVENT, "sequence_number": self.last_number}
        if isinstance(event, Queued):
            return {**head, "stage": "queued", "place": event.place, "eta_s": event.eta_s}
        if isinstance(event, StageProgress):
            return {
                **head,
                "stage": event.stage.value,
                "state": "progress",
                "asset_id": event.subject,
                "done": event.done,
                "note": event.note,
            }
        return {
            **head,
            "stage": event.stage.value,
            "state": "started" if isinstance(event, StageStarted) else "finished",
            "asset_id": event.subject,
            "cache": event.cache if isinstance(event, StageFinished) else "",
        }

    def _begin(self, call: ToolCallStarted | None) -> Iterator[JsonObject]:
        index = self._n_items
        self._n_items += 1
        is_ours = call is not None and call.name in self._our_tools
        prefix = "msg" if call is None else "call" if is_ours else "fc"
        opened = _Open(f"{prefix}_{self._suffix}_{index}", index, call, is_ours)
        self._open = opened
        body = opened.body("in_progress")
        if call is None:
            body = {**body, "content": []}
        yield self._event("response.output_item.added", output_index=index, item=body)
        if call is None:
            yield self._event(
                "response.content_part.added",
                item_id=opened.item_id,
                output_index=index,
                content_index=0,
                part=output_text(""),
            )

    def _text(self, text: str) -> Iterator[JsonObject]:
        if self._open is None or self._open.call is not None:
            yield from self._close("completed")
            yield from self._begin(None)
        if self._open is None:  # pragma: no cover - _begin always opens
            return
        self._open.text.append(text)
        yield self._event(
            TEXT_EVENT,
            item_id=self._open.item_id,
            output_index=self._open.index,
            content_index=0,
            delta=text,
            logprobs=[],
        )

    def _arguments(self, arguments: str) -> Iterator[JsonObject]:
        if self._open is None or self._open.call is None:
            return
        self._open.text.append(arguments)
        if self._open.is_ours:
            return
        yield self._event(
            "response.function_call_arguments.delta",
            item_id=self._open.item_id,
            output_index=self._open.index,
            delta=arguments,
        )

    def _close(self, status: str) -> Iterator[JsonObject]:
        opened = self._open
        if opened is None:
            return
        self._open = None
        if opened.is_ours and opened.call is not None:
            self._unanswered[opened.call.call_id] = opened
            yield from self._work_begins(opened, opened.call)
            return
        text = "".join(opened.text)
        place = opened.place
        body = opened.body(status)
        if opened.call is None:
            yield self._event(
                "response.output_text.done", **place, content_index=0, text=text, logprobs=[]
            )
            yield self._event(
                "response.content_part.done", **place, content_index=0, part=output_text(text)
            )
        else:
            yield self._event(
                "response.function_call_arguments.done",
                **place,
                arguments=text,
                name=opened.call.name,
            )
        yield self._item_done(opened, body)

    def _item_done(self, opened: _Open, body: JsonObject) -> JsonObject:
        self._done[opened.index] = Item(id=opened.item_id, body=body, response_id=self._record.id)
        return self._event("response.output_item.done", output_index=opened.index, item=body)

    def _calls_are_whole(self) -> Iterator[JsonObject]:
        if self._open is not None and self._open.is_ours:
            yield from self._close("completed")

    def _work_begins(self, opened: _Open, call: ToolCallStarted) -> Iterator[JsonObject]:
        if call.name == SPEECH:
            said = str(arguments_of("".join(opened.text)).get("text", ""))
            yield self._event("response.custom_tool_call_input.done", **opened.place, input=said)
        for kind in started_events(call.name):
            yield self._event(kind, **opened.place)

    def _previewed(self, preview: ToolPreviewed) -> Iterator[JsonObject]:
        opened = self._unanswered.get(preview.call_id)
        if opened is None or opened.call is None or opened.call.name != IMAGE_GENERATION:
            return
        yield self._event(
            PARTIAL_IMAGE_EVENT,
            **opened.place,
            partial_image_index=preview.index,
            partial_image_b64=preview.webp_base64,
            output_format="webp",
        )

    def _answered(self, answer: ToolAnswered) -> Iterator[JsonObject]:
        opened = self._unanswered.pop(answer.call_id, None)
        if opened is None or opened.call is None:
            return
        body = opened.body("failed" if answer.has_failed else "completed", answer)
        kind = finished_event(opened.call.name)
        if kind is not None and not answer.has_failed:
            yield self._event(kind, **opened.place)
        yield self._item_done(opened, body)

    def _give_up_calls(self) -> Iterator[JsonObject]:
        """The response ended before its tools had answered."""
        for opened in self._unanswered.values():
            yield self._item_done(opened, opened.body("incomplete"))
        self._unanswered.clear()

    def _finished(self, event: Finished) -> Iterator[JsonObject]:
        whole = event.reason in (FinishReason.STOP, FinishReason.TOOL_CALLS)
        if whole and self._open is None and not self._done:
            yield from self._begin(None)
        yield from self._close("completed" if whole else "incomplete")
        yield from self._give_up_calls()
        match event.reason:
            case FinishReason.STOP | FinishReason.TOOL_CALLS:
                kind, status, reason = "response.completed", ResponseStatus.COMPLETED, None
            case FinishReason.LENGTH:
                kind, status = "response.incomplete", ResponseStatus.INCOMPLETE
                reason = "max_output_tokens"
            case FinishReason.CANCELLED:
                kind, status, reason = "response.incomplete", ResponseStatus.CANCELLED, None
            case _:
                assert_never(event.reason)
        self._record = replace(
            self._record,
            status=status,
            incomplete_reason=reason,
            usage=event.usage,
            completed_at=datetime.fromtimestamp(event.at_unix_s, UTC),
            output_items=_ordered(self._done),
        )
        yield self._event(kind, response=render_response(self._record))

    def _failed(self, event: Failed) -> Iterator[JsonObject]:
        yield from self._close("incomplete")
        yield from self._give_up_calls()
        self._record = replace(
            self._record,
            status=ResponseStatus.FAILED,
            error_code=event.code,
            error_message=event.message,
            completed_at=datetime.fromtimestamp(event.at_unix_s, UTC),
            output_items=_ordered(self._done),
        )
        yield self._event("response.failed", response=render_response(self._record))


def _ordered(items: Mapping[int, Item]) -> tuple[Item, ...]:
    return tuple(items[index] for index in sorted(items))


def settled_record(record: ResponseRecord, events: Iterable[LogEvent]) -> ResponseRecord:
    """The final record that a complete log amounts to."""
    fold = ResponseEvents(record)
    for event in events:
        if type(event) is TextDelta and fold.skip_text(event.text):
            continue
        for _ in fold.apply(event):
            pass
    return fold.record
