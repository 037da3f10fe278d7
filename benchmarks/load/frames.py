"""Server-sent events, read as cheaply as bytes allow, and judged when the stream is over.

While tokens arrive only what a measurement needs is looked at: whether an event carries text, and
its sequence number. JSON is parsed for the first and the last event, or for all of them at the end
when the text itself is wanted.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from typing import Any, Literal

import orjson

Api = Literal["chat", "responses"]

_CHAT_TEXT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments|text)":\s*"(?!")', re.ASCII
)
_TYPE = re.compile(rb'"type":\s*"((?:response|error)[a-z_.]*)"')
_NUMBER = re.compile(rb'"sequence_number":\s*(\d+)')


class ReplyReader:
    """One request's reply, over as many connections as it took.

    Attributes:
        is_whole: the last event of the protocol was seen.
        last_number: sequence number of the last event that counts; -1 before any.
    """

    def __init__(self, api: Api, *, streams: bool, keeps_text: bool = False) -> None:
        self._take = self._take_chat if api == "chat" else self._take_responses
        self._api = api
        self._streams = streams
        self._keeps_text = keeps_text
        self._is_event_stream = False
        self._rest = b""
        self._events: list[bytes] = []
        self._body: list[bytes] = []
        self._last = b""
        self._queued_since_s: float | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_whole = False
        self.ended_at_s = 0.0
        self.frame_times_s: array[float] = array("d")
        self.n_bytes = 0
        self.last_number = -1
        self.n_sequence_faults = 0
        self.response_id = ""
        self.error = ""
        self.error_detail = ""
        self.queued_s: float | None = None
        self.usage: tuple[int, int] | None = None

    def head(self, status: int, headers: dict[str, str]) -> None:
        """A reply begins: the first one, or that of a retry or a resumption."""
        self.status = status
        self.headers = headers
        self._rest = b""
        self._body.clear()
        self._is_event_stream = "text/event-stream" in headers.get("content-type", "")

    def body(self, data: bytes, at_s: float) -> None:
        """Bytes of the reply."""
        self.n_bytes += len(data)
        if not self._is_event_stream:
            self._body.append(data)
            self.ended_at_s = at_s
            return
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = _with_plain_ends(data)
        start = 0
        while (end := data.find(b"\n\n", start)) >= 0:
            if end > start:
                self._event(data[start:end], at_s)
            start = end + 2
        self._rest = data[start:]

    @property
    def is_event_stream(self) -> bool:
        """The current reply streams events."""
        return self._is_event_stream

    def json(self) -> Any:
        """The current reply's body. Raises ValueError where it is no JSON."""
        return orjson.loads(b"".join(self._body))

    def _event(self, event: bytes, at_s: float) -> None:
        while event.startswith(b":"):
            comment, _, event = event.partition(b"\n")
            if comment.startswith(b": queued"):
                self._queued_since_s = self._queued_since_s or at_s
                self.queued_s = at_s - self._queued_since_s
        if event and not self.is_whole:
            if self._keeps_text:
                self._events.append(event)
            self._take(event, at_s)

    def _take_chat(self, event: bytes, at_s: float) -> None:
        if _CHAT_TEXT.search(event) is not None:
            self.frame_times_s.append(at_s)
            self._end_of_queue(at_s)
        if b'"usage"' in event:
            self._last = event
        elif event.startswith(b"data: [DONE]") or event.startswith(b"data:[DONE]"):
            self.is_whole = True
            self.ended_at_s = at_s
        elif event.startswith((b'data: {"error"', b'data:{"error"')):
            self._failed(_payload(event).get("error"))
            self.is_whole = True
            self.ended_at_s = at_s

    def _take_responses(self, event: bytes, at_s: float) -> None:
        kind = _TYPE.search(event)
        name = kind[1] if kind else b""
        number = _NUMBER.search(event)
        if number is not None and not self._counts(int(number[1])):
            return
        if name.endswith(b".delta"):
            self.frame_times_s.append(at_s)
            self._end_of_queue(at_s)
        elif name == b"response.created":
            self.response_id = _payload(event).get("response", {}).get("id", "")
        elif name in (b"response.completed", b"response.incomplete", b"response.failed", b"error"):
            self._last = event
            self.is_whole = True
            self.ended_at_s = at_s

    def _counts(self, number: int) -> bool:
        """Whether this event is new. Repeated and skipped numbers are faults."""
        if number == self.last_number + 1:
            self.last_number = number
            return True
        self.n_sequence_faults += 1
        if number <= self.last_number:
            return False
        self.last_number = number
        return True

    def _end_of_queue(self, at_s: float) -> None:
        if self._queued_since_s is not None:
            self.queued_s = at_s - self._queued_since_s
            self._queued_since_s = None

    def _failed(self, error: object) -> None:
        told = error if isinstance(error, dict) else {}
        self.error = f"error_event:{told.get('code') or told.get('type') or 'unknown'}"
        self.error_detail = str(told.get("message") or "")[:200]

    def settle(self) -> None:
        """Read what only the end tells: usage, and errors that came as an event.

        Raises:
            ValueError: an event is not JSON.
        """
        if self._is_event_stream:
            told = _payload(self._last) if self._last else {}
        else:
            told = self.json()
        if self._api == "chat":
            self._settle_usage(told.get("usage"), "prompt_tokens", "completion_tokens")
            return
        if told.get("type") == "error":
            self._failed(told.get("error") or told)
            return
        answer = told.get("response", told)
        self.response_id = answer.get("id") or self.response_id
        if answer.get("status") == "failed":
            self._failed(answer.get("error"))
        self._settle_usage(answer.get("usage"), "input_tokens", "output_tokens")

    def _settle_usage(self, usage: object, given: str, made: str) -> None:
        if isinstance(usage, dict):
            self.usage = (int(usage.get(given) or 0), int(usage.get(made) or 0))

    def text(self) -> str:
        """What the deltas add up to, or the whole answer where it was not streamed."""
        if not self._is_event_stream:
            return _whole_text(self.json())
        return "".join(self._deltas())

    def _deltas(self) -> Iterator[str]:
        for event in self._events:
            if self._api == "chat":
                if _CHAT_TEXT.search(event) is not None:
                    for choice in _payload(event).get("choices", ()):
                        yield choice.get("delta", {}).get("content") or ""
            elif b"output_text.delta" in event:
                payload = _payload(event)
                if payload.get("type") == "response.output_text.delta":
                    yield payload["delta"]

    def told_text(self) -> str | None:
        """The whole text as the last event repeats it; None where the protocol does not."""
        if self._api == "chat" or not self._last or not self._is_event_stream:
            return None
        return _whole_text(_payload(self._last).get("response", {}))


def _payload(event: bytes) -> Any:
    lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    return orjson.loads(b"\n".join(lines))


def _whole_text(answer: dict[str, Any]) -> str:
    if "choices" in answer:
        return "".join(choice["message"].get("content") or "" for choice in answer["choices"])
    return "".join(
        part.get("text", "")
        for item in answer.get("output", ())
        if item.get("type") == "message"
        for part in item.get("content", ())
    )


def _with_plain_ends(data: bytes) -> bytes:
    # A lone CR at the end may be half of a line's end: it is looked at with what follows.
    held = b"\r" if data.endswith(b"\r") else b""
    return data.removesuffix(b"\r").replace(b"\r\n", b"\n") + held
