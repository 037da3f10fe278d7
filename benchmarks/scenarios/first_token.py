"""Time to first token and tokens per second: the engine alone, as the ideal to compare with."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.generation.engine import start_engine
from serve.registry.specs import ModelSpec

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


@dataclass(frozen=True, slots=True)
class Answered:
    """One stream: seconds to its first token and to its end, and how many tokens it had."""

    first_token_s: float
    total_s: float
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Round:
    """All streams of one round, run ``concurrency`` at a time."""

    answers: tuple[Answered, ...]
    wall_s: float

    @property
    def first_token_p50_s(self) -> float:
        """Median over the streams."""
        return statistics.median(each.first_token_s for each in self.answers)

    @property
    def first_token_p99_s(self) -> float:
        """The slowest in a hundred, or the slowest if there are fewer."""
        ordered = sorted(each.first_token_s for each in self.answers)
        return ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of all streams over the time the round took."""
        return sum(each.n_tokens for each in self.answers) / self.wall_s


async def measure_in_process(
    spec: ModelSpec,
    models_dir: str,
    prompts: Sequence[str],
    *,
    concurrency: int,
    max_tokens: int = 64,
    n_rounds: int = 5,
) -> list[Round]:
    """Every prompt through ``AsyncLLM`` in this process, ``n_rounds`` times after one to warm up.

    Each round's prompts differ in their first token, so that no prefix cache helps.
    """
    engine = await asyncio.to_thread(start_engine, spec, models_dir, None)
    try:
        rounds = [
            await _round(engine, _fresh(prompts), concurrency, max_tokens)
            for _ in range(n_rounds + 1)
        ]
    finally:
        engine.shutdown()
    return rounds[1:]


def _fresh(prompts: Iterable[str]) -> list[str]:
    return [f"{secrets.token_hex(4)} {prompt}" for prompt in prompts]


async def _round(
    engine: AsyncLLM, prompts: Sequence[str], concurrency: int, max_tokens: int
) -> Round:
    gate = asyncio.Semaphore(concurrency)
    started_at = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_answer(engine, prompt, gate, max_tokens)) for prompt in prompts]
    wall_s = time.perf_counter() - started_at
    return Round(tuple(task.result() for task in tasks), wall_s)


async def _answer(
    engine: AsyncLLM, prompt: str, gate: asyncio.Semaphore, max_tokens: int
) -> Answered:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=0.0,
        max_tokens=max_tokens,
        ignore_eos=True,
        output_kind=RequestOutputKind.DELTA,
    )
    async with gate:
        started_at = time.perf_counter()
        # The templating and tokenising that a request through the service would get.
        ids = engine.get_tokenizer().apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_dict=False,
        )
        first_at, n_tokens = 0.0, 0
        async for output in engine.generate(
            {"prompt_token_ids": ids}, params, secrets.token_hex(8)
        ):
            first_at = first_at or time.perf_counter()
            n_tokens += len(output.outputs[0].token_ids)
        ended_at = time.perf_counter()
    return Answered(first_at - started_at, ended_at - started_at, n_tokens)
