"""Do answers survive int8, and what is it worth? Both variants of the default generator, in turn.

    python -m benchmarks.scenarios.int8_quality --models-dir var/models

Greedy, one engine at a time, each in a process of its own, the variants alternating for some
rounds, so that a drift of the machine's speed meets both.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import keep
from deployments.generation.engine import engine_environment
from deployments.loading import model_dir
from serve.registry.catalog import CPU_CATALOG

_BF16 = "qwen2.5-coder-0.5b-instruct-bf16"
_INT8 = "qwen2.5-coder-0.5b-instruct"
_MAX_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Question:
    """``expected``: a pattern that a correct answer contains, case ignored."""

    text: str
    expected: str


_QUESTIONS = (
    Question("What is the capital of France? Answer with one word.", r"\bparis\b"),
    Question("What is 7 + 5? Answer with the number only.", r"\b12\b"),
    Question("What is 9 times 8? Answer with the number only.", r"\b72\b"),
    Question("Which planet is known as the Red Planet? One word.", r"\bmars\b"),
    Question("What is the chemical formula of water?", r"h2o|h₂o"),
    Question("How many days are in a week? Answer with the number only.", r"\b(7|seven)\b"),
    Question("What is the opposite of hot? Answer with one word.", r"\bcold\b"),
    Question("Translate to English: 'Guten Morgen'. Only the translation.", r"good morning"),
    Question("What does HTTP status 404 mean? Answer in a few words.", r"not found"),
    Question("Which Python built-in gives the number of items in a list?", r"\blen\b"),
    Question("Write a Python expression that reverses the string s.", r"\[::-1\]|reversed"),
    Question("Which SQL keyword sorts the rows of a result?", r"order by"),
    Question("Which git command shows the history of commits?", r"git log"),
    Question("What does 'print(2 ** 5)' print in Python? The number only.", r"\b32\b"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one variant said, in the order of the questions, and how fast it writes."""

    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    alone_tokens_per_s: float
    together_tokens_per_s: float

    def correct(self) -> tuple[bool, ...]:
        """Which answers hold what was expected."""
        return tuple(
            re.search(question.expected, text, re.IGNORECASE) is not None
            for question, text in zip(_QUESTIONS, self.texts, strict=True)
        )


def ask(name: str, models_dir: Path) -> Answers:
    """Load one variant in this process and put every question to it."""
    from vllm import LLM, SamplingParams

    spec = CPU_CATALOG.get(name)
    engine = LLM(
        model=str(model_dir(spec, models_dir)),
        dtype=spec.dtype,
        enforce_eager=True,
        max_model_len=512,
        max_num_seqs=len(_QUESTIONS),
        kv_cache_memory_bytes=64 << 20,
    )
    prompts = [[{"role": "user", "content": question.text}] for question in _QUESTIONS]
    greedy = SamplingParams(temperature=0.0, max_tokens=_MAX_TOKENS)
    outputs = [result.outputs[0] for result in engine.chat(prompts, greedy, use_tqdm=False)]
    # Equal lengths, or the variant that says more would look faster.
    timed = SamplingParams(temperature=0.0, max_tokens=_MAX_TOKENS, ignore_eos=True)

    def tokens_per_s(n: int) -> float:
        started = time.monotonic()
        engine.chat(prompts[:n], timed, use_tqdm=False)
        return n * _MAX_TOKENS / (time.monotonic() - started)

    return Answers(
        texts=tuple(output.text for output in outputs),
        token_ids=tuple(tuple(output.token_ids) for output in outputs),
        alone_tokens_per_s=tokens_per_s(1),
        together_tokens_per_s=tokens_per_s(len(prompts)),
    )


def _ask_in_child(name: str, models_dir: Path) -> Answers:
    environment = {**os.environ, **engine_environment(), "HF_HUB_OFFLINE": "1"}
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        arguments = ["--models-dir", str(models_dir), "--one", name, "--out", out.name]
        command = [sys.executable, "-m", __spec__.name, *arguments]
        subprocess.run(command, check=True, env=environment)
        raw = json.loads(Path(out.name).read_text(encoding="utf-8"))
    raw["texts"] = tuple(raw["texts"])
    raw["token_ids"] = tuple(map(tuple, raw["token_ids"]))
    return Answers(**raw)


def _shared_prefix(first: Sequence[int], second: Sequence[int]) -> float:
    """Part of the longer answer that both begin with, 0 to 1."""
    same = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        same += 1
    return same / max(len(first), len(second), 1)


def _compare(full: list[Answers], int8: list[Answers]) -> dict[str, object]:
    first, other = full[0], int8[0]
    rows = [
        {
            "question": question.text,
            "bf16": {"answer": first.texts[index], "correct": first.correct()[index]},
            "int8": {"answer": other.texts[index], "correct": other.correct()[index]},
            "shared_prefix": round(
                _shared_prefix(first.token_ids[index], other.token_ids[index]), 3
            ),
        }
        for index, question in enumerate(_QUESTIONS)
    ]
    verdicts = list(zip(first.correct(), other.correct(), strict=True))
    speeds = {
        way: {
            "bf16": [round(getattr(answers, f"{way}_tokens_per_s"), 1) for answers in full],
            "int8": [round(getattr(answers, f"{way}_tokens_per_s"), 1) for answers in int8],
            "int8_over_bf16": round(
                statistics.median(
                    getattr(new, f"{way}_tokens_per_s") / getattr(old, f"{way}_tokens_per_s")
                    for old, new in zip(full, int8, strict=True)
                ),
                2,
            ),
        }
        for way in ("alone", "together")
    }
    return {
        "questions": len(_QUESTIONS),
        "correct": {"bf16": sum(first.correct()), "int8": sum(other.correct())},
        "same_verdict": sum(left == right for left, right in verdicts),
        "identical_answers": sum(
            left == right for left, right in zip(first.token_ids, other.token_ids, strict=True)
        ),
        "tokens_per_s": speeds,
        "rows": rows,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=(_BF16, _INT8), help="ask one variant, here")
    parser.add_argument("--out", type=Path, help="where --one writes")
    options = parser.parse_args()
    if options.one:
        answers = ask(options.one, options.models_dir)
        options.out.write_text(json.dumps(asdict(answers)), encoding="utf-8")
        return
    full: list[Answers] = []
    int8: list[Answers] = []
    for _ in range(options.rounds):
        full.append(_ask_in_child(_BF16, options.models_dir))
        int8.append(_ask_in_child(_INT8, options.models_dir))
    report = _compare(full, int8)
    print(json.dumps({key: value for key, value in report.items() if key != "rows"}, indent=2))
    print(f"kept in {keep('int8-quality', report).name}")


if __name__ == "__main__":
    main()
