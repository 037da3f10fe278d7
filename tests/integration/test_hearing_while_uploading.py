"""A recording is written down before all of it has been sent, by the real models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import pytest

from serve.domain.messages import AudioPerception, TranscriptionOptions
from serve.domain.records import Caller, Page
from tests.fixtures.encoders import wav
from tests.fixtures.hearing import SAID, Ears, microphone_to, samples_of
from tests.fixtures.ingress import Ingress
from tests.fixtures.talking import listening

pytestmark = pytest.mark.models

_BOUNDARY = "seam"
_PATH = "/v1/audio/transcriptions"


@pytest.fixture
def door(hearing_door: Ingress) -> Ingress:
    return hearing_door


@pytest.fixture
def talk(voice_wav: bytes) -> tuple[bytes, bytes]:
    """A recording in two halves: in the first, somebody speaks and then is silent for long."""
    voice, silence = samples_of(voice_wav), np.zeros(16_000 * 14, np.int16)
    whole = wav(np.concatenate([voice, silence, voice]) / 32768)
    n_first = 44 + 2 * (len(voice) + len(silence))
    return whole[:n_first], whole[n_first:]


def _head(fields: dict[str, str], filename: str = "talk.wav") -> bytes:
    """A form up to the first byte of its file."""
    parts = [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    disposition = f'form-data; name="file"; filename="{filename}"'
    return (
        "".join(parts) + f"--{_BOUNDARY}\r\ncontent-disposition: {disposition}\r\n"
        "content-type: audio/wav\r\n\r\n"
    ).encode()


_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()


@dataclass
class Line:
    """A connection over which a request is still being sent while its reply is read."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, content: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(content), content))
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            line = await self.reader.readline()
            assert line, self.events
            if line.startswith(b"HTTP/1.1"):
                self.status = line
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                self.events.append(event)
                if event["type"] == kind:
                    return dict(event)


@asynccontextmanager
async def _line(door: Ingress) -> AsyncIterator[Line]:
    async with asyncio.timeout(60), listening(door.app) as address:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST {_PATH} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {door.secret}\r\n"
            f"content-type: multipart/form-data; boundary={_BOUNDARY}\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        )
        writer.write(head.encode())
        yield Line(reader, writer)
        writer.close()


async def test_words_come_before_the_end_of_the_upload_and_are_heard_once(
    door: Ingress, ears: Ears, ada: Caller, talk: tuple[bytes, bytes]
) -> None:
    first, second = talk
    async with _line(door) as line:
        await line.send(_head({"model": "whisper-1", "stream": "true"}) + first)
        early = await line.until("transcript.text.delta")
        assert SAID in early["delta"]
        assert await door.ports.assets.list(ada, Page(limit=10)) == ()
        await line.send(second + _TAIL)
        await line.end()
        done = await line.until("transcript.text.done")
    assert b"200" in line.status
    assert done["text"].count(SAID) == 2
    deltas = [event["delta"] for event in line.events if event["type"].endswith("delta")]
    assert "".join(deltas) == done["text"]
    [asset] = await door.ports.assets.list(ada, Page(limit=10))
    assert asset.filename == "talk.wav"
    assert asset.duration_s == pytest.approx(28, abs=2)
    # The same file sent whole is the same asset, and what was heard of it is known.
    whole = await door.http.post(_PATH, files={"file": ("again.wav", first + second)})
    assert whole.json()["text"] == done["text"]
    assert ears.asked == []
    [asset] = await door.ports.assets.list(ada, Page(limit=10))
    known = await door.ports.perceiving.recall(asset)
    at_once = await ears.encoder.perceive(asset, TranscriptionOptions())
    assert isinstance(known, AudioPerception)
    assert replace(known, encode_s=0.0) == replace(at_once, encode_s=0.0)


def _decoders() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "serve.media.arriving_worker" in child.cmdline()
    ]


async def test_a_client_that_leaves_inside_its_upload_leaves_nothing(
    door: Ingress, ears: Ears, ada: Caller, talk: tuple[bytes, bytes]
) -> None:
    was_told = asyncio.Event()
    pieces: list[dict[str, Any]] = [
        {"body": _head({"stream": "true"}) + talk[0], "more_body": True},
    ]

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", **pieces.pop(0)}
        await was_told.wait()
        assert len(_decoders()) == 1
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"transcript.text.delta" in message.get("body", b""):
            was_told.set()

    async with asyncio.timeout(60):
        await door.app(_scope(door), receive, send)
    assert was_told.is_set()
    assert _decoders() == []
    assert await door.ports.assets.list(ada, Page(limit=10)) == ()
    assert ears.n_parts > 0


