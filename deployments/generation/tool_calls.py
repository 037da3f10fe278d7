"""Finds tool calls in a model's text while it is being written. Pure.

Hermes-style models wrap each call in ``<tool_call>`` tags. Small ones often forget the tags and
write the same JSON object bare, in a code fence or in the ``<tools>`` tags of their prompt; a
well-formed call of an offered tool is accepted in these places too. What does not turn out to
be one comes out as the text that it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text for the person who asked."""

    text: str


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A whole call. ``arguments`` is the JSON text of an object."""

    name: str
    arguments: str


Piece = PlainText | FoundCall

_CLOSERS: Final = {
    "<tool_call>": "</tool_call>",
    "<tools>": "</tools>",
    "```": "```",
    "{": "",
}
_MARKED: Final = tuple(opener for opener in _CLOSERS if opener != "{")
_FENCE_LANGUAGES: Final = ("json", "tool_call", "xml", "")
_CALL_START: Final = '{"name":"'
_SPACE: Final = re.compile(r"\s+")


class ToolCallParser:
    """Feed it deltas, then ``close`` it. Text without calls comes out unchanged."""

    def __init__(self, tools: frozenset[str]) -> None:
        self._tools = tools
        self._buffer = ""
        self._space = ""
        self._any_call = False
        self._bare_may_begin = True

    def feed(self, delta: str) -> list[Piece]:
        """What is certain now. May hold back text that could become a call."""
        self._buffer += delta
        return list(self._take(ended=False))

    def close(self) -> list[Piece]:
        """The rest. Space around calls is dropped."""
        pieces = list(self._take(ended=True))
        if self._space and not self._any_call:
            pieces.append(PlainText(self._space))
        return pieces

    @property
    def is_holding(self) -> bool:
        """Some of the text fed so far is neither out nor dropped."""
        return bool(self._buffer or self._space)

    def _take(self, *, ended: bool) -> Iterator[Piece]:
        while self._buffer:
            found = self._next_opener()
            if found is None:
                kept = 0 if ended else self._unfinished_opener()
                cut = len(self._buffer) - kept
                text, self._buffer = self._buffer[:cut], self._buffer[cut:]
                yield from self._text(text)
                return
            start, opener = found
            yield from self._text(self._buffer[:start])
            self._buffer = self._buffer[start:]
            end = self._end_of_call(opener, ended=ended)
            if end is None:
                return
            calls = self._calls(self._buffer[len(opener) : end], opener)
            if calls:
                end += (
                    len(_CLOSERS[opener]) if self._buffer[end:].startswith(_CLOSERS[opener]) else 0
                )
                self._buffer = self._buffer[end:]
                self._space = ""
                self._any_call = self._bare_may_begin = True
                yield from calls
            else:
                yield from self._text(opener)
                self._bare_may_begin = False
                self._buffer = self._buffer[len(opener) :]

    def _next_opener(self) -> tuple[int, str] | None:
        if self._bare_may_begin and self._buffer.lstrip().startswith("{"):
            return self._buffer.index("{"), "{"
        places = [(self._buffer.find(opener), opener) for opener in _MARKED]
        return min((each for each in places if each[0] >= 0), default=None)

    def _unfinished_opener(self) -> int:
        """How many last characters could be the beginning of an opener."""
        longest = max(map(len, _MARKED)) - 1
        for length in range(min(longest, len(self._buffer)), 0, -1):
            tail = self._buffer[-length:]
            if any(opener.startswith(tail) for opener in _MARKED):
                return length
        return 0

    def _end_of_call(self, opener: str, *, ended: bool) -> int | None:
        """Where the call's content ends; the length of the opener if it is none; None: unclear."""
        content = self._buffer[len(opener) :]
        if not _may_be_call(content, opener):
            return len(opener)
        if closer := _CLOSERS[opener]:
            at = content.find(closer)
        else:
            at = _end_of_json("{" + content) - 1
        if at >= 0:
            return len(opener) + at
        return len(self._buffer) if ended else None

    def _calls(self, content: str, opener: str) -> list[FoundCall]:
        """All calls in there, or none if anything else is in there."""
        if opener == "```":
            content = _without_language(content)
        rest = ("{" if opener == "{" else "") + content
        calls = []
        while rest := rest.strip():
            try:
                value, end = _DECODER.raw_decode(rest)
            except (ValueError, RecursionError):
                return []
            call = self._call(value)
            if call is None:
                return []
            calls.append(call)
            rest = rest[end:]
        return calls

    def _call(self, value: object) -> FoundCall | None:
        if not isinstance(value, dict):
            return None
        name = value.get("name")
        arguments = value.get("arguments", value.get("parameters", {}))
        if not isinstance(name, str) or name not in self._tools or not isinstance(arguments, dict):
            return None
        return FoundCall(name, json.dumps(arguments, ensure_ascii=False))

    def _text(self, text: str) -> Iterator[Piece]:
        """Hold back space at the end: it is dropped when a call follows."""
        text = self._space + text
        visible = text.rstrip()
        self._space = text[len(visible) :]
        if visible:
            self._bare_may_begin = False
            yield PlainText(visible)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Not strict: models write line breaks into strings. What we pass on is strict again.
_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)


def _may_be_call(content: str, opener: str) -> bool:
    """Whether more text could make this a call. Tags are always given the chance."""
    if opener == "```":
        line, newline, rest = content.partition("\n")
        if not newline:
            return any(each.startswith(line.strip()) for each in _FENCE_LANGUAGES)
        if line.strip() not in _FENCE_LANGUAGES:
            return False
        content = rest.lstrip()
    elif opener == "{":
        content = "{" + content
    else:
        return True
    # Long enough for the beginning of a call with generous spacing.
    compact = _SPACE.sub("", content[:64])[: len(_CALL_START)]
    return _CALL_START.startswith(compact)


def _without_language(content: str) -> str:
    line, newline, rest = content.partition("\n")
    return rest if newline and line.strip() in _FENCE_LANGUAGES else content


def _end_of_json(text: str) -> int:
    """Length of the JSON value at the start, 0 while it is incomplete."""
    if not text.rstrip().endswith("}") and "}" not in text:
        return 0
    try:
        return _DECODER.raw_decode(text)[1]
    except (ValueError, RecursionError):
        return 0
