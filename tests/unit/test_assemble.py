"""From items and perceptions to the generator's messages."""

from __future__ import annotations

from graphs.online.assemble import GROUNDING, NativeFilm, assemble
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    ChatMessage,
    FeatureRef,
    ImagePerception,
    Label,
    NativeMediaPart,
    TextPart,
    TranscriptSegment,
)
from serve.domain.records import Item, JsonObject

_PICTURE = ImagePerception(
    labels=(Label("tabby cat", 0.9),),
    objects=(),
    text_lines=(),
    description="A tabby cat.",
    vector=(1.0,),
    encode_s=0.1,
)
_VOICE = AudioPerception(
    segments=(TranscriptSegment(0.0, 1.0, " What is"), TranscriptSegment(1.0, 2.0, " this?")),
    language="en",
    language_probability=0.99,
    sound_tags=(),
    vector=(1.0,),
    duration_s=2.0,
    speech_s=2.0,
    encode_s=0.1,
)


def _message(role: str, *parts: JsonObject) -> Item:
    return Item(id="msg_1", body={"type": "message", "role": role, "content": list(parts)})


def _text(message: ChatMessage) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def test_what_was_seen_and_heard_stands_where_the_media_stood() -> None:
    items = [
        _message(
            "user",
            {"type": "input_image", "file_id": "asset_cat"},
            {"type": "input_file", "file_id": "asset_voice"},
        )
    ]
    messages = assemble(items, {"asset_cat": _PICTURE, "asset_voice": _VOICE}, instructions=None)
    assert [message.role for message in messages] == ["system", "user"]
    assert _text(messages[0]) == GROUNDING
    told = _text(messages[1])
    assert told.index("A tabby cat.") < told.index("What is this?")


def _native(kind: MediaKind) -> NativeMediaPart:
    media = MediaRef(
        asset_id="asset_cat",
        owner_id="user_1",
        kind=kind,
        mime_type=f"{kind}/x",
        content_hash="0" * 64,
        storage_key="k",
        n_bytes=1,
    )
    return NativeMediaPart(media, FeatureRef(key="f" * 64, n_tokens=4, dim=8))


def test_a_native_generator_gets_features_and_no_notes() -> None:
    native = _native(MediaKind.IMAGE)
    items = [_message("user", {"type": "input_image", "file_id": "asset_cat"})]
    messages = assemble(items, {"asset_cat": native}, instructions=None)
    assert messages == (ChatMessage(role="user", parts=(native,)),)


def test_what_is_said_in_a_native_film_stands_beside_its_frames() -> None:
    film = NativeFilm(_native(MediaKind.VIDEO), _VOICE)
    items = [_message("user", {"type": "input_file", "file_id": "asset_film"})]
    system, user = assemble(items, {"asset_film": film}, instructions=None)
    assert _text(system) == GROUNDING
    assert user.parts[0] == film.frames
    assert 'Sound of video 1, 2 s. The speaker says: "What is this?"' in _text(user)


def test_a_deleted_attachment_is_told_not_invented() -> None:
    items = [_message("user", {"type": "input_image", "file_id": "asset_gone"})]
    assert "deleted" in _text(assemble(items, {}, instructions=None)[0])


def test_text_and_calls_of_one_turn_become_one_message() -> None:
    call: JsonObject = {
        "type": "function_call",
        "call_id": "call_1",
        "name": "look_up",
        "arguments": "{}",
    }
    answer: JsonObject = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
    items = [
        _message("user", {"type": "input_text", "text": "?"}),
        _message("assistant", {"type": "output_text", "text": "Let me see."}),
        Item(id="fc_1", body=call),
        Item(id="fco_1", body=answer),
    ]
    messages = assemble(items, {}, instructions="Be brief.")
    assert [message.role for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2].tool_calls[0].name == "look_up"
    assert messages[3].tool_call_id == "call_1"
