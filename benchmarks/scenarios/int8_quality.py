"""Do answers survive int8? The same small questions to both variants of the default generator.

``python -m benchmarks.scenarios.int8_quality --models-dir var/models``

Greedy, one engine at a time, each in a process of its own. Prints a table and writes
``benchmarks/results/int8_quality.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployments.loading import model_dir
from serve.registry.catalog import CPU_CATALOG

_VARIANTS = ("qwen2.5-coder-0.5b-instruct-bf16", "qwen2.5-coder-0.5b-instruct")
_MAX_TOKENS = 64
_RESULT = Path(__file__).resolve().parents[1] / "results" / "int8_quality.json"


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
    """What one variant said, in the order of the questions."""

    model: str
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """All questions at once."""
        return sum(len(ids) for ids in self.token_ids) / self.seconds

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
    engine.chat(prompts[:1], greedy, use_tqdm=False)
    started = time.monotonic()
    outputs = [result.outputs[0] for result in engine.chat(prompts, greedy, use_tqdm=False)]
    return Answers(
        model=name,
        texts=tuple(output.text for output in outputs),
        token_ids=tuple(tuple(output.token_ids) for output in outputs),
        seconds=time.monotonic() - started,
    )


def _ask_in_child(name: str, models_dir: Path, out: Path) -> Answers:
    path = out.with_name(f".{name}.json")
    arguments = ["--models-dir", str(models_dir), "--one", name, "--out", str(path)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run([sys.executable, "-m", __spec__.name, *arguments], check=True, env=environment)
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return Answers(
        model=raw["model"],
        texts=tuple(raw["texts"]),
        token_ids=tuple(tuple(ids) for ids in raw["token_ids"]),
        seconds=raw["seconds"],
    )


def _shared_prefix(first: Sequence[int], second: Sequence[int]) -> float:
    """Part of the longer answer that both begin with, 0 to 1."""
    same = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        same += 1
    return same / max(len(first), len(second), 1)


def _compare(full: Answers, int8: Answers) -> dict[str, object]:
    rows = [
        {
            "question": question.text,
            "bf16": {"answer": full.texts[index], "correct": full.correct()[index]},
            "int8": {"answer": int8.texts[index], "correct": int8.correct()[index]},
            "shared_prefix": round(_shared_prefix(full.token_ids[index], int8.token_ids[index]), 3),
        }
        for index, question in enumerate(_QUESTIONS)
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "scenario": "int8_quality",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": platform.system()},
        "questions": len(_QUESTIONS),
        "correct": {"bf16": sum(full.correct()), "int8": sum(int8.correct())},
        "same_verdict": sum(
            left == right for left, right in zip(full.correct(), int8.correct(), strict=True)
        ),
        "identical_answers": sum(
            left == right for left, right in zip(full.token_ids, int8.token_ids, strict=True)
        ),
        "tokens_per_s": {
            "bf16": round(full.tokens_per_s, 1),
            "int8": round(int8.tokens_per_s, 1),
        },
        "rows": rows,
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=_RESULT)
    parser.add_argument("--one", choices=_VARIANTS, help="ask one variant, here")
    options = parser.parse_args()
    if options.one:
        answers = ask(options.one, options.models_dir)
        options.out.write_text(json.dumps(asdict(answers)), encoding="utf-8")
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    full, int8 = (_ask_in_child(name, options.models_dir, options.out) for name in _VARIANTS)
    report = _compare(full, int8)
    options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for index, question in enumerate(_QUESTIONS):
        print(f"{question.text}")
        print(f"  bf16 {full.correct()[index]!s:5} {full.texts[index][:90]!r}")
        print(f"  int8 {int8.correct()[index]!s:5} {int8.texts[index][:90]!r}")
    print({key: value for key, value in report.items() if key != "rows"})


if __name__ == "__main__":
    main()
