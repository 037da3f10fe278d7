"""``polymodal bench`` against a real server that misbehaves to order."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.load.results import Result
from benchmarks.load.targets import free_port
from serve.cli.__main__ import main
from tests.fixtures.running import QUICK


class Bench:
    """The command, and the server it is pointed at."""

    def __init__(self, url: str, pid: int, folder: Path) -> None:
        self.url = url
        self.pid = pid
        self._file = folder / "result.json"

    def load(self, model: str, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and the only round of ``polymodal bench load``."""
        common = ["--rounds", "1", "--no-warm-up", "--output-tokens", "5", "-o", str(self._file)]
        code = main(["bench", "load", "--url", self.url, "--model", model, *common, *words])
        document = json.loads(self._file.read_text())
        found: dict[str, Any] = document["cells"][0]["rounds"][0]
        return code, found

    def asked(self) -> list[dict[str, Any]]:
        """Bodies of all requests of this test."""
        bodies: list[dict[str, Any]] = httpx.get(f"{self.url}/asked").json()
        return bodies


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """URL and process id."""
    port = free_port()
    command = [sys.executable, "-m", "tests.fixtures.openai_server", str(port)]
    with subprocess.Popen(command) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            _until_answering(url)
            yield url, server.pid
        finally:
            server.kill()


@pytest.fixture
def bench(server: tuple[str, int], tmp_path: Path) -> Bench:
    url, pid = server
    httpx.delete(f"{url}/asked")
    return Bench(url, pid, tmp_path)


def _until_answering(url: str) -> None:
    for _ in range(200):
        try:
            httpx.get(url)
        except httpx.ConnectError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server did not start")


ALONE = ("--concurrency", "1", "--requests", "1")


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("shape", [(), ("--unary",)])
def test_whole_answers_are_counted_with_their_tokens(
    bench: Bench, api: str, shape: tuple[str, ...]
) -> None:
    load = ("--concurrency", "3", "--requests", "7", "--verify")
    code, found = bench.load("steady", "--api", api, *shape, *load)
    assert code == 0
    assert (found["n_requests"], found["n_ok"], found["errors"]) == (7, 7, {})
    assert found["output_tokens"] == 35
    assert len(found["ttft_ms"]) == 101
    assert (found["itl_ms"] is None) == bool(shape)


@pytest.mark.parametrize("model", ["steady", "dribbling"])
def test_events_are_found_however_the_bytes_are_cut(bench: Bench, model: str) -> None:
    code, found = bench.load(model, *ALONE, "--turns", "2")
    assert (code, found["n_ok"]) == (0, 2)
    answers = [
        message for message in bench.asked()[1]["messages"] if message["role"] == "assistant"
    ]
    assert answers[0]["content"].startswith(' "sequence_number":0 é\n\n "sequence_number":1')


@pytest.mark.parametrize(
    ("model", "words", "kind"),
    [
        ("failing", (), "http_500"),
        ("steady", ("--api-key", "wrong"), "http_401"),
        ("limiting", ("--max-refusals", "2"), "rate_limited"),
        ("complaining", (), "error_event:engine_dead"),
        ("stopping", (), "incomplete"),
        ("breaking", (), "broken"),
        ("skipping", ("--api", "responses"), "sequence"),
        ("repeating", ("--api", "responses", "--resume", "0.5"), "sequence"),
        ("lying", ("--api", "responses", "--verify"), "mismatch"),
        ("silent", ("--api", "responses", "--timeout", "0.3"), "timeout"),
        ("silent", ("--api", "responses", "--silence", "0.1", "--resume", "0"), "broken"),
    ],
)
def test_every_failure_has_its_name(
    bench: Bench, model: str, words: tuple[str, ...], kind: str
) -> None:
    code, found = bench.load(model, *ALONE, *words)
    assert code == 3
    assert found["errors"] == {kind: 1}
    assert (found["n_ok"], found["ttft_ms"]) == (0, None)


