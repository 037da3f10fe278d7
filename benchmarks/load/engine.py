"""A process that holds ``AsyncLLM`` and runs rounds on it, as told over a socket.

    python -m benchmarks.load.engine FD

One JSON line in, one out: first ``{"model": NAME}``, then ``{"round": …}`` any number of times.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.load.outcomes import Outcome
from benchmarks.load.progress import Silent
from benchmarks.load.rounds import Round
from benchmarks.load.schedule import Level
from benchmarks.load.targets import generator
from benchmarks.load.workload import Lengths, Question, Session, Turn, Workload

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_LONGEST_LINE = 1 << 28


class EngineAsker:
    """Asks the engine, with the templating and tokenising that a request would get."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine = engine

    async def ask(self, question: Question, *, intended_at_s: float) -> Outcome:
        """Greedy, streamed."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        outcome = Outcome(intended_at_s=intended_at_s, started_at_s=time.perf_counter())
        params = SamplingParams(
            temperature=0.0,
            max_tokens=question.max_tokens,
            output_kind=RequestOutputKind.DELTA,
        )
        ids = self._engine.get_tokenizer().apply_chat_template(
            question.chat_messages(), add_generation_prompt=True, return_dict=False
        )
        times: list[float] = []
        pieces: list[str] = []
        prompt: Any = {"prompt_token_ids": ids}
        async for output in self._engine.generate(prompt, params, secrets.token_hex(8)):
            made = output.outputs[0]
            outcome.output_tokens += len(made.token_ids)
            if made.text:
                times.append(time.perf_counter())
                pieces.append(made.text)
        outcome.ended_at_s = time.perf_counter()
        outcome.input_tokens = len(ids)
        outcome.frame_times_s = times
        outcome.text = "".join(pieces) if question.wants_text else ""
        return outcome


def round_of(told: dict[str, Any]) -> Round:
    """A round from its JSON; there are no media in it."""
    workload = told["workload"]
    lengths = {key: Lengths(**workload[key]) for key in ("prompt_tokens", "output_tokens")}
    trace = tuple(
        Session(
            tuple(Turn(turn["text"], turn["max_tokens"]) for turn in each["turns"]), each["at_s"]
        )
        for each in told["trace"]
    )
    recipe = Workload(**{**workload, **lengths, "media": {}})
    return Round(Level(**told["level"]), recipe, told["number"], trace)


async def serve(fd: int) -> None:
    """Answer until the other side closes."""
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=fd), limit=_LONGEST_LINE
    )
    told = orjson.loads(await reader.readline())
    try:
        engine = await asyncio.to_thread(_start, told["model"])
    except Exception as error:  # noqa: BLE001 - the process border: told, not lost
        writer.write(orjson.dumps({"error": repr(error)}) + b"\n")
        await writer.drain()
        return
    writer.write(orjson.dumps({"ready": True}) + b"\n")
    try:
        # Whoever breaks off a comparison does not wait for the round.
        with contextlib.suppress(ConnectionResetError):
            await _answer(engine, reader, writer)
    finally:
        engine.shutdown()


async def _answer(
    engine: AsyncLLM, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while line := await reader.readline():
        task = round_of(orjson.loads(line)["round"])
        measured = await task.run(EngineAsker(engine), Silent())
        writer.write(orjson.dumps(measured) + b"\n")
        await writer.drain()


def _start(name: str) -> AsyncLLM:
    from deployments.generation.engine import start_engine

    model, models_dir = generator(name)
    return start_engine(model, str(models_dir), None).llm


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
