"""A response's log as the events of a realtime connection.

A fold without choices, so that any process that reads the log goes on where another one stopped.
What is said follows the text at its own pace: ``spoken`` closes what the log alone cannot.
Source: https://platform.openai.com/docs/api-reference/realtime-server-events
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from serve.domain.messages import (
    Failed,
    Finished,
    FinishReason,
    LogEvent,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    Usage,
)
from serve.domain.realtime import WireFormat
from serve.domain.records import JsonObject
from serve.protocol.realtime_items import item_head

CutReason = Literal["turn_detected", "client_cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """What of a response is decided before it begins, in JSON's own types.

    ``conversation_id`` is None for a response beside the conversation.
    """

    response_id: str
    modality: Literal["text", "audio"]
    voice: str
    speech_model: str
    speed: float
    format: WireFormat
    max_output_tokens: int | None
    conversation_id: str | None
    metadata: dict[str, str] | None = None


@dataclass(slots=True)
class _Item:
    """An output item in the making."""

    item_id: str
    index: int
    call: ToolCallStarted | None = None
    text: list[str] = field(default_factory=list)


class AnswerEvents:
    """Folds one response. Events lack their ids, which belong to the connection."""

    def __init__(self, plan: AnswerPlan) -> None:
        self._plan = plan
        self._suffix = plan.response_id.removeprefix("resp_")
        self._open: _Item | None = None
        self._to_say: list[_Item] = []
        self._n_items = 0
        self._output: dict[int, JsonObject] = {}
        self._end: Finished | Failed | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the log is over."""
        return self._end is not None

    @property
    def speaking_item(self) -> str | None:
        """The item whose sound comes now or next."""
        if self._to_say:
            return self._to_say[0].item_id
        return self._open.item_id if self._open is not None and self._speaks else None

    @property
    def output(self) -> list[JsonObject]:
        """The items so far."""
        return [self._output[index] for index in sorted(self._output)]

    @property
    def _speaks(self) -> bool:
        return self._plan.modality == "audio"

    def opening(self) -> JsonObject:
        """Before anything is written."""
        return {"type": "response.created", "response": self._response("in_progress", None)}

    def apply(self, event: LogEvent) -> Iterator[JsonObject]:
        """What an event of the log amounts to; most that is not text or a call, to nothing."""
        match event:
            case TextDelta(text=text) if text:
                yield from self._text(text)
            case ToolCallStarted():
                yield from self._close("completed")
                yield from self._begin(event)
            case ToolArgumentsDelta(arguments=arguments) if self._open is not None:
                self._open.text.append(arguments)
                yield self._delta("response.function_call_arguments.delta", arguments)
            case Finished(reason=reason):
                whole = reason in (FinishReason.STOP, FinishReason.TOOL_CALLS)
                yield from self._close("completed" if whole else "incomplete")
                self._end = event
            case Failed():
                yield from self._close("incomplete")
                self._end = event
            case _:
                return

    def audio(self, delta: str) -> JsonObject:
        """More sound, base64, of ``speaking_item``."""
        item = self._to_say[0] if self._to_say else self._open
        if item is None:
            raise RuntimeError("nothing is being said")
        return self._of(item, "response.output_audio.delta", content_index=0, delta=delta)

    def spoken(self, *, status: str = "completed") -> Iterator[JsonObject]:
        """All sound of the first text that is closed has been sent."""
        if self._to_say:
            item = self._to_say.pop(0)
            yield self._of(item, "response.output_audio.done", content_index=0)
            yield from self._part_done(item, status)

    def closing(self, *, failed: Failed | None = None) -> JsonObject:
        """The last event."""
        end = failed or self._end
        match end:
            case Finished(reason=FinishReason.CANCELLED):
                details: JsonObject = {"type": "cancelled", "reason": "client_cancelled"}
            case Finished(reason=FinishReason.LENGTH):
                details = {"type": "incomplete", "reason": "max_output_tokens"}
            case Finished():
                details = {"type": "completed"}
            case Failed(code=code, message=message):
                error = {"type": "server_error", "code": code, "message": message}
                details = {"type": "failed", "error": error}
            case _:
                raise RuntimeError("the response has not ended")
        usage = end.usage if isinstance(end, Finished) else Usage()
        return self._done(details, usage)

    def cut(self, reason: CutReason, usage: Usage) -> Iterator[JsonObject]:
        """It was stopped on the way."""
        yield from self._break_off()
        yield self._done({"type": "cancelled", "reason": reason}, usage)

    def broken(self, failed: Failed) -> Iterator[JsonObject]:
        """It cannot be told on."""
        yield from self._break_off()
        yield self.closing(failed=failed)

    def _break_off(self) -> Iterator[JsonObject]:
        yield from self._close("incomplete")
        while self._to_say:
            yield from self.spoken(status="incomplete")

    # --- items --------------------------------------------------------------------------------

    def _text(self, text: str) -> Iterator[JsonObject]:
        if self._open is None or self._open.call is not None:
            yield from self._close("completed")
            yield from self._begin(None)
        if self._open is not None:
            self._open.text.append(text)
        name = "output_audio_transcript" if self._speaks else "output_text"
        yield self._delta(f"response.{name}.delta", text)

    def _begin(self, call: ToolCallStarted | None) -> Iterator[JsonObject]:
        prefix = "msg" if call is None else "fc"
        item = _Item(f"{prefix}_{self._suffix}_{self._n_items}", self._n_items, call)
        self._n_items += 1
        self._open = item
        body = self._body(item, "in_progress")
        if call is None:
            body["content"] = []
        self._output[item.index] = body
        yield self._of_response("response.output_item.added", output_index=item.index, item=body)
        if self._plan.conversation_id is not None:
            yield {"type": "conversation.item.added", "item": body}
        if call is None:
            part = self._part(item)
            yield self._of(item, "response.content_part.added", content_index=0, part=part)

    def _close(self, status: str) -> Iterator[JsonObject]:
        item, self._open = self._open, None
        if item is None:
            return
        text = "".join(item.text)
        if item.call is not None:
            call = {"call_id": item.call.call_id, "name": item.call.name, "arguments": text}
            yield self._of(item, "response.function_call_arguments.done", **call)
            yield from self._item_done(item, status)
        elif self._speaks:
            kind = "response.output_audio_transcript.done"
            yield self._of(item, kind, content_index=0, transcript=text)
            self._to_say.append(item)
            self._output[item.index] = self._body(item, status)
        else:
            yield self._of(item, "response.output_text.done", content_index=0, text=text)
            yield from self._part_done(item, status)

    def _part_done(self, item: _Item, status: str) -> Iterator[JsonObject]:
        part = self._part(item)
        yield self._of(item, "response.content_part.done", content_index=0, part=part)
        yield from self._item_done(item, status)

    def _item_done(self, item: _Item, status: str) -> Iterator[JsonObject]:
        body = self._body(item, status)
        self._output[item.index] = body
        yield self._of_response("response.output_item.done", output_index=item.index, item=body)
        if self._plan.conversation_id is not None:
            yield {"type": "conversation.item.done", "item": body}

    def _body(self, item: _Item, status: str) -> JsonObject:
        text = "".join(item.text)
        if item.call is not None:
            call = {"call_id": item.call.call_id, "name": item.call.name, "arguments": text}
            return item_head(item.item_id, "function_call", status) | call
        part = (
            {"type": "output_audio", "transcript": text}
            if self._speaks
            else {"type": "output_text", "text": text}
        )
        head = item_head(item.item_id, "message", status)
        return head | {"role": "assistant", "content": [part]}

    def _part(self, item: _Item) -> JsonObject:
        text = "".join(item.text)
        return (
            {"type": "audio", "transcript": text}
            if self._speaks
            else {"type": "text", "text": text}
        )

    # --- events -------------------------------------------------------------------------------

    def _delta(self, kind: str, delta: str) -> JsonObject:
        item = self._open
        if item is None:
            raise RuntimeError("no item is open")
        if item.call is not None:
            return self._of(item, kind, call_id=item.call.call_id, delta=delta)
        return self._of(item, kind, content_index=0, delta=delta)

    def _of(self, item: _Item, kind: str, **fields: object) -> JsonObject:
        place = {"item_id": item.item_id, "output_index": item.index}
        return self._of_response(kind, **place, **fields)

    def _of_response(self, kind: str, **fields: object) -> JsonObject:
        return {"type": kind, "response_id": self._plan.response_id, **fields}

    def _done(self, details: JsonObject, usage: Usage) -> JsonObject:
        told = self._response(details["type"], details) | {"usage": render_usage(usage)}
        return {"type": "response.done", "response": told}

    def _response(self, status: str, details: JsonObject | None) -> JsonObject:
        plan = self._plan
        form: JsonObject = {"type": plan.format.value}
        if plan.format is WireFormat.PCM:
            form["rate"] = plan.format.rate_hz
        return {
            "object": "realtime.response",
            "id": plan.response_id,
            "status": status,
            "status_details": details,
            "output": self.output,
            "conversation_id": plan.conversation_id,
            "output_modalities": [plan.modality],
            "max_output_tokens": plan.max_output_tokens or "inf",
            "audio": {"output": {"format": form, "voice": plan.voice}},
            "usage": None,
            "metadata": plan.metadata,
        }


_NO_SOUND: Final = {"audio_tokens": 0, "image_tokens": 0}


def render_usage(usage: Usage) -> JsonObject:
    """Tokens as the realtime API counts them; sound is made of text here."""
    cached = {"text_tokens": usage.cached_tokens, **_NO_SOUND}
    return {
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_tokens,
            **_NO_SOUND,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": cached,
        },
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }
