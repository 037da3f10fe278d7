"""From a conversation and what was perceived in it to the generator's messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from serve.protocol.server_tools import model_view

Seen = Perception | NativeMediaPart
"""What the prompt has of a medium: words about it, or features of it."""

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}

GROUNDING = (
    "The user can attach pictures and recordings. Perception models have looked at and listened "
    "to them for you; their notes stand in square brackets. Treat the notes as what you see and "
    "hear yourself: answer from them, do not mention the notes, and do not invent what they "
    "leave out."
)


@dataclass(slots=True)
class _Counters:
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
    counters = _Counters()
    for item in items:
        _append(messages, item.body, seen, counters)
    return tuple(messages)


def _append(
    messages: list[ChatMessage],
    body: JsonObject,
    seen: Mapping[str, Seen],
    counters: _Counters,
) -> None:
    match body["type"]:
        case "message":
            parts = tuple(_part(part, seen, counters) for part in body["content"])
            messages.append(ChatMessage(role=_ROLES[body["role"]], parts=parts))
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
            for view in model_view(body):
                _append(messages, view, seen, counters)
        case unknown:
            raise InternalError(f"an item of type {unknown!r} was stored")


def _part(part: JsonObject, seen: Mapping[str, Seen], counters: _Counters) -> MessagePart:
    match part["type"]:
        case "input_text" | "output_text":
            return TextPart(part["text"])
        case "refusal":
            return TextPart(part["refusal"])
        case _:
            match seen.get(part["file_id"]):
                case None:
                    return TextPart("[An attachment that its owner has deleted.]")
                case NativeMediaPart() as native:
                    return native
                case perception:
                    return TextPart(_notes(perception, counters))


def notes_of(perception: Perception) -> str:
    """Words about one medium that stands alone."""
    return _notes(perception, _Counters()).strip().strip("[]")


def _notes(perception: Perception, counters: _Counters) -> str:
    match perception:
        case ImagePerception() as picture:
            counters.pictures += 1
            return _picture_notes(picture, counters.pictures)
        case AudioPerception() as recording:
            counters.recordings += 1
            return _recording_notes(recording, counters.recordings)
        case VideoPerception() as video:
            counters.videos += 1
            return video_notes(video, counters.videos)
        case DocumentPerception() as document:
            counters.documents += 1
            return _document_notes(document, counters.documents)


def _picture_notes(picture: ImagePerception, number: int) -> str:
    notes = [f"[Picture {number}: {picture.description}"]
    if picture.labels:
        likely = ", ".join(f"{label.name} {label.score:.0%}" for label in picture.labels[:3])
        notes.append(f"It most likely shows: {likely}.")
    if picture.objects:
        names = ", ".join(found.name for found in picture.objects[:12])
        notes.append(f"Objects found: {names}.")
    if picture.text_lines:
        lines = "\n".join(line.text for line in picture.text_lines[:80])
        notes.append(f"Text in the picture:\n{lines}")
    return " ".join(notes) + "]\n"


def _recording_notes(recording: AudioPerception, number: int) -> str:
    spoken = recording.transcript
    about = f"[Recording {number}, {recording.duration_s:.0f} s"
    if not spoken:
        sounds = ", ".join(tag.name for tag in recording.sound_tags[:3]) or "nothing"
        return f"{about}, no speech. Sounds heard: {sounds}.]\n"
    return f'{about}. The speaker says: "{spoken}"]\n'


def _document_notes(document: DocumentPerception, number: int) -> str:
    pages = "\n".join(f"Page {page.number}: {page.text}" for page in document.pages)
    return f'[Document {number}, "{document.title}", {len(document.pages)} pages.\n{pages}]\n'
