"""The least a Python server can do: raw ASGI on uvicorn, words from another process.

    python -m benchmarks.load.bare_server --port 9000 --tokens-per-s 20

It stands for the price of uvicorn itself. No authentication, no database, no log. The engine writes
one message per step with the new words of all answers, as ours does.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvicorn

_Message = dict[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]
_LONGEST_LINE = 1 << 24


class Bare:
    """The ASGI application: Chat Completions, streamed or whole."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Queue[tuple[str, bool]]] = {}
        self._n_asked = 0

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "/v1/chat/completions":
            await self._chat(receive, send)
        else:
            await _whole(send, {"object": "list", "data": [{"id": "echo", "object": "model"}]})

    async def _lifespan(self, receive: _Receive, send: _Send) -> None:
        await receive()
        async with self._listening():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        sock = socket.socket(fileno=self._fd)
        reader, self._writer = await asyncio.open_connection(sock=sock, limit=_LONGEST_LINE)

        async def listen() -> None:
            while line := await reader.readline():
                for name, text, is_last in orjson.loads(line):
                    if name in self._answers:
                        self._answers[name].put_nowait((text, is_last))

        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            yield
            listening.cancel()

    async def _chat(self, receive: _Receive, send: _Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = orjson.loads(body)
        n_words = asked.get("max_tokens") or 16
        self._n_asked += 1
        name = self._n_asked
        answer = self._answers[name] = asyncio.Queue()
        assert self._writer is not None
        self._writer.write(orjson.dumps([name, n_words]) + b"\n")
        try:
            await (_stream if asked.get("stream") else _collect)(send, answer, name, n_words)
        finally:
            del self._answers[name]


async def _stream(
    send: _Send, answer: asyncio.Queue[tuple[str, bool]], name: int, n_words: int
) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    begin = b'data: {"id":"chatcmpl-%d","object":"chat.completion.chunk","model":"echo",' % name
    is_last = False
    while not is_last:
        text, is_last = await answer.get()
        choice = b'"choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}\n\n'
        frame = begin + choice % orjson.dumps(text)
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    usage = {"prompt_tokens": 0, "completion_tokens": n_words, "total_tokens": n_words}
    last = begin + b'"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\ndata: [DONE]\n\n"
    await send({"type": "http.response.body", "body": last})


async def _collect(
    send: _Send, answer: asyncio.Queue[tuple[str, bool]], name: int, n_words: int
) -> None:
    texts, is_last = [], False
    while not is_last:
        text, is_last = await answer.get()
        texts.append(text)
    message = {"role": "assistant", "content": "".join(texts)}
    usage = {"prompt_tokens": 0, "completion_tokens": n_words, "total_tokens": n_words}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    await _whole(send, {"id": f"chatcmpl-{name}", "choices": [choice], "usage": usage})


async def _whole(send: _Send, body: object) -> None:
    content = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Start the engine's process, then serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens-per-s", type=float, default=20.0)
    options = parser.parse_args()
    ours, theirs = socket.socketpair()
    with theirs:
        _start_engine(theirs, options.tokens_per_s)
    app = Bare(ours.detach())
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="error", access_log=False)


def _start_engine(sock: socket.socket, tokens_per_s: float) -> None:
    # Ends when this process closes the other end of the pair.
    subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.load.bare_engine",
            str(sock.fileno()),
            str(tokens_per_s),
        ],
        pass_fds=(sock.fileno(),),
    )


if __name__ == "__main__":
    main()
