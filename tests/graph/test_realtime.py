"""Live conversation by the stock SDK: real stores, a real socket, scripted models."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from serve.domain.errors import EngineDead, StoreUnavailable
from serve.domain.messages import LogEntry, TextDelta, ToolCall
from serve.domain.moderation import ContentPolicy, ModerationRules
from serve.domain.records import Caller, Scope
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database
from tests.fixtures.ingress import Ingress, ScriptedModerator, ingress
from tests.fixtures.talking import Breath, Talk, listening, loud, silent, talking

_CAT = Path(__file__).parents[1] / "media" / "cat.jpg"
_TEXT: dict[str, Any] = {"output_modalities": ["text"]}
_TENTH_S = 4800


@dataclass
class Served:
    """One ingress process with an open door."""

    ingress: Ingress
    address: str

    def talking(self, **wishes: Any) -> Any:
        return talking(self.address, self.ingress.secret, **wishes)


@pytest.fixture
async def served(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> AsyncIterator[Served]:
    async with (
        ingress(database, redis_url, tmp_path, accounts, ada) as running,
        listening(running.app) as address,
    ):
        yield Served(running, address)


def _prompt(served: Served, index: int = -1) -> list[tuple[str, str]]:
    """Role and text of every message that the generator was asked with."""
    messages = served.ingress.generator.requests[index].messages
    return [(m.role, "".join(getattr(part, "text", "") for part in m.parts)) for m in messages]


# --- text --------------------------------------------------------------------------------------


async def test_a_typed_question_is_answered_in_text(served: Served) -> None:
    async with served.talking(update={**_TEXT, "instructions": "Be brief."}) as talk:
        await talk.types("Hi.", id="mine")
        await talk.connection.response.create(response={"metadata": {"topic": "greeting"}})
        done = (await talk.until("response.done")).response
    assert talk.kinds[2:] == [
        "conversation.item.added",
        "conversation.item.done",
        "rate_limits.updated",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert done.status == "completed"
    assert done.output[0].content[0].text == "Hello there"
    assert done.usage.output_tokens == 2
    assert done.metadata == {"topic": "greeting"}
    assert talk.all("conversation.item.added")[1].previous_item_id == "mine"
    assert _prompt(served) == [("system", "Be brief."), ("user", "Hi.")]


async def test_items_are_added_anywhere_told_and_forgotten(served: Served) -> None:
    async with served.talking(update=_TEXT) as talk:
        conversation = talk.connection.conversation
        await talk.types("second", id="b")
        first: Any = {
            "id": "a",
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "first"}],
        }
        await conversation.item.create(item=first, previous_item_id="root")
        await talk.types("third", id="c")
        await talk.types("never", id="d")
        await conversation.item.delete(item_id="d")
        await talk.until("conversation.item.deleted")
        await conversation.item.retrieve(item_id="c")
        item = (await talk.until("conversation.item.retrieved")).item
        assert item.content[0].text == "third"
        await talk.connection.response.create()
        await talk.until("response.done")
    assert _prompt(served) == [("system", "first"), ("user", "second"), ("user", "third")]


async def test_a_picture_is_looked_at(served: Served) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(_CAT.read_bytes()).decode()
    async with served.talking(update=_TEXT) as talk:
        content: Any = [
            {"type": "input_image", "image_url": url},
            {"type": "input_text", "text": "Who is that?"},
        ]
        item: Any = {"type": "message", "role": "user", "content": content}
        await talk.connection.conversation.item.create(item=item)
        await talk.connection.response.create()
        await talk.until("response.done")
    role, text = _prompt(served)[-1]
    assert role == "user"
    assert text.startswith("[Picture 1: Picture ")
    assert text.endswith("Who is that?")


async def test_a_function_is_called_and_its_answer_heard(served: Served) -> None:
    served.ingress.generator.call = ToolCall(call_id="call_1", name="clock", arguments='{"z":1}')
    tools = [{"type": "function", "name": "clock"}]
    async with served.talking(update={**_TEXT, "tools": tools}) as talk:
        await talk.types("What time is it?")
        await talk.connection.response.create()
        done = (await talk.until("response.done")).response
        call = done.output[1]
        assert (call.type, call.name, call.arguments) == ("function_call", "clock", '{"z":1}')
        told = talk.all("response.function_call_arguments.done")[0]
        assert (told.call_id, told.arguments, told.output_index) == ("call_1", '{"z":1}', 1)
        answer: Any = {"type": "function_call_output", "call_id": "call_1", "output": "noon"}
        await talk.connection.conversation.item.create(item=answer)
        await talk.connection.response.create()
        assert (await talk.until("response.done")).response.status == "completed"
    assert _prompt(served)[-1] == ("tool", "noon")


async def test_a_response_beside_the_conversation_leaves_it_alone(served: Served) -> None:
    async with served.talking(update=_TEXT) as talk:
        await talk.types("Secret.", id="mine")
        await talk.connection.response.create(
            response={
                "conversation": "none",
                "instructions": "Sort it.",
                "input": [{"type": "item_reference", "id": "mine"}],
            }
        )
        beside = (await talk.until("response.done")).response
        assert beside.conversation_id is None
        assert len(talk.all("conversation.item.added")) == 1
        await talk.connection.response.create()
        await talk.until("response.done")
    assert _prompt(served, 0) == [("system", "Sort it."), ("user", "Secret.")]
    assert _prompt(served) == [("user", "Secret.")]


# --- speech ------------------------------------------------------------------------------------


async def test_a_spoken_question_is_answered_aloud(served: Served) -> None:
    served.ingress.generator.words = ("It is a ", "cat. ", "It sleeps.")
    audio = {"input": {"transcription": {"model": "whisper-1", "language": "en"}}}
    async with served.talking(update={"audio": audio}) as talk:
        await talk.says(silent(500) + loud(1500) + silent(700))
        done = (await talk.until("response.done")).response
    started = talk.all("input_audio_buffer.speech_started")[0]
    stopped = talk.all("input_audio_buffer.speech_stopped")[0]
    assert 150 <= started.audio_start_ms <= 250
    assert 1950 <= stopped.audio_end_ms <= 2250
    assert talk.all("input_audio_buffer.committed")[0].item_id == started.item_id
    heard = talk.all("conversation.item.input_audio_transcription.completed")[0]
    assert heard.transcript == "what is that over there"
    partial = "".join(
        event.delta for event in talk.all("conversation.item.input_audio_transcription.delta")
    )
    assert heard.transcript.startswith(partial)
    assert talk.transcript() == "It is a cat. It sleeps."
    assert len(talk.sound()) == 2 * _TENTH_S
    assert done.output[0].content[0].transcript == "It is a cat. It sleeps."
    assert [r.text for r in served.ingress.voice.requests] == ["It is a cat.", "It sleeps."]
    assert _prompt(served) == [("user", "what is that over there")]
    assert served.ingress.ears.options[-1].language == "en"


async def test_a_turn_becomes_a_recording_of_its_owner(served: Served) -> None:
    async with served.talking(update=_TEXT) as talk:
        await talk.says(loud(1000) + silent(700))
        item_id = (await talk.until("conversation.item.done")).item.id
        await talk.until("response.done")
        file_id = None
        while file_id is None:
            await talk.connection.conversation.item.retrieve(item_id=item_id)
            item = (await talk.until("conversation.item.retrieved")).item
            file_id = item.content[0].file_id
            assert item.content[0].transcript == "what is that over there"
    asset = (await served.ingress.http.get(f"/api/v1/assets/{file_id}")).json()
    assert asset["kind"] == "audio"
    assert 1.0 < asset["duration_s"] < 1.6


async def test_speech_starts_while_the_text_is_still_being_written(served: Served) -> None:
    generator = served.ingress.generator
    generator.words = ("One. Two. ", "Three.")
    generator.hold = asyncio.Event()
    async with served.talking() as talk:
        await talk.types("Count.")
        await talk.connection.response.create()
        await talk.until("response.output_audio.delta")
        generator.hold.set()
        await talk.until("response.done")
    assert talk.transcript() == "One. Two. Three."
    assert len(talk.sound()) == 3 * _TENTH_S


async def test_speaking_interrupts_and_what_was_not_heard_is_forgotten(served: Served) -> None:
    served.ingress.generator.words = ("One two three four. ", "Five six seven eight.")
    served.ingress.voice.hold = breath = Breath(1)
    async with served.talking() as talk:
        await talk.types("Count.")
        await talk.connection.response.create()
        item_id = (await talk.until("response.output_audio.delta")).item_id
        await talk.until("response.output_audio.delta")
        await talk.says(loud(300))
        cut = await talk.until("response.done")
        assert "input_audio_buffer.speech_started" in talk.kinds
        assert cut.response.status == "cancelled"
        assert cut.response.status_details.reason == "turn_detected"
        assert cut.response.output[0].status == "incomplete"
        item = talk.connection.conversation.item
        await item.truncate(item_id=item_id, content_index=0, audio_end_ms=150)
        await talk.until("conversation.item.truncated")
        await item.retrieve(item_id=item_id)
        kept = (await talk.until("conversation.item.retrieved")).item
        assert kept.content[0].transcript == "One two three four. Five six"
        breath.take(10)
        await talk.says(loud(300) + silent(700))
        await talk.until("response.done")
    assert _prompt(served) == [
        ("user", "Count."),
        ("assistant", "One two three four. Five six"),
        ("user", "what is that over there"),
    ]


async def test_a_client_ends_turns_itself_and_cancels(served: Served) -> None:
    generator = served.ingress.generator
    generator.hold = asyncio.Event()
    audio: Any = {"input": {"turn_detection": None}}
    async with served.talking(update={**_TEXT, "audio": audio}) as talk:
        buffer = talk.connection.input_audio_buffer
        await talk.says(loud(400))
        await buffer.clear()
        await talk.until("input_audio_buffer.cleared")
        await buffer.commit()
        empty = await talk.until("error", fail=False)
        assert "no sound" in empty.error.message
        await talk.says(loud(400))
        await buffer.commit()
        await talk.connection.response.create()
        await talk.until("response.output_text.delta")
        await talk.connection.response.create()
        busy = await talk.until("error", fail=False)
        assert busy.error.code == "conflict"
        await talk.connection.response.cancel()
        done = (await talk.until("response.done")).response
        assert done.status_details.reason == "client_cancelled"
        await talk.connection.response.cancel()
        await talk.until("error", fail=False)
    assert "input_audio_buffer.speech_started" not in talk.kinds
    assert _prompt(served) == [("user", "what is that over")]
    response_id = talk.all("response.created")[0].response.id
    record = (await served.ingress.http.post(f"/v1/responses/{response_id}/cancel")).json()
    assert record["status"] == "cancelled"
    assert generator.was_cancelled


async def test_noise_is_not_answered_and_a_deaf_encoder_is_told(served: Served) -> None:
    served.ingress.ears.words = ""
    audio: Any = {"input": {"transcription": {}}}
    async with served.talking(update={**_TEXT, "audio": audio}) as talk:
        await talk.says(loud(500) + silent(700))
        await talk.until("conversation.item.done")
        served.ingress.ears.error = EngineDead("gone")
        await talk.says(loud(500) + silent(700))
        kind = "conversation.item.input_audio_transcription.failed"
        assert (await talk.until(kind)).error.code == "engine_unavailable"
        await talk.until("conversation.item.done")
    assert served.ingress.generator.requests == []
    assert (await served.ingress.http.get("/api/v1/assets")).json()["data"] == []


async def test_a_transcription_session_only_listens(served: Served) -> None:
    async with served.talking(intent="transcription") as talk:
        assert talk.told[0].session.type == "transcription"
        await talk.says(loud(500) + silent(700))
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await talk.until(kind)).transcript == "what is that over there"
        await talk.connection.response.create()
        await talk.until("error", fail=False)
    assert served.ingress.generator.requests == []


async def test_telephones_speak_and_hear_g711(served: Served) -> None:
    form = {"type": "audio/pcmu"}
    audio: Any = {"input": {"format": form, "turn_detection": None}, "output": {"format": form}}
    async with served.talking(update={"audio": audio}) as talk:
        sound = base64.b64encode(bytes(range(256)) * 20).decode()
        item: Any = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_audio", "audio": sound}],
        }
        await talk.connection.conversation.item.create(item=item)
        await talk.connection.response.create()
        await talk.until("response.done")
    assert len(talk.sound()) == 800
    assert _prompt(served) == [("user", "what is that over there")]


async def test_a_log_that_cannot_be_read_fails_the_response_and_not_the_session(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(_response_id: str) -> AsyncIterator[list[LogEntry]]:
        yield [LogEntry(0, TextDelta("Half an"))]
        raise StoreUnavailable("the store is away")

    async with served.talking() as talk:
        await talk.types("Hi.")
        with monkeypatch.context() as patched:
            patched.setattr(served.ingress.ports.runs, "follow", unreadable)
            await talk.connection.response.create()
            done = (await talk.until("response.done")).response
        assert done.status == "failed"
        assert done.status_details.error.code == "store_unavailable"
        assert done.output[0].status == "incomplete"
        assert done.output[0].content[0].transcript == "Half an"
        await talk.connection.response.create()
        assert (await talk.until("response.done")).response.status == "completed"


async def test_a_voice_that_dies_fails_the_response_and_not_the_session(served: Served) -> None:
    served.ingress.voice.error = EngineDead("the voice is gone")
    served.ingress.voice.n_before_error = 0
    async with served.talking() as talk:
        await talk.types("Hi.")
        await talk.connection.response.create()
        done = (await talk.until("response.done")).response
        assert done.status == "failed"
        assert done.status_details.error.code == "engine_unavailable"
        served.ingress.voice.error = None
        await talk.connection.response.create()
        assert (await talk.until("response.done")).response.status == "completed"


# --- coming back -------------------------------------------------------------------------------


async def _left_behind(served: Served, talk: Talk, n_deltas: int) -> dict[str, str]:
    while len(talk.all("response.output_audio.delta")) < n_deltas:
        await talk.until("response.output_audio.delta")
    session: Any = talk.told[0].session
    return {
        "session_id": session.id,
        "resume_token": session.resume_token,
        "last_event_id": talk.told[-1].event_id,
    }


async def test_a_dropped_connection_goes_on_at_another_process_and_loses_nothing(
    served: Served,
    database: Database,
    redis_url: str,
    tmp_path: Path,
    accounts: PostgresAccounts,
    ada: Caller,
) -> None:
    generator = served.ingress.generator
    generator.words = ("One two. Three", " four. Five", " six.")
    generator.hold = asyncio.Event()
    async with (
        ingress(database, redis_url, tmp_path, accounts, ada) as other,
        listening(other.app) as elsewhere,
    ):
        async with served.talking() as before:
            await before.types("Count.", id="mine")
            await before.connection.response.create()
            back = await _left_behind(served, before, 1)
        generator.hold.set()
        async with talking(elsewhere, "pm-forgotten", update=None, **back) as after:
            done = (await after.until("response.done")).response
            assert done.output[0].content[0].transcript == "One two. Three four. Five six."
            item_id = done.output[0].id
            item = after.connection.conversation.item
            await item.truncate(item_id=item_id, content_index=0, audio_end_ms=200)
            await after.until("conversation.item.truncated")
            await item.retrieve(item_id=item_id)
            kept = (await after.until("conversation.item.retrieved")).item
    assert after.told[0].session.id == back["session_id"]
    assert before.transcript() + after.transcript() == "One two. Three four. Five six."
    assert len(before.sound() + after.sound()) == 3 * _TENTH_S
    assert "response.created" not in after.kinds
    assert kept.content[0].transcript == "One two. Three four."
    numbers = [int(event.event_id.split("_")[1]) for event in (*before.told, *after.told)]
    assert numbers == sorted(set(numbers))


async def test_what_was_told_to_a_dead_connection_is_told_again(served: Served) -> None:
    async with served.talking() as before:
        await before.types("Hi.", id="mine")
        seen = (await before.until("conversation.item.done")).event_id
        await before.connection.response.create()
        await before.until("response.done")
        session: Any = before.told[0].session
    back = {"session_id": session.id, "resume_token": session.resume_token, "last_event_id": seen}
    async with served.talking(**back) as after:
        again = (await after.until("response.done")).response
        assert again.id == before.told[-1].response.id
        assert after.transcript() == "Hello there"
        assert after.sound() == before.sound()
        await after.connection.response.create()
        await after.until("response.done")
    assert [role for role, _ in _prompt(served)] == ["user", "assistant"]


async def test_a_turn_that_was_said_to_its_end_is_answered_after_a_drop(served: Served) -> None:
    served.ingress.ears.hold = asyncio.Event()
    async with served.talking(update=_TEXT) as before:
        await before.says(loud(500) + silent(700))
        await before.until("input_audio_buffer.committed")
        back = await _left_behind(served, before, 0)
    served.ingress.ears.hold.set()
    async with served.talking(**back) as after:
        await after.until("response.done")
    assert _prompt(served) == [("user", "what is that over there")]


async def test_who_comes_back_has_the_session_alone(served: Served) -> None:
    async with served.talking() as before:
        session: Any = before.told[0].session
        back = {"session_id": session.id, "resume_token": session.resume_token}
        async with served.talking(**back) as after:
            await before.types("Am I still here?")
            with pytest.raises(ConnectionClosed) as closed:
                await before.until("conversation.item.added")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4409
            await after.types("I am.")
            await after.until("conversation.item.done")


# --- conversations that are kept ----------------------------------------------------------------


async def _conversation(served: Served, *texts: str) -> str:
    items = [{"type": "message", "role": "user", "content": text} for text in texts]
    made = await served.ingress.http.post("/v1/conversations", json={"items": items})
    conversation_id: str = made.json()["id"]
    return conversation_id


async def _kept(served: Served, conversation_id: str) -> list[tuple[str, str]]:
    """Role and text of every item, oldest first."""
    path = f"/v1/conversations/{conversation_id}/items?order=asc"
    items = (await served.ingress.http.get(path)).json()["data"]
    return [(item["role"], "".join(part["text"] for part in item["content"])) for item in items]


async def test_what_is_said_in_a_conversation_goes_on_from_it_and_stays_in_it(
    served: Served,
) -> None:
    conversation = await _conversation(served, "My name is Ada.")
    served.ingress.generator.words = ("One two three four. ", "Five six seven eight.")
    served.ingress.voice.hold = breath = Breath(1)
    async with served.talking(conversation=conversation) as talk:
        await talk.says(loud(300) + silent(700))
        item_id = (await talk.until("response.output_audio.delta")).item_id
        await talk.until("response.output_audio.delta")
        assert _prompt(served) == [("user", "My name is Ada."), ("user", "what is that over there")]
        # What the person said is there before the answer is.
        assert len(await _kept(served, conversation)) == 2
        await talk.connection.response.cancel()
        await talk.until("response.done")
        item = talk.connection.conversation.item
        await item.truncate(item_id=item_id, content_index=0, audio_end_ms=150)
        await talk.until("conversation.item.truncated")
        await talk.types("Forget this.", id="mine")
        breath.take(10)
        await talk.connection.response.create()
        await talk.until("response.done")
        await item.delete(item_id="mine")
        await talk.until("conversation.item.deleted")
    told = [
        ("user", "My name is Ada."),
        ("user", "what is that over there"),
        ("assistant", "One two three four. Five six"),
        ("assistant", "One two three four. Five six seven eight."),
    ]
    assert await _kept(served, conversation) == told
    # It goes on in text.
    served.ingress.generator.words = ("Ada.",)
    answer = await served.ingress.http.post(
        "/v1/responses", json={"conversation": conversation, "input": "Who am I?"}
    )
    assert answer.status_code == 200
    assert _prompt(served) == [*told, ("user", "Who am I?")]
    assert (await _kept(served, conversation))[-2:] == [
        ("user", "Who am I?"),
        ("assistant", "Ada."),
    ]


async def test_a_kept_conversation_that_is_dropped_and_resumed_holds_nothing_twice(
    served: Served,
    database: Database,
    redis_url: str,
    tmp_path: Path,
    accounts: PostgresAccounts,
    ada: Caller,
) -> None:
    conversation = await _conversation(served)
    generator = served.ingress.generator
    generator.words = ("One two. Three", " four. Five", " six.")
    generator.hold = asyncio.Event()
    async with (
        ingress(database, redis_url, tmp_path, accounts, ada) as other,
        listening(other.app) as elsewhere,
    ):
        async with served.talking(conversation=conversation) as before:
            await before.types("Count.", id="mine")
            await before.connection.response.create()
            back = await _left_behind(served, before, 1)
        generator.hold.set()
        async with talking(elsewhere, "pm-forgotten", update=None, **back) as after:
            await after.until("response.done")
            await after.types("Thanks.")
            await after.until("conversation.item.done")
    assert await _kept(served, conversation) == [
        ("user", "Count."),
        ("assistant", "One two. Three four. Five six."),
        ("user", "Thanks."),
    ]


async def test_a_conversation_that_is_deleted_meanwhile_ends_no_talk(served: Served) -> None:
    conversation = await _conversation(served)
    async with served.talking(update=_TEXT, conversation=conversation) as talk:
        await served.ingress.http.delete(f"/v1/conversations/{conversation}")
        await talk.types("Hi.")
        await talk.connection.response.create()
        assert (await talk.until("response.done")).response.status == "completed"


async def test_a_talk_that_names_no_conversation_is_not_kept(served: Served) -> None:
    async with served.talking(update=_TEXT) as talk:
        await talk.types("Hi.")
        await talk.connection.response.create()
        await talk.until("response.done")
    listed = await served.ingress.http.get("/api/v1/conversations")
    assert listed.json()["data"] == []


# --- who may, and what is refused --------------------------------------------------------------


async def test_a_client_secret_opens_sessions_as_set_up_and_nothing_else(served: Served) -> None:
    async with AsyncOpenAI(
        api_key=served.ingress.secret, base_url=f"http://{served.address}/v1", max_retries=0
    ) as client:
        made = await client.realtime.client_secrets.create(
            session={"type": "realtime", "instructions": "Be kind.", "output_modalities": ["text"]},
            expires_after={"anchor": "created_at", "seconds": 60},
        )
    assert made.value.startswith("ek_")
    async with talking(served.address, made.value) as talk:
        assert talk.told[0].session.instructions == "Be kind."
    reply = await served.ingress.http.get(
        "/v1/models", headers={"authorization": f"Bearer {made.value}"}
    )
    assert reply.status_code == 401
    protocols = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{made.value}")]
    url = f"ws://{served.address}/v1/realtime?model=scripted"
    async with connect(url, subprotocols=protocols, proxy=None) as browser:
        assert browser.subprotocol == "realtime"
        assert json.loads(await browser.recv())["type"] == "session.created"


async def test_a_client_secret_is_of_no_use_once_its_time_is_over(served: Served) -> None:
    body = {"expires_after": {"seconds": 5}}
    reply = await served.ingress.http.post("/v1/realtime/client_secrets", json=body)
    assert reply.status_code == 400
    sessions = served.ingress.ports.realtime
    digest = hashlib.sha256(b"ek_short").digest()
    grant: dict[str, Any] = {
        "user_id": "user_x",
        "scopes": ["generate"],
        "key_id": None,
        "config": {},
    }
    await sessions.grant(digest, grant, ttl_s=1)
    async with talking(served.address, "ek_short"):
        pass
    await asyncio.sleep(1.2)
    assert await _refusal(served, "ek_short", "model=scripted") == (4401, "invalid_api_key")


async def _refusal(served: Served, secret: str, query: str) -> tuple[int, str]:
    """Close code and error code."""
    url = f"ws://{served.address}/v1/realtime?{query}"
    headers = {"authorization": f"Bearer {secret}"}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        error = json.loads(await socket.recv())
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert error["type"] == "error"
        return socket.close_code or 0, error["error"]["code"]


async def test_who_may_not_is_told_why(
    served: Served, accounts: PostgresAccounts, ada: Caller
) -> None:
    reader, _ = await accounts.create_key(
        owner_id=ada.user_id, name="", scopes=frozenset({Scope.READ}), ttl_s=None
    )
    secret = served.ingress.secret
    assert await _refusal(served, "pm-guess", "model=scripted") == (4401, "invalid_api_key")
    assert await _refusal(served, "ek_over", "model=scripted") == (4401, "invalid_api_key")
    assert await _refusal(served, reader, "model=scripted") == (4403, "insufficient_permissions")
    assert await _refusal(served, secret, "model=nope") == (4404, "model_not_found")
    assert await _refusal(served, secret, "colour=red") == (4400, "invalid_request")
    assert await _refusal(served, secret, "conversation=conv_1") == (4404, "not_found")
    gone = "session_id=sess_1&resume_token=rt_1"
    assert await _refusal(served, secret, gone) == (4401, "invalid_api_key")
    late = "session_id=sess_1&last_event_id=x&resume_token="
    assert await _refusal(served, secret, late) == (4401, "invalid_api_key")
    async with served.talking() as talk:
        session: Any = talk.told[0].session
        stolen = f"session_id={session.id}&resume_token=rt_guess"
        assert await _refusal(served, secret, stolen) == (4401, "invalid_api_key")
        await talk.types("Still here.")
        await talk.until("conversation.item.done")


async def test_what_may_not_be_said_is_not_answered(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> None:
    judge = ScriptedModerator(texts={"what is that over there": {"violence": 0.9}})
    policy = ContentPolicy(
        moderator=judge,
        text_rules=ModerationRules.parse("report,violence=refuse:0.5"),
        picture_rules=ModerationRules.parse("report"),
        covers_responses=True,
    )
    async with (
        ingress(database, redis_url, tmp_path, accounts, ada, moderation=policy) as running,
        listening(running.app) as address,
        talking(address, running.secret, update=_TEXT) as talk,
    ):
        await talk.says(loud(500) + silent(700))
        assert "violence" in (await talk.until("error", fail=False)).error.message
        assert running.generator.requests == []
        await talk.types("Sorry.")
        await talk.until("conversation.item.done")


async def test_a_bad_event_is_answered_and_forgotten(served: Served) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    bad: list[tuple[Any, str]] = [
        ("{", "not valid JSON"),
        ([], "valid dictionary"),
        ({"type": "nope"}, "does not match"),
        ({"type": "session.update", "session": {"voice": "x"}}, "session.voice"),
        (
            {"type": "session.update", "session": {"audio": {"output": {"voice": "x"}}}},
            "no voice 'x'",
        ),
        ({"type": "session.update", "session": {"type": "transcription"}}, "cannot change"),
        ({"type": "session.update", "session": {"tool_choice": "required"}}, "needs tools"),
        ({"type": "input_audio_buffer.append", "audio": "%"}, "base64"),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "no item 'x'"),
        ({"type": "conversation.item.delete", "item_id": "x"}, "no item 'x'"),
        (
            {
                "type": "conversation.item.truncate",
                "item_id": "mine",
                "content_index": 0,
                "audio_end_ms": 1,
            },
            "only what the assistant said",
        ),
        ({"type": "conversation.item.create", "item": _message(image)}, "picture"),
        (
            {
                "type": "conversation.item.create",
                "item": _message({"type": "input_text", "text": ""}) | {"id": "mine"},
            },
            "already",
        ),
        ({"type": "response.create", "response": {"max_output_tokens": 0}}, "max_output_tokens"),
        ({"type": "response.cancel"}, "no such response"),
    ]
    async with served.talking(update=_TEXT) as talk:
        await talk.types("Hi.", id="mine")
        for number, (event, words) in enumerate(bad):
            if isinstance(event, dict):
                event["event_id"] = f"try_{number}"
            text = event if isinstance(event, str) else json.dumps(event)
            await talk.connection.send_raw(text)
            told = (await talk.until("error", fail=False)).error
            assert words in told.message, told
            assert told.event_id == (f"try_{number}" if isinstance(event, dict) else None)
        await talk.connection.response.create()
        assert (await talk.until("response.done")).response.status == "completed"


def _message(part: dict[str, str]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [part]}
