"""Counts of several ingress processes, added up by any one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serve.observability.metrics import count_request, exposition

_PROCESS = """
import sys
from pathlib import Path
from serve.observability import metrics
metrics.count_request("/v1/models", "2xx")
metrics.RESPONSES_IN_FLIGHT.inc(2)
metrics.NODE_SECONDS.labels("Ingress", "ok").observe(0.5)
print("counted", flush=True)
sys.stdin.read()
print(metrics.exposition(Path(sys.argv[1])).decode())
"""


def _process(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(folder)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": ":".join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_counts_outlive_their_process_and_what_is_in_flight_does_not(tmp_path: Path) -> None:
    processes = [_process(tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
    *others, last = processes
    for process in others:
        process.kill()
        process.communicate()
    told, _ = last.communicate("")
    lines = told.splitlines()
    assert 'polymodal_http_requests_total{route="/v1/models",status="2xx"} 3.0' in lines
    assert 'polymodal_node_seconds_count{node="Ingress",outcome="ok"} 3.0' in lines
    assert "polymodal_responses_in_flight 2.0" in lines


def test_a_process_alone_counts_for_itself() -> None:
    before = exposition(None)
    count_request("/v1/alone", "2xx")
    assert b'route="/v1/alone"' not in before
    assert b'polymodal_http_requests_total{route="/v1/alone",status="2xx"} 1.0' in exposition(None)
