"""How long a running server leaves who talks to it waiting, and with what.

    make bench NAME=talking_live ARGS="--url http://127.0.0.1:8000 --api-key pm-… --turns 6"

The stock SDK talks over ``/v1/realtime``: questions that the server itself says beforehand are sent
at the pace of a microphone, then silence. Times count from the last loud sample. Client and server
share the machine here.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import statistics
import time
from collections.abc import Sequence

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from benchmarks.report import keep

_RATE_HZ = 24_000
_PIECE_S = 0.04
_LOUD = 300
_QUESTIONS = (
    "Hello, what is the capital city of France?",
    "How many days are there in a week?",
    "What is the opposite of cold?",
    "Which animal says meow?",
    "What do bees make?",
    "What colour is the sky on a clear day?",
)
_STAGES = {
    "input_audio_buffer.speech_stopped": "turn_over",
    "conversation.item.input_audio_transcription.completed": "transcript",
    "response.created": "answer_begun",
    "response.output_audio_transcript.delta": "first_words",
    "response.output_audio.delta": "first_sound",
    "response.done": "done",
}


async def said(client: AsyncOpenAI, text: str) -> bytes:
    """The text as 16-bit mono sound that ends with its last loud sample."""
    reply = await client.audio.speech.create(
        model="tts-1", voice="alloy", input=text, response_format="pcm"
    )
    samples = np.frombuffer(reply.content, "<i2")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _LOUD)
    return samples[: int(loud[-1]) + 1].tobytes()


async def turn(connection: AsyncRealtimeConnection, sound: bytes) -> dict[str, float]:
    """Seconds from the end of speech to each stage."""
    stopped_at = float("inf")

    async def speak() -> None:
        nonlocal stopped_at
        n_bytes = int(_PIECE_S * _RATE_HZ) * 2
        begun = time.perf_counter()
        for index in itertools.count():
            piece = sound[index * n_bytes : (index + 1) * n_bytes]
            due = begun + (index + 1) * _PIECE_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(piece) < n_bytes:
                stopped_at = min(stopped_at, time.perf_counter())
                piece += bytes(n_bytes - len(piece))
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())

    seen: dict[str, float] = {}
    async with asyncio.TaskGroup() as group:
        speaking = group.create_task(speak())
        async for event in connection:
            if event.type == "error":
                raise RuntimeError(event.error.message)
            stage = _STAGES.get(event.type)
            if stage is not None:
                seen.setdefault(stage, time.perf_counter() - stopped_at)
            if event.type == "response.done":
                break
        speaking.cancel()
    return seen


async def measure(url: str, api_key: str, model: str, n_turns: int) -> dict[str, object]:
    """Medians and extremes of all turns but the first, which is not counted."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0) as client:
        sounds = [await said(client, text) for text in _QUESTIONS]
        turns = []
        options = {"proxy": None}
        async with client.realtime.connect(
            model=model,
            websocket_connection_options=options,  # type: ignore[arg-type] # the library's own
        ) as connection:
            await connection.session.update(
                session={
                    "type": "realtime",
                    "instructions": "Answer in one short sentence.",
                    "max_output_tokens": 40,
                    "audio": {"input": {"transcription": {"model": "whisper-1"}}},
                }
            )
            for index in range(n_turns + 1):
                seen = await turn(connection, sounds[index % len(sounds)])
                print({stage: round(seconds, 2) for stage, seconds in seen.items()}, flush=True)
                turns.append(seen)
    counted = turns[1:]
    return {
        "turns": n_turns,
        **{
            f"{stage}_s": {
                "median": round(statistics.median(each), 3),
                "min": round(min(each), 3),
                "max": round(max(each), 3),
            }
            for stage in _STAGES.values()
            if (each := [seen[stage] for seen in counted if stage in seen])
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--model", default="gpt-realtime")
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args(arguments)
    figures = asyncio.run(measure(options.url, options.api_key, options.model, options.turns))
    print(figures)
    print(keep("talking-live", figures))


if __name__ == "__main__":
    main()
