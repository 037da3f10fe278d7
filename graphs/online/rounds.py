"""What a response's log says about its rounds: who has still to act. Pure.

In a round the model writes text and calls. When the calls of tools of ours are answered, the next
round begins, with all that was said and found out before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from serve.domain.messages import (
    Generated,
    LogEntry,
    RoundStarted,
    TextDelta,
    ToolAnswered,
    ToolArgumentsDelta,
    ToolCall,
    ToolCallStarted,
    Usage,
)
from serve.domain.records import Item, JsonObject

_NOW_ANSWER = "[Now answer me in plain words, in a short sentence or two.]"


@dataclass(slots=True)
class Round:
    """One turn of the model, and what tools answered to it."""

    number: int = 1
    text: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    answers: dict[str, ToolAnswered] = field(default_factory=dict)
    generated: Generated | None = None

    def unanswered(self, names: Collection[str]) -> list[ToolCall]:
        """Calls, of the tools of these names, that have no answer yet. None while it writes."""
        if self.generated is None:
            return []
        return [
            call for call in self.calls if call.name in names and call.call_id not in self.answers
        ]

    def goes_on(self, names: Collection[str]) -> bool:
        """Whether the model is to read what these tools answered.

        Not where it called others as well: then the client has to act first.
        """
        called = [call.name in names for call in self.calls]
        return self.generated is not None and bool(called) and all(called)


def rounds_of(entries: Iterable[LogEntry]) -> list[Round]:
    """Every round, the current one last; there is always one."""
    rounds = [Round()]
    for _, event in entries:
        now = rounds[-1]
        match event:
            case RoundStarted(number=number):
                rounds.append(Round(number))
            case TextDelta(text=text):
                now.text.append(text)
            case ToolCallStarted(call_id=call_id, name=name):
                now.calls.append(ToolCall(call_id=call_id, name=name, arguments=""))
            case ToolArgumentsDelta(arguments=arguments) if now.calls:
                last = now.calls.pop()
                whole = last.arguments + arguments
                now.calls.append(ToolCall(call_id=last.call_id, name=last.name, arguments=whole))
            case ToolAnswered(call_id=call_id):
                now.answers[call_id] = event
            case Generated():
                now.generated = event
            case _:
                pass
    return rounds


def items_of(rounds: Iterable[Round], *, in_words: bool) -> Iterator[Item]:
    """What was said and found out in rounds, as the model reads it.

    ``in_words``: for a model that may call nothing any more. Small ones answer calls that they
    see with more of them.
    """
    for each in rounds:
        text = "".join(each.text)
        if text:
            yield _said("assistant", text, each, "text")
        if in_words:
            told = " ".join(f"[{_outcome(each, call)}]" for call in each.calls)
            yield _said("assistant", told, each, "told")
            yield _said("user", _NOW_ANSWER, each, "answer")
            continue
        for call in each.calls:
            yield _item(
                {
                    "type": "function_call",
                    "call_id": call.call_id,
                    "name": call.name,
                    "arguments": call.arguments,
                },
                each,
                call.call_id,
            )
            yield _item(
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": _outcome(each, call),
                },
                each,
                f"{call.call_id}-answer",
            )


def _outcome(of: Round, call: ToolCall) -> str:
    answer = of.answers.get(call.call_id)
    return answer.output if answer else "no answer"


def usage_of(rounds: Iterable[Round]) -> Usage:
    """Tokens of all rounds together."""
    done = [each.generated.usage for each in rounds if each.generated is not None]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in done),
        cached_tokens=sum(usage.cached_tokens for usage in done),
        output_tokens=sum(usage.output_tokens for usage in done),
    )


def _said(role: str, text: str, of: Round, name: str) -> Item:
    kind = "output_text" if role == "assistant" else "input_text"
    part = {"type": kind, "text": text}
    return _item({"type": "message", "role": role, "content": [part]}, of, name)


def _item(body: JsonObject, of: Round, name: str) -> Item:
    return Item(id=f"round-{of.number}-{name}", body=body)
