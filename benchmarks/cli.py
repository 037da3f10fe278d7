"""``polymodal bench``: put load on a server, compare servers, show a result."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.faults import cli as faults
from benchmarks.load.client import Patience
from benchmarks.load.html import write_report
from benchmarks.load.progress import Progress
from benchmarks.load.results import BadResult, Result, circumstances
from benchmarks.load.runs import Done, Plan, carry_out
from benchmarks.load.schedule import Level
from benchmarks.load.summary import Goal
from benchmarks.load.targets import OWN, NotAvailable, Target, TargetSpec, make_target
from benchmarks.load.terminal import show
from benchmarks.load.wire import allow_many_sockets
from benchmarks.load.workload import BadWorkload, Lengths, Workload, parse_media, read_trace

_DEFAULT_DURATION_S: Final = 10.0
_FAILED_REQUESTS: Final = 3
_INTERRUPTED: Final = 130


def parser() -> argparse.ArgumentParser:
    """The commands under ``polymodal bench``."""
    root = argparse.ArgumentParser(prog="polymodal bench", description=__doc__)
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    _add_load(commands)
    _add_compare(commands)
    _add_report(commands)
    faults.add_command(commands)
    return root


def main(words: Sequence[str]) -> int:
    """Run one command; returns the exit code: 3 when requests failed, 1 for what cannot be done."""
    options = parser().parse_args(words)
    options.words = words
    try:
        code: int = options.run(options)
    except (BadWorkload, BadResult, NotAvailable, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED
    return code


def run_load(options: argparse.Namespace) -> int:
    """One server."""
    spec = TargetSpec(name=options.name, what=options.url, **_spoken(options))
    return _run(options, [spec], baseline=options.name)


def run_compare(options: argparse.Namespace) -> int:
    """Several, in turn."""
    defaults = TargetSpec(name="", what="", **_spoken(options))
    specs = [TargetSpec.parse(text, defaults) for text in options.target]
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise BadWorkload("two targets have one name")
    baseline = options.baseline or names[0]
    if baseline not in names:
        raise BadWorkload(f"--baseline {baseline}: the targets are {', '.join(names)}")
    return _run(options, specs, baseline=baseline)


def run_report(options: argparse.Namespace) -> int:
    """A file as tables, and as a page."""
    result = Result.read(options.result)
    show(result)
    if options.output:
        write_report(result, options.output)
    return 0


def _run(options: argparse.Namespace, specs: Sequence[TargetSpec], *, baseline: str) -> int:
    allow_many_sockets()
    plan = _plan(options)
    if plan.has_media and any(spec.what == "asyncllm" for spec in specs):
        raise BadWorkload("asyncllm is asked in text only: leave the media out")
    patience = Patience(
        total_s=options.timeout,
        silence_s=options.silence,
        max_refusals=options.max_refusals,
        resume_s=options.resume,
    )
    targets = [make_target(spec, patience, verifies=options.verify) for spec in specs]
    console = Console(stderr=True, highlight=False)
    with Progress(console, plan.n_all_rounds * len(targets)) as progress:
        done = _carry_out(plan, targets, progress)
    result = Result(
        **circumstances(options.words),
        workload=_told(plan),
        goal=asdict(plan.goal) if plan.goal else None,
        seed=options.seed,
        baseline=baseline,
        targets={spec.name: _described(spec) for spec in specs},
        unavailable=dict(done.unavailable),
        cells=done.cells,
    )
    show(result)
    if options.output:
        result.write(options.output)
    if options.html:
        write_report(result, options.html)
    has_failed = any(summary.errors for cell in done.cells for summary in cell.rounds)
    return _FAILED_REQUESTS if has_failed or not done.cells else 0


def _carry_out(plan: Plan, targets: Sequence[Target], progress: Progress) -> Done:
    # Not on import: `polymodal --help` needs none of it.
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(carry_out(plan, targets, progress))


def _plan(options: argparse.Namespace) -> Plan:
    workload = Workload(
        prompt_tokens=Lengths.parse(options.prompt_tokens),
        output_tokens=Lengths.parse(options.output_tokens),
        n_turns=options.turns,
        shared_prefix_tokens=options.shared_prefix_tokens,
        media=parse_media(options.media),
        image_px=options.image_px,
        audio_s=options.audio_s,
        seed=options.seed,
    )
    trace = tuple(read_trace(options.trace, workload)) if options.trace else ()
    return Plan(
        levels=_levels(options, is_trace=bool(trace)),
        workload=workload,
        n_rounds=options.rounds,
        warms_up=not options.no_warm_up,
        idle_s=options.idle,
        goal=Goal.parse(options.slo) if options.slo else None,
        trace=trace,
    )


def _levels(options: argparse.Namespace, *, is_trace: bool) -> list[Level]:
    if is_trace:
        return [Level()]
    n_sessions, duration_s = options.requests, options.duration
    if not n_sessions and not duration_s:
        duration_s = _DEFAULT_DURATION_S
    if options.rate:
        rates = _numbers(options.rate, "--rate")
        return [
            Level(
                rate_per_s=rate,
                arrivals=options.arrivals,
                n_sessions=n_sessions,
                duration_s=duration_s,
            )
            for rate in rates
        ]
    return [
        Level(concurrency=int(number), n_sessions=n_sessions, duration_s=duration_s)
        for number in _numbers(options.concurrency, "--concurrency")
    ]


def _numbers(text: str, option: str) -> list[float]:
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError as error:
        raise BadWorkload(f"{option} {text!r}: write 1,8,32") from error
    if min(numbers) <= 0:
        raise BadWorkload(f"{option} {text!r}: above 0")
    return numbers


def _spoken(options: argparse.Namespace) -> dict[str, Any]:
    try:
        extra = json.loads(options.extra_body)
    except ValueError as error:
        raise BadWorkload(f"--extra-body: {error}") from error
    return {
        "model": options.model,
        "api_key": options.api_key,
        "api": options.api,
        "streams": not options.unary,
        "pids": tuple(options.server_pid or ()),
        "extra": extra,
    }


def _told(plan: Plan) -> dict[str, Any]:
    levels = [asdict(level) for level in plan.levels]
    return {**asdict(plan.workload), "levels": levels, "n_traced_sessions": len(plan.trace)}


def _described(spec: TargetSpec) -> dict[str, Any]:
    told = asdict(spec)
    del told["api_key"], told["python"]
    return told


def _add_load(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("load", help="put load on one server")
    command.add_argument("--url", required=True, help="where it is, with or without /v1")
    command.add_argument("--name", default="server", help="what to call it in the tables")
    _add_common(command)
    command.set_defaults(run=run_load)


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "compare", help="the same load on several, in turn, round by round"
    )
    command.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="NAME=WHAT[,OPTION=VALUE]",
        help=f"a URL or one of {', '.join(OWN)}; options: model, api_key, api, pid, python, "
        "upstream, tokens_per_s",
    )
    command.add_argument("--baseline", default="", help="what ratios are of; default: the first")
    _add_common(command)
    command.set_defaults(run=run_compare)


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("report", help="show a result again, or make a page of it")
    command.add_argument("result", type=Path)
    command.add_argument("-o", "--output", type=Path, help="write an HTML page here")
    command.set_defaults(run=run_report)


def _add_common(command: argparse.ArgumentParser) -> None:
    _add_speaking(command.add_argument_group("how the server is spoken to"))
    _add_loading(command.add_argument_group("how much, and when"))
    _add_asking(command.add_argument_group("what is asked"))
    group = command.add_argument_group("what is kept")
    group.add_argument("-o", "--output", type=Path, help="write the result here, as JSON")
    group.add_argument("--html", type=Path, help="write a page with plots here")
    group.add_argument("--slo", default="", help="e.g. ttft=500ms,itl=50ms: counts goodput")
    group.add_argument(
        "--server-pid",
        type=int,
        action="append",
        help="root of the server's processes on this machine: counts processor time and memory",
    )


def _add_speaking(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", default="", help="the model's name")
    group.add_argument(
        "--api-key", default=os.environ.get("OPENAI_API_KEY", ""), help="default: OPENAI_API_KEY"
    )
    group.add_argument("--api", choices=("chat", "responses"), default="chat")
    group.add_argument("--unary", action="store_true", help="whole answers instead of streams")
    group.add_argument("--extra-body", default="{}", help="JSON added to every request's body")
    group.add_argument("--timeout", type=float, default=600.0, help="seconds for one request")
    group.add_argument(
        "--silence", type=float, help="seconds without a byte that count as a broken connection"
    )
    group.add_argument(
        "--max-refusals", type=int, default=3, help="how many 429 are waited out, as told"
    )
    group.add_argument(
        "--resume", type=float, default=30.0, help="seconds to try to go on with a broken stream"
    )
    group.add_argument(
        "--verify", action="store_true", help="compare all deltas with the final text"
    )


def _add_loading(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--concurrency",
        default="1,8,32",
        help="conversations at once, one level each (closed loop)",
    )
    group.add_argument("--rate", default="", help="conversations a second instead (open loop)")
    group.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson")
    group.add_argument("--trace", type=Path, help="JSONL of sessions to replay instead")
    group.add_argument("--requests", type=int, default=0, help="conversations of a round")
    group.add_argument(
        "--duration", type=float, default=0.0, help="seconds in which a round's ones begin"
    )
    group.add_argument("--rounds", type=int, default=3)
    group.add_argument("--no-warm-up", action="store_true")
    group.add_argument(
        "--idle", type=float, default=0.0, help="seconds to watch what the processes use unasked"
    )


def _add_asking(group: argparse._ArgumentGroup) -> None:
    lengths = "tokens: 64, 32-128 (uniform) or 64~0.5 (log-normal: median~sigma)"
    group.add_argument("--prompt-tokens", default="64", help=f"{lengths}; about, as words")
    group.add_argument("--output-tokens", default="64", help=f"{lengths}; at most")
    group.add_argument("--shared-prefix-tokens", type=int, default=0)
    group.add_argument("--turns", type=int, default=1, help="questions of a conversation")
    group.add_argument("--media", default="", help="e.g. image=0.2,audio=0.05: share of sessions")
    group.add_argument("--image-px", type=int, default=64, help="side of a picture")
    group.add_argument("--audio-s", type=float, default=1.0, help="length of a recording")
    group.add_argument("--seed", type=int, default=0)
