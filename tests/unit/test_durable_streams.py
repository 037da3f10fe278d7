"""A client that does not let go gets every event once, whatever its servers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from benchmarks.faults.processes import role_of
from benchmarks.faults.rounds import longest_pause
from benchmarks.faults.streams import DurableStream

_WORDS = ("one ", "two ", "three ", "four")
_LAST = len(_WORDS) + 1

Part = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def _event(number: int) -> bytes:
    told: dict[str, object] = {"type": "response.output_text.delta", "sequence_number": number}
    if number == 0:
        told |= {"type": "response.created", "response": {"id": "resp_1"}}
    elif number == _LAST:
        text = [{"type": "output_text", "text": "".join(_WORDS)}]
        answer = {"id": "resp_1", "output": [{"type": "message", "content": text}]}
        told |= {"type": "response.completed", "response": answer}
    else:
        told["delta"] = _WORDS[number - 1]
    return b"data: " + json.dumps(told).encode() + b"\n\n"


async def _tell(writer: asyncio.StreamWriter, numbers: Sequence[int]) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
    writer.write(b"transfer-encoding: chunked\r\n\r\n")
    for number in numbers:
        event = _event(number)
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()


def _whole_from(first: int) -> Part:
    async def play(_request: str, writer: asyncio.StreamWriter) -> None:
        await _tell(writer, range(first, _LAST + 1))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    return play


def _breaks(numbers: Sequence[int]) -> Part:
    async def play(_request: str, writer: asyncio.StreamWriter) -> None:
        await _tell(writer, numbers)
        writer.transport.abort()

    return play


def _falls_silent(numbers: Sequence[int]) -> Part:
    async def play(_request: str, writer: asyncio.StreamWriter) -> None:
        await _tell(writer, numbers)
        await asyncio.Event().wait()

    return play


def _refuses(status: int) -> Part:
    async def play(_request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\n{}" % status)
        await writer.drain()

    return play


@asynccontextmanager
async def _server(parts: Sequence[Part], requests: list[str]) -> AsyncIterator[str]:
    """Plays one part per connection, in order."""
    script = iter(parts)
    playing: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing.add(asyncio.current_task())
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        requests.append(request)
        try:
            await next(script)(request, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for task in playing:
            if task is not None:
                task.cancel()
        server.close()


@pytest.mark.parametrize(
    ("parts", "n_posts", "places"),
    [
        ([_whole_from(0)], 1, []),
        ([_breaks([0, 1, 2]), _whole_from(3)], 1, [2]),
        ([_falls_silent([0, 1]), _breaks([2]), _whole_from(3)], 1, [1, 2]),
        ([_breaks([]), _refuses(503), _whole_from(0)], 3, []),
        ([_breaks([0]), _refuses(503), _whole_from(1)], 1, [0, 0]),
    ],
    ids=["undisturbed", "broken", "silent, then broken", "never begun", "refused for a while"],
)
async def test_an_answer_arrives_once_and_whole(
    parts: list[Part], n_posts: int, places: list[int]
) -> None:
    requests: list[str] = []
    async with _server(parts, requests) as url:
        delivered = await DurableStream(url, {}, {"model": "m"}, "key-1").run(limit_s=30)
    assert delivered.problem == ""
    assert delivered.text == "".join(_WORDS)
    assert delivered.n_posts == n_posts
    asked = [request.split(" ", 2)[1] for request in requests if request.startswith("GET")]
    assert asked == [f"/v1/responses/resp_1?stream=true&starting_after={n}" for n in places]
    posts = [request for request in requests if request.startswith("POST")]
    assert all("idempotency-key: key-1" in request for request in posts)


@pytest.mark.parametrize(
    "parts",
    [
        [_breaks([0, 1, 2]), _whole_from(2)],
        [_breaks([0, 1]), _whole_from(3)],
        [_breaks([0, 1]), _refuses(404)],
    ],
    ids=["repeated", "missing", "unknown"],
)
async def test_a_contradiction_is_a_problem(parts: list[Part]) -> None:
    async with _server(parts, []) as url:
        delivered = await DurableStream(url, {}, {"model": "m"}, "key-1").run(limit_s=30)
    assert delivered.problem


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("ray::ServeReplica:polymodal:Generator", "generator"),
        ("ray::ServeReplica:polymodal:Generator:echo.generate", "generator"),
        ("VLLM::EngineCore", "engine"),
        ("ray::ServeReplica:polymodal:Ingress", "ingress"),
        ("ray::ServeReplica:polymodal:ImageEncoder", "encoder"),
        ("ray::ServeController.listen_for_change", "controller"),
        ("/x/_binaries/linux-x86_64/valkey-server 127.0.0.1:12345", "valkey"),
        ("/x/bin/postgres -D /home/pg", "postgres"),
        ("postgres: checkpointer", None),
        ("/x/python -m serve.embedded.chroma_server /home/chroma 16830", "chroma"),
        ("/x/python -m graphs.run serve_config.yaml", None),
    ],
)
def test_parts_are_known_by_their_titles(title: str, role: str | None) -> None:
    assert role_of(title) == role


def test_a_pause_counts_where_it_ends() -> None:
    moments_s = [1.0, 1.5, 4.0, 4.5]
    assert longest_pause(moments_s) == 2.5
    assert longest_pause(moments_s, until_s=3.0) == 0.5
    assert longest_pause(moments_s, after_s=3.0) == 2.5
    assert longest_pause([1.0]) == 0.0
