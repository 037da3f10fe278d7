"""From a conversation and what was perceived in it to the generator's messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from graphs.online.excerpts import document_notes, recording_notes
from graphs.online.timeline import video_notes
from serve.domain.errors import InternalError
from serve.domain.messages import (
    AudioPerception,
    ChatMessage,
    DocumentPerception,
    ImagePerception,
    MessagePart,
    NativeMediaPart,
    Perception,
    Role,
    TextPart,
    ToolCall,
    VideoPerception,
)
from serve.domain.records import Item, JsonObject
from serve.protocol.server_tools import told_in_words


@dataclass(frozen=True, slots=True)
class NativeFilm:
    """A video whose frames the generator sees itself, while it is told what was heard in it."""

    frames: NativeMediaPart
    sound: AudioPerception


Seen = Perception | NativeMediaPart | NativeFilm
"""What the prompt has of a medium: words about it, features of it, or both."""

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}

_MAX_TEXT_LINES = 80

GROUNDING = (
    "The user can attach pictures, recordings, videos and documents. Perception models have "
    "looked at them, listened to them and read them for you; their notes stand in square "
    "brackets. Treat the notes as what you see, hear and read yourself: answer from them, do not "
    "mention the notes, and do not invent what they leave out."
)


@dataclass(slots=True)
class _Telling:
    """What is told so far, and what the telling is for."""

    question: str = ""
    pictures: int = 0
    recordings: int = 0
    videos: int = 0
    documents: int = 0


def assemble(
    items: Sequence[Item], seen: Mapping[str, Seen], *, instructions: str | None
) -> tuple[ChatMessage, ...]:
    """Messages for the chat template, oldest first.

    Args:
        items: the whole conversation, this turn included.
        seen: by asset id; a medium that is missing was deleted by its owner.
        instructions: the caller's system prompt for this turn.
    """
    system = [instructions] if instructions else []
    if any(not isinstance(what, NativeMediaPart) for what in seen.values()):
        system.append(GROUNDING)
    messages: list[ChatMessage] = []
    if system:
        messages.append(ChatMessage(role="system", parts=(TextPart("\n\n".join(system)),)))
    telling = _Telling(_question(items))
    for item in items:
        _append(messages, item.body, seen, telling)
    return tuple(messages)


def _question(items: Sequence[Item]) -> str:
    """The text of the last user message."""
    for item in reversed(items):
        if item.body["type"] == "message" and item.body["role"] == "user":
            parts = item.body["content"]
            return " ".join(part["text"] for part in parts if part["type"] == "input_text")
    return ""


def _append(
    messages: list[ChatMessage],
    body: JsonObject,
    seen: Mapping[str, Seen],
    telling: _Telling,
) -> None:
    match body["type"]:
        case "message":
            parts = chain.from_iterable(_parts(part, seen, telling) for part in body["content"])
            messages.append(ChatMessage(role=_ROLES[body["role"]], parts=tuple(parts)))
        case "function_call":
            call = ToolCall(call_id=body["call_id"], name=body["name"], arguments=body["arguments"])
            last = messages[-1] if messages else None
            if last is not None and last.role == "assistant":
                # The template wants the text and the calls of one turn in one message.
                messages[-1] = ChatMessage(
                    role="assistant", parts=last.parts, tool_calls=(*last.tool_calls, call)
                )
            else:
                messages.append(ChatMessage(role="assistant", tool_calls=(call,)))
        case "function_call_output":
            messages.append(
                ChatMessage(
                    role="tool",
                    parts=(TextPart(body["output"]),),
                    tool_call_id=body["call_id"],
                )
            )
        case "image_generation_call" | "file_search_call" | "custom_tool_call":
            told = TextPart(told_in_words(body))
            messages.append(ChatMessage(role="assistant", parts=(told,)))
        case unknown:
            raise InternalError(f"an item of type {unknown!r} was stored")


def _parts(
    part: JsonObject, seen: Mapping[str, Seen], telling: _Telling
) -> tuple[MessagePart, ...]:
    match part["type"]:
        case "input_text" | "output_text":
            return (TextPart(part["text"]),)
        case "refusal":
            return (TextPart(part["refusal"]),)
        case _:
            match seen.get(part["file_id"]):
                case None:
                    return (TextPart("[An attachment that its owner has deleted.]"),)
                case NativeMediaPart() as native:
                    return (native,)
                case NativeFilm(frames, sound):
                    telling.videos += 1
                    said = recording_notes(
                        sound, telling.videos, telling.question, called="Sound of video"
                    )
                    return (frames, TextPart(said))
                case perception:
                    return (TextPart(_notes(perception, telling)),)


def notes_of(perception: Perception) -> str:
    """Words about one medium that stands alone."""
    return _notes(perception, _Telling()).strip().strip("[]")


def _notes(perception: Perception, telling: _Telling) -> str:
    match perception:
        case ImagePerception() as picture:
            telling.pictures += 1
            return _picture_notes(picture, telling.pictures)
        case AudioPerception() as recording:
            telling.recordings += 1
            return recording_notes(recording, telling.recordings, telling.question)
        case VideoPerception() as video:
            telling.videos += 1
            return video_notes(video, telling.videos, telling.question)
        case DocumentPerception() as document:
            telling.documents += 1
            return document_notes(document, telling.documents, telling.question)


def _picture_notes(picture: ImagePerception, number: int) -> str:
    notes = f"[Picture {number}: {picture.description}"
    lines = [line.text for line in picture.text_lines[:_MAX_TEXT_LINES]]
    # A description has the beginning of a long text only.
    if any(line not in picture.description for line in lines):
        notes += "\nAll of its text:\n" + "\n".join(lines)
    return notes + "]\n"
