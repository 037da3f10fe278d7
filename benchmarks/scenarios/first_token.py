"""Time to first token and tokens per second: the service against ``AsyncLLM`` in this process.

Both answer the same prompts greedily with the same weights, in turn, round by round, so that a
drift of the machine's speed meets both. The quotients are the result.

    python -m benchmarks.scenarios.first_token --url http://127.0.0.1:8000 --api-key pm-…
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from benchmarks.report import keep
from deployments.generation.engine import start_engine
from serve.config.settings import settings_from_environment
from serve.registry.catalog import catalog
from serve.registry.specs import Role

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

_QUESTIONS = (
    "Write a short story about a lighthouse keeper.",
    "Explain how a bicycle stays upright.",
    "List ten things to pack for a hike.",
    "Describe the taste of a ripe peach.",
)


@dataclass(frozen=True, slots=True)
class Answered:
    """One stream: seconds to its first token and to its end, and how many tokens it had."""

    first_token_s: float
    total_s: float
    n_tokens: int


Ask = Callable[[str, int], Coroutine[None, None, Answered]]


@dataclass(frozen=True, slots=True)
class Round:
    """All streams of one round."""

    answers: tuple[Answered, ...]
    wall_s: float

    @property
    def first_token_ms(self) -> float:
        """Median over the streams."""
        return 1000 * statistics.median(each.first_token_s for each in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of all streams over the time the round took."""
        return sum(each.n_tokens for each in self.answers) / self.wall_s


def in_process(engine: AsyncLLM) -> Ask:
    """The engine alone, with the templating and tokenising a request would get."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    async def ask(prompt: str, max_tokens: int) -> Answered:
        params = SamplingParams(
            temperature=0.0, max_tokens=max_tokens, output_kind=RequestOutputKind.DELTA
        )
        started_at = time.perf_counter()
        ids = engine.get_tokenizer().apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        first_at, n_tokens = 0.0, 0
        async for output in engine.generate(
            {"prompt_token_ids": ids}, params, secrets.token_hex(8)
        ):
            first_at = first_at or time.perf_counter()
            n_tokens += len(output.outputs[0].token_ids)
        return Answered(first_at - started_at, time.perf_counter() - started_at, n_tokens)

    return ask


def served(client: httpx.AsyncClient, model: str) -> Ask:
    """``POST /v1/responses`` with ``stream``, as any client would."""

    async def ask(prompt: str, max_tokens: int) -> Answered:
        body = {
            "model": model,
            "input": prompt,
            "temperature": 0,
            "max_output_tokens": max_tokens,
            "stream": True,
        }
        started_at = time.perf_counter()
        first_at, n_tokens = 0.0, 0
        async with client.stream("POST", "/v1/responses", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                event = json.loads(line[6:])
                if event["type"] == "response.output_text.delta":
                    first_at = first_at or time.perf_counter()
                elif event["type"] in ("response.completed", "response.incomplete"):
                    n_tokens = event["response"]["usage"]["output_tokens"]
        return Answered(first_at - started_at, time.perf_counter() - started_at, n_tokens)

    return ask


async def measure(ask: Ask, prompts: Sequence[str], max_tokens: int) -> Round:
    """All prompts at once."""
    started_at = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(prompt, max_tokens)) for prompt in prompts]
    return Round(tuple(task.result() for task in tasks), time.perf_counter() - started_at)


def _fresh_prompts(n: int) -> list[str]:
    # Different from the first token on, so that no prefix cache helps either side.
    return [f"{secrets.token_hex(4)} {_QUESTIONS[i % len(_QUESTIONS)]}" for i in range(n)]


async def compare(
    ideal: Ask, ours: Ask, *, concurrency: int, n_rounds: int, max_tokens: int
) -> dict[str, object]:
    """Medians over rounds of what the service adds to first tokens and keeps of throughput."""
    ideal_rounds: list[Round] = []
    our_rounds: list[Round] = []
    for number in range(n_rounds + 1):
        prompts = _fresh_prompts(concurrency)
        pair = [(ideal, ideal_rounds), (ours, our_rounds)]
        for ask, rounds in pair if number % 2 else reversed(pair):
            measured = await measure(ask, prompts, max_tokens)
            if number:  # the first pair warms both up
                rounds.append(measured)
    pairs = list(zip(our_rounds, ideal_rounds, strict=True))
    added = [mine.first_token_ms - best.first_token_ms for mine, best in pairs]
    kept = [mine.tokens_per_s / best.tokens_per_s for mine, best in pairs]
    return {
        "concurrency": concurrency,
        "n_rounds": n_rounds,
        "ideal_first_token_ms": statistics.median(r.first_token_ms for r in ideal_rounds),
        "our_first_token_ms": statistics.median(r.first_token_ms for r in our_rounds),
        "added_first_token_ms": statistics.median(added),
        "ideal_tokens_per_s": statistics.median(r.tokens_per_s for r in ideal_rounds),
        "our_tokens_per_s": statistics.median(r.tokens_per_s for r in our_rounds),
        "kept_throughput": statistics.median(kept),
        "kept_throughput_range": [min(kept), max(kept)],
    }


async def run(options: argparse.Namespace) -> None:
    """Measure every concurrency, print and keep the result."""
    settings = settings_from_environment()
    spec = catalog(settings.profile).get(options.model, Role.GENERATOR)
    engine = await asyncio.to_thread(start_engine, spec, str(settings.models_dir), None)
    headers = {"authorization": f"Bearer {options.api_key}"}
    try:
        async with httpx.AsyncClient(base_url=options.url, headers=headers, timeout=600) as client:
            comparisons = []
            for concurrency in options.concurrency:
                compared = await compare(
                    in_process(engine),
                    served(client, spec.name),
                    concurrency=concurrency,
                    n_rounds=options.rounds,
                    max_tokens=options.max_tokens,
                )
                print(json.dumps(compared, indent=2), flush=True)
                comparisons.append(compared)
    finally:
        engine.shutdown()
    numbers = {"model": spec.name, "max_tokens": options.max_tokens, "comparisons": comparisons}
    print(f"kept in {keep('first-token', numbers).name}")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=48)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
