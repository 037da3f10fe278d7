"""An answer's tokens to its events, cut at safe boundaries.

The same tokens give the same events however the engine's steps group them, and a generator that
takes over feeds the tokens of its predecessor to be in the same state.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tokenizers.decoders import DecodeStream

from deployments.generation.stop_strings import StopStrings
from deployments.generation.tool_calls import FoundCall, Piece, PlainText, ToolCallParser
from serve.domain.messages import LogEvent, TextDelta, ToolArgumentsDelta, ToolCallStarted

# Enough of the prompt for a tokenizer whose first word looks different from the others.
_CONTEXT_TOKENS: Final = 8


class Detokenizer:
    """Tokens to text, one by one."""

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int]) -> None:
        """``tokenizer``: one of the tokenizers package."""
        self._tokenizer = tokenizer
        self._stream = DecodeStream(list(prompt_ids[-_CONTEXT_TOKENS:]), skip_special_tokens=True)

    def step(self, token_id: int) -> str:
        """The text that is complete with this token; empty inside of a character."""
        try:
            return self._stream.step(self._tokenizer, token_id) or ""
        except Exception as error:
            # The package has no type for it: bytes that change how earlier ones read.
            if "Invalid prefix" not in str(error):
                raise
            self._stream = DecodeStream(skip_special_tokens=True)
            return self._stream.step(self._tokenizer, token_id) or ""


class AnswerAssembler:
    """Feed it tokens, then ``close`` it.

    What may become a stop string or a tool call is held back, with the whole tokens it is part of.
    With ``one_call`` the answer is over behind its first call.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        *,
        stop: tuple[str, ...] = (),
        tools: Iterable[str] = (),
        one_call: bool = False,
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = StopStrings(stop)
        names = frozenset(tools)
        self._parser = ToolCallParser(names) if names else None
        self._one_call = one_call
        self._pieces: list[Piece] = []
        self._ids: list[int] = []
        # How many of these ids are whole characters.
        self._n_whole = 0
        self.n_fed = 0
        self.n_calls = 0

    @property
    def has_its_one_call(self) -> bool:
        """It may call once, and has."""
        return self._one_call and self.n_calls > 0

    @property
    def is_over(self) -> bool:
        """A stop string was found, or the one call."""
        return self._stops.is_found or self.has_its_one_call

    def feed(self, ids: Iterable[int]) -> list[LogEvent]:
        """Events of whole groups of tokens. Nothing behind the answer's end is looked at."""
        events: list[LogEvent] = []
        for token_id in ids:
            if self.is_over:
                break
            self.n_fed += 1
            self._ids.append(token_id)
            text = self._detokenizer.step(token_id)
            if text:
                self._n_whole = len(self._ids)
                self._pieces += self._parsed(self._stops.feed(text))
                if not self._is_holding:
                    events += self._group(tuple(self._ids))
        return events

    def close(self) -> list[LogEvent]:
        """The rest. Tokens are left out where a stop string or half a character ends it."""
        self._pieces += self._parsed(self._stops.close())
        if self._parser:
            self._pieces += self._parser.close()
        return self._group(() if self._stops.is_found else tuple(self._ids[: self._n_whole]))

    @property
    def _is_holding(self) -> bool:
        return (
            self._stops.is_holding
            or self._stops.is_found
            or (self._parser is not None and self._parser.is_holding)
        )

    def _parsed(self, text: str) -> list[Piece]:
        if not text:
            return []
        return self._parser.feed(text) if self._parser else [PlainText(text)]

    def _group(self, ids: tuple[int, ...]) -> list[LogEvent]:
        """Events of these pieces; the last one has the tokens of them all."""
        events: list[LogEvent] = []
        for number, piece in enumerate(self._pieces, 1):
            of_event = ids if number == len(self._pieces) else ()
            match piece:
                case PlainText(text):
                    events.append(TextDelta(text, of_event))
                case FoundCall(name, arguments):
                    call_id = f"call_{secrets.token_hex(12)}"
                    events.append(ToolCallStarted(self.n_calls, call_id, name))
                    events.append(ToolArgumentsDelta(self.n_calls, arguments, of_event))
                    self.n_calls += 1
        self._pieces.clear()
        if events:
            self._ids.clear()
            self._n_whole = 0
        return events
