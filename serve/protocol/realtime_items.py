"""Items of a live conversation: as clients see them, and as prompts are made of them.

An item's body is what the client sees; ``file_id`` in it is ours. Media are assets, never bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from serve.domain.ids import new_id
from serve.domain.media import MediaRef
from serve.domain.records import Item, JsonObject
from serve.protocol.items import output_text
from serve.protocol.realtime import (
    FunctionCallItem,
    InputAudioPart,
    InputImagePart,
    InputTextPart,
    MessageItem,
    NewItem,
    OutputAudioPart,
    OutputTextPart,
)


@dataclass(frozen=True, slots=True)
class SpokenPiece:
    """Words that were sent as sound, and when they sound: milliseconds from the item's start.

    ``sentence`` counts the sentences of the response.
    """

    sentence: int
    text: str
    start_ms: float
    end_ms: float

    def to_json(self) -> JsonObject:
        """For the session's store."""
        return asdict(self)


def media_of(item: NewItem) -> tuple[InputAudioPart | InputImagePart, ...]:
    """The media that a new item brings, in order."""
    if not isinstance(item, MessageItem):
        return ()
    return tuple(p for p in item.content if isinstance(p, InputAudioPart | InputImagePart))


def new_item(item: NewItem, media: Sequence[MediaRef]) -> JsonObject:
    """The body of what a client added. ``media``: the asset of each of ``media_of(item)``."""
    match item:
        case MessageItem():
            remaining = iter(media)
            parts = [_new_part(part, remaining) for part in item.content]
            rest: JsonObject = {"role": item.role, "content": parts}
            prefix = "msg"
        case FunctionCallItem():
            call_id = item.call_id or new_id("call")
            rest = {"call_id": call_id, "name": item.name, "arguments": item.arguments}
            prefix = "fc"
        case _:
            rest = {"call_id": item.call_id, "output": item.output}
            prefix = "fco"
    return item_head(item.id or new_id(prefix), item.type) | rest


def item_head(item_id: str, kind: str, status: str = "completed") -> JsonObject:
    """What all items begin with."""
    return {"id": item_id, "object": "realtime.item", "type": kind, "status": status}


def spoken_turn(item_id: str) -> JsonObject:
    """A turn that a person has just said, before it is known what."""
    part = {"type": "input_audio", "transcript": None, "file_id": None}
    return item_head(item_id, "message") | {"role": "user", "content": [part]}


def _new_part(part: Any, media: Iterator[MediaRef]) -> JsonObject:
    match part:
        case InputAudioPart():
            asset = next(media).asset_id
            return {"type": "input_audio", "transcript": part.transcript, "file_id": asset}
        case InputImagePart():
            asset = next(media).asset_id
            return {"type": "input_image", "file_id": asset, "detail": part.detail}
        case OutputAudioPart():
            return {"type": "output_audio", "transcript": part.transcript}
        case OutputTextPart():
            return {"type": "output_text", "text": part.text}
        case InputTextPart():
            return {"type": "input_text", "text": part.text}
        case _:
            raise TypeError(type(part).__name__)


def prompt_item(body: JsonObject) -> Item | None:
    """The item as the Responses API keeps it; None for one that says nothing."""
    head = {"id": body["id"], "status": "completed"}
    match body["type"]:
        case "message":
            parts = [made for part in body["content"] if (made := _prompt_part(part)) is not None]
            if not parts:
                return None
            kept = head | {"type": "message", "role": body["role"], "content": parts}
        case _:
            fields = ("type", "call_id", "name", "arguments", "output")
            kept = head | {key: body[key] for key in fields if key in body}
    return Item(id=body["id"], body=kept)


def _prompt_part(part: JsonObject) -> JsonObject | None:
    match part["type"]:
        case "input_text":
            return {"type": "input_text", "text": part["text"]}
        case "output_text" | "output_audio":
            text = part.get("text") or part.get("transcript") or ""
            return output_text(text) if text else None
        case "input_image":
            return {
                "type": "input_image",
                "file_id": part["file_id"],
                "image_url": None,
                "detail": part["detail"],
            }
        case _:
            return _heard(part)


def _heard(part: JsonObject) -> JsonObject | None:
    """What was said; the recording itself where nobody speaks in it."""
    if part["transcript"]:
        return {"type": "input_text", "text": part["transcript"]}
    if part["file_id"] is None:
        return None
    return {
        "type": "input_file",
        "file_id": part["file_id"],
        "filename": None,
        "mime_type": None,
        "kind": "audio",
    }


def new_texts(items: Sequence[Item]) -> list[str]:
    """What the person typed or said since the assistant's last message, in order."""
    texts: list[str] = []
    for item in items:
        match item.body:
            case {"role": "assistant"}:
                texts.clear()
            case {"role": "user", "content": parts}:
                texts += [part["text"] for part in parts if part["type"] == "input_text"]
            case _:
                pass
    return texts


def truncated(spoken: Sequence[SpokenPiece], audio_end_ms: float) -> list[SpokenPiece]:
    """What sounded until then; of the piece in which it stopped, as many words as fit."""
    heard: list[SpokenPiece] = []
    for piece in spoken:
        if piece.end_ms <= audio_end_ms:
            heard.append(piece)
            continue
        length_ms = piece.end_ms - piece.start_ms
        part = (audio_end_ms - piece.start_ms) / length_ms if length_ms > 0 else 0.0
        words = piece.text.split()
        said = words[: int(len(words) * max(0.0, part))]
        if said:
            heard.append(replace(piece, text=" ".join(said), end_ms=audio_end_ms))
        break
    return heard


def has_output_audio(body: JsonObject, index: int) -> bool:
    """Whether that part of an item is something the assistant said."""
    parts = body.get("content", [])
    return index < len(parts) and parts[index]["type"] == "output_audio"