def test_nobody_at_the_address_is_a_failed_request(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    url = f"http://127.0.0.1:{free_port()}"
    words = [*ALONE, "--rounds", "1", "--no-warm-up", "-o", str(output)]
    assert main(["bench", "load", "--url", url, *words]) == 3
    assert json.loads(output.read_text())["cells"][0]["rounds"][0]["errors"] == {"connect": 1}


def test_refusals_are_waited_out_and_counted(bench: Bench) -> None:
    code, found = bench.load("busy", "--concurrency", "2", "--requests", "4")
    assert (code, found["n_ok"], found["n_refusals"]) == (0, 4, 4)


def test_broken_streams_go_on_exactly_once(bench: Bench) -> None:
    words = ("--api", "responses", "--output-tokens", "20", "--verify")
    code, found = bench.load("breaking", *ALONE, *words)
    assert (code, found["errors"], found["output_tokens"]) == (0, {}, 20)
    assert found["n_resumes"] == 5
    assert found["n_sequence_faults"] == 0


def test_silent_streams_are_taken_up_elsewhere(bench: Bench) -> None:
    words = ("--api", "responses", "--silence", "0.2", "--verify")
    code, found = bench.load("silent", *ALONE, *words)
    assert (code, found["output_tokens"], found["n_resumes"]) == (0, 5, 1)


def test_waiting_in_a_queue_is_told(bench: Bench) -> None:
    code, found = bench.load("queueing", *ALONE)
    assert code == 0
    assert len(found["queued_ms"]) == 101


def test_an_open_loop_starts_what_it_was_told_whatever_comes_of_it(bench: Bench) -> None:
    words = ("--rate", "200", "--requests", "30", "--slo", "ttft=60s,itl=60s,tpot=60s,total=60s")
    code, found = bench.load("steady", *words)
    assert (code, found["n_ok"], found["good_share"]) == (0, 30, 1.0)
    _, missed = bench.load("steady", *words[:4], "--slo", "ttft=0.0001ms", "--arrivals", "constant")
    assert (missed["n_ok"], missed["good_share"]) == (30, 0.0)


def test_a_trace_is_replayed_with_its_media_and_turns(bench: Bench, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    lines: list[dict[str, Any]] = [
        {"at_s": 0.05, "turns": [{"text": "later", "output_tokens": 2}, {"text": "and then"}]},
        {"at_s": 0.0, "text": "first", "media": ["image", "audio"], "output_tokens": 3},
    ]
    trace.write_text("\n".join(json.dumps(line) for line in lines))
    code, found = bench.load("steady", "--api", "responses", "--trace", str(trace))
    assert (code, found["n_ok"], found["output_tokens"]) == (0, 3, 10)
    first, later, last = (body["input"] for body in bench.asked())
    kinds = [part["type"] for part in first[0]["content"]]
    assert kinds == ["input_text", "input_image", "input_audio"]
    assert (later, last) == ("later", "and then")
    assert bench.asked()[2]["previous_response_id"].startswith("resp_")


def test_mixed_media_come_in_the_shares_asked_for(bench: Bench) -> None:
    words = ("--concurrency", "4", "--requests", "40", "--media", "image=0.5,audio=0")
    code, found = bench.load("steady", *words)
    contents = [body["messages"][0]["content"] for body in bench.asked()]
    with_picture = [content for content in contents if isinstance(content, list)]
    assert (code, found["n_ok"]) == (0, 40)
    assert 8 < len(with_picture) < 32
    assert with_picture[0][1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert len({str(content) for content in contents}) == 40


def test_the_server_s_processes_are_billed(bench: Bench) -> None:
    words = ("--server-pid", str(bench.pid), "--concurrency", "8", "--requests", "400")
    _, found = bench.load("steady", *words, "--idle", "0.2")
    assert found["cpu_s"]["tests.fixtures.openai_server"] > 0
    assert found["idle_cpu_s"].keys() == found["cpu_s"].keys()
    assert found["pss_mb"]["tests.fixtures.openai_server"][0] > 1


def test_targets_are_compared_and_shown(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, page = tmp_path / "compared.json", tmp_path / "compared.html"
    words = ["bench", "compare", "--target", f"ours={bench.url},model=steady,api_key=secret-key"]
    words += ["--target", "bare=bare,tokens_per_s=500", "--baseline", "bare"]
    words += ["--target", f"gateway=litellm,upstream={bench.url}", "--target", "ray=ray-serve-llm"]
    words += ["--concurrency", "2,4", "--requests", "8", "--output-tokens", "4", "--rounds", "2"]
    assert main([*words, "-o", str(output), "--html", str(page)]) == 0
    result = Result.read(output)
    assert [(cell.target, len(cell.rounds)) for cell in result.cells] == [
        ("ours", 2),
        ("bare", 2),
        ("ours", 2),
        ("bare", 2),
    ]
    compared = result.compared()
    assert [(each.target, each.baseline) for each in compared] == [("ours", "bare")] * 2
    assert compared[0].ratios["tokens_per_s"].low is not None
    assert "LiteLLM is not installed" in result.unavailable["gateway"]
    assert "ray.serve.llm is not installed" in result.unavailable["ray"]
    assert "secret-key" not in output.read_text() + page.read_text()
    capsys.readouterr()

    assert main(["bench", "report", str(output), "-o", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "Against bare" in printed
    assert "gateway: left out: LiteLLM is not installed" in printed
    shown = page.read_text()
    assert shown.count("<svg") >= 6
    assert "http://" not in shown.replace(bench.url, "")


def test_ending_the_tester_ends_what_it_started() -> None:
    words = ["compare", "--target", "bare=bare", "--concurrency", "1", "--duration", "600"]
    with subprocess.Popen([sys.executable, "-m", "serve.cli", "bench", *words]) as tester:
        try:
            started = _until_busy(tester.pid)
            tester.terminate()
            assert tester.wait(30) == 130
        finally:
            tester.kill()
    assert len(started) == 2
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


def _until_busy(pid: int) -> list[psutil.Process]:
    """The server and its engine, once they are there."""
    for _ in range(600):
        family = psutil.Process(pid).children(recursive=True)
        if len(family) == 2:
            return family
        time.sleep(0.05)
    pytest.fail("nothing was started")


@pytest.mark.models
def test_the_engine_itself_is_a_target(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMODAL_MODELS_DIR", str(models_dir))
    output = tmp_path / "engine.json"
    words = ["bench", "compare", "--target", "engine=asyncllm", "--model", QUICK, "--turns", "2"]
    words += ["--concurrency", "2", "--requests", "2", "--output-tokens", "4", "--rounds", "1"]
    assert main([*words, "-o", str(output)]) == 0
    (cell,) = Result.read(output).cells
    assert (cell.rounds[0].n_ok, cell.rounds[0].output_tokens) == (4, 16)
    assert cell.rounds[0].cpu_s["VLLM::EngineCore"] > 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["load", "--url", "ftp://x"], "is neither a URL nor one of"),
        (["load", "--url", "http://"], "is not an http(s) URL"),
        (["load", "--url", "http://x", "--prompt-tokens", "many"], "write 64, 32-128 or 64~0.5"),
        (["load", "--url", "http://x", "--concurrency", "0"], "above 0"),
        (["load", "--url", "http://x", "--media", "smell=1"], "choose from image, audio"),
        (["load", "--url", "http://x", "--slo", "ttft=soon"], "write ttft=500ms"),
        (["load", "--url", "http://x", "--extra-body", "{"], "--extra-body"),
        (["compare", "--target", "a=nothing"], "is neither a URL nor one of"),
        (["compare", "--target", "a=bare", "--target", "a=bare"], "two targets have one name"),
        (["compare", "--target", "a=bare", "--baseline", "b"], "the targets are a"),
        (["compare", "--target", "a=bare,colour=red"], "known are model"),
        (["compare", "--target", "a=asyncllm", "--media", "image=1"], "in text only"),
        (["report", "nowhere.json"], "No such file"),
        (["report", __file__], "is not a result of"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 1
    told = capsys.readouterr().err
    assert complaint in told
    assert told.startswith("error: ")


def test_a_bad_line_of_a_trace_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 0}\n{"at_s": 1, "colour": "red"}\n')
    assert main(["bench", "load", "--url", "http://x", "--trace", str(trace)]) == 1
    assert "trace.jsonl, line 2" in capsys.readouterr().err


def test_help_is_that_of_the_load_tester(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", "--help"])
    assert left.value.code == 0
    assert "compare" in capsys.readouterr().out
