"""Messages to token ids, in the model's own dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from serve.domain.errors import InvalidRequest
from serve.domain.messages import ChatMessage, NativeMediaPart, TextPart, ToolSpec

# What transformers' chat templates take is untyped JSON.
_TemplateMessage = dict[str, Any]


class ChatPrompts:
    """Renders with the tokenizer's chat template. Call from one thread at a time."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        special = [each.content for each in tokenizer.added_tokens_decoder.values() if each.special]
        self._special = re.compile("|".join(map(re.escape, special))) if special else None

    def token_ids(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec]) -> list[int]:
        """The prompt, ready for the assistant's turn; a medium is one placeholder token.

        Raises:
            InvalidRequest: The model's template refuses these messages.
        """
        from jinja2.exceptions import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                [self._message(message) for message in messages],
                tools=[_tool(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=True,
            )
        except TemplateError as error:
            raise InvalidRequest(
                f"the model's chat template refuses these messages: {error}", param="input"
            ) from error
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _message(self, message: ChatMessage) -> _TemplateMessage:
        rendered: _TemplateMessage = {"role": message.role, "content": self._content(message)}
        if message.tool_calls:
            rendered["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            rendered["tool_call_id"] = message.tool_call_id
        return rendered

    def _content(self, message: ChatMessage) -> str | list[dict[str, str]]:
        if not any(isinstance(part, NativeMediaPart) for part in message.parts):
            return "".join(
                self._harmless(part.text) for part in message.parts if isinstance(part, TextPart)
            )
        return [
            {"type": "text", "text": self._harmless(part.text)}
            if isinstance(part, TextPart)
            else {"type": part.media.kind.value}
            for part in message.parts
        ]

    def _harmless(self, text: str) -> str:
        """Control tokens spelt out by a person, a page or a picture must not control anything."""
        if self._special is None:
            return text
        return self._special.sub(lambda found: f"{found[0][:1]} {found[0][1:]}", text)


def _arguments(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": json.loads(tool.parameters_json or "{}"),
        },
    }
