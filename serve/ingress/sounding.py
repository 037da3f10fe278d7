"""Sound as a reply: sentence by sentence, while later ones are still being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from serve.domain.errors import PolymodalError
from serve.domain.messages import SpokenSentence
from serve.domain.voices import AudioFormat
from serve.ingress.errors import as_error
from serve.ingress.pieces import Pieces
from serve.ingress.streaming import named_frame
from serve.media.audio_writers import AudioWriter
from serve.protocol.errors import render_error
from serve.protocol.speech import render_sound_delta, render_sound_done

Sentences = AsyncGenerator[SpokenSentence, None]


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
    """The same file in server-sent events, and how long it became.

    A refusal before the first is raised; a failure behind it becomes the last event.
    """
    duration_s = 0.0
    is_begun = False

    async def measured() -> Sentences:
        nonlocal duration_s
        async with aclosing(sentences):
            async for sentence in sentences:
                duration_s += sentence.duration_s
                yield sentence

    try:
        async with aclosing(encoded(measured(), form)) as pieces:
            async for piece in pieces:
                if piece:
                    is_begun = True
                    yield named_frame(render_sound_delta(piece))
    except PolymodalError as error:
        if not is_begun:
            raise
        yield named_frame({"type": "error", **render_error(as_error(error))})
        return
    yield named_frame(render_sound_done(text, duration_s))
