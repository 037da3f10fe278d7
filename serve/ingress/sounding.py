"""Sound as a reply: sentence by sentence, while later ones are still being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.domain.errors import PolymodalError
from serve.domain.messages import SpokenSentence
from serve.domain.voices import AudioFormat
from serve.ingress.streaming import SSE_HEADERS, named_frame
from serve.media.audio_writers import AudioWriter
from serve.protocol.speech import render_sound_delta, render_sound_done

Sentences = AsyncGenerator[SpokenSentence, None]
Pieces = AsyncGenerator[bytes, None]

_BYTES_PER_SAMPLE = 2


async def encoded(sentences: Sentences, form: AudioFormat) -> Pieces:
    """One file of all sentences; what each adds to it comes at once."""
    writer: AudioWriter | None = None
    async with aclosing(sentences):
        async for sentence in sentences:
            writer = writer or AudioWriter(form, sentence.sample_rate_hz)
            yield await asyncio.to_thread(writer.write, sentence.pcm)
    if writer is not None:
        yield await asyncio.to_thread(writer.finish)


async def framed(sentences: Sentences, form: AudioFormat, text: str) -> Pieces:
    """The same file in server-sent events, and how long it became."""
    duration_s = 0.0

    async def measured() -> Sentences:
        nonlocal duration_s
        async with aclosing(sentences):
            async for sentence in sentences:
                n_samples = len(sentence.pcm) // _BYTES_PER_SAMPLE
                duration_s += n_samples / sentence.sample_rate_hz
                yield sentence

    async with aclosing(encoded(measured(), form)) as pieces:
        async for piece in pieces:
            if piece:
                yield named_frame(render_sound_delta(piece))
    yield named_frame(render_sound_done(text, duration_s))


class _ClientLeft(Exception):
    """The connection is gone."""


class SoundStream(Response):
    """Writes pieces as they come; the status waits for the first, so a refusal can have its own.

    A failure behind it breaks the connection, since no sound can say it. When the client leaves,
    ``pieces`` is closed.
    """

    def __init__(self, pieces: Pieces, media_type: str) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(SSE_HEADERS)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until the sound or the client ends."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(_watch(receive))
                group.create_task(self._write(send, watcher))
        except* _ClientLeft:
            pass
        except* PolymodalError as refused:
            raise refused.exceptions[0] from None

    async def _write(self, send: Send, watcher: asyncio.Task[None]) -> None:
        is_open = False
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                if not is_open:
                    is_open = True
                    await self._open(send)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not is_open:
            await self._open(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        # At once: to the watcher, a complete response looks like a client that left.
        watcher.cancel()

    async def _open(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)


async def _watch(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _ClientLeft
