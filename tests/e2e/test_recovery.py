"""What happens when an engine dies under a running installation."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.fixtures.running import QUICK, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]


def _engine_of(running: Running, model: str) -> psutil.Process:
    """The engine's own process below the replica of ``model``."""
    for process in psutil.Process(running.supervisor).children(recursive=True):
        # Ray writes the deployment into the title of a replica's process.
        if f"ServeReplica:polymodal:Generator:{model}" in " ".join(process.cmdline()):
            engines = [
                child
                for child in process.children(recursive=True)
                if "EngineCore" in " ".join(child.cmdline()) or "spawn" in " ".join(child.cmdline())
            ]
            if engines:
                return engines[0]
    pytest.fail(f"no engine of {model} is running")


def test_a_dead_engine_is_told_and_replaced(running: Running) -> None:
    body = {"model": QUICK, "input": "Hi", "max_output_tokens": 4}
    with running.http() as http:
        assert http.post("/v1/responses", json=body).status_code == 200
        _engine_of(running, QUICK).kill()
        told = http.post("/v1/responses", json=body)
        assert told.status_code == 503, told.text
        assert told.json()["error"]["code"] == "engine_unavailable"
        assert "retry-after" in told.headers
        assert http.get("/readyz").status_code == 503
        # The other generator goes on meanwhile.
        other = http.post("/v1/responses", json={"input": "Hi", "max_output_tokens": 2})
        assert other.status_code == 200
        deadline = time.monotonic() + 240
        while http.post("/v1/responses", json=body).status_code != 200:
            assert time.monotonic() < deadline, "the engine was not replaced"
            time.sleep(1)
        while http.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, "the graph did not become ready again"
            time.sleep(1)