def _scope(door: Ingress) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": _PATH,
        "raw_path": _PATH.encode(),
        "query_string": b"",
        "headers": [
            (b"authorization", f"Bearer {door.secret}".encode()),
            (b"content-type", f"multipart/form-data; boundary={_BOUNDARY}".encode()),
        ],
        "server": ("ingress", 80),
        "client": ("127.0.0.1", 1),
    }


@pytest.mark.parametrize(
    ("fields", "filename", "content", "status", "says"),
    [
        ({"stream": "true", "language": "xxx"}, "a.wav", None, b"400", "'xxx'"),
        ({"stream": "true", "model": "nobody"}, "a.wav", None, b"404", "nobody"),
        ({"stream": "true"}, "a.wav", b"#!/bin/sh\n" + bytes(4096), b"415", "a script"),
        ({"stream": "true", "temperature": "7"}, "a.wav", None, b"400", "temperature"),
    ],
)
async def test_a_refusal_does_not_wait_for_the_rest(
    door: Ingress,
    talk: tuple[bytes, bytes],
    fields: dict[str, str],
    filename: str,
    content: bytes | None,
    status: bytes,
    says: str,
) -> None:
    async with _line(door) as line:
        await line.send(_head(fields, filename) + (content or talk[0]))
        assert status in await line.reader.readline()
        assert says in (await line.reader.readuntil(b"}}")).decode()


async def test_a_field_behind_the_file_is_taken_unless_the_file_is_being_heard(
    door: Ingress, talk: tuple[bytes, bytes]
) -> None:
    late = (
        f"\r\n--{_BOUNDARY}\r\ncontent-disposition: form-data; name=language\r\n\r\nen".encode()
        + _TAIL
    )
    reply = await door.http.post(
        _PATH,
        content=_head({"stream": "true"}) + talk[0] + late,
        headers={"content-type": f"multipart/form-data; boundary={_BOUNDARY}"},
    )
    assert SAID in reply.text
    async with _line(door) as line:
        await line.send(_head({"stream": "true"}) + talk[0])
        await line.until("transcript.text.delta")
        await line.send(late)
        await line.end()
        assert "language came behind the file" in (await line.until("error"))["error"]["message"]


# --- over a WebSocket, as browsers need it -----------------------------------------------------


def _sent(content: bytes) -> Sequence[bytes]:
    return [content[start : start + 65_536] for start in range(0, len(content), 65_536)]


async def test_a_browser_sees_words_while_it_uploads(
    door: Ingress, ears: Ears, talk: tuple[bytes, bytes]
) -> None:
    first, second = talk
    query = "filename=talk.wav&mime_type=audio/wav"
    async with microphone_to(door, query=query, path="/api/v1/transcriptions/upload") as socket:
        for piece in _sent(first):
            socket.say(piece)
        early = await socket.first("segment")
        assert SAID in early["text"]
        assert socket.of("asset") == []
        for piece in _sent(second):
            socket.say(piece)
        socket.stop()
    assert [message["type"] for message in socket.messages[-2:]] == ["segment", "done"]
    assert socket.code == 1000
    asset = socket.of("asset")[0]["asset"]
    perception = (await door.http.get(f"/api/v1/assets/{asset['id']}/perception")).json()
    texts = [segment["text"] for segment in socket.of("segment")]
    assert socket.of("done")[0]["text"] == " ".join(texts) == perception["transcript"]
    assert ears.asked == []


async def test_a_browser_that_leaves_inside_its_upload_leaves_nothing(
    door: Ingress, ada: Caller, talk: tuple[bytes, bytes]
) -> None:
    async with microphone_to(door, path="/api/v1/transcriptions/upload") as socket:
        for piece in _sent(talk[0]):
            socket.say(piece)
        await socket.first("segment")
        socket.leave()
    assert _decoders() == []
    assert await door.ports.assets.list(ada, Page(limit=10)) == ()


async def test_what_is_no_recording_is_refused_over_a_socket(door: Ingress) -> None:
    async with microphone_to(door, path="/api/v1/transcriptions/upload") as socket:
        socket.say(b"%PDF-1.7" + bytes(4096))
        socket.stop()
    assert "audio is needed" in socket.messages[0]["error"]["message"]
    assert socket.code == 4415
