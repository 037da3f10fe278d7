"""What happens when an engine dies under a running installation with one replica of it."""

from __future__ import annotations

import time
from typing import Any

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


def _text(response: dict[str, Any]) -> str:
    text: str = response["output"][0]["content"][0]["text"]
    return text


def test_an_answer_outlives_its_engine(running: Running) -> None:
    body = {"model": QUICK, "input": "Hi", "max_output_tokens": 4}
    waiting = {**body, "max_output_tokens": 200, "temperature": 0, "background": True}
    with running.http() as http:
        before = http.post("/v1/responses", json={**waiting, "background": False})
        begun = http.post("/v1/responses", json=waiting).json()["id"]
        _engine_of(running, QUICK).kill()
        # The other generator goes on meanwhile.
        other = http.post("/v1/responses", json={"input": "Hi", "max_output_tokens": 2})
        assert other.status_code == 200
        deadline = time.monotonic() + 240
        while (after := http.get(f"/v1/responses/{begun}").json())["status"] == "in_progress":
            assert time.monotonic() < deadline, "the answer did not go on"
            time.sleep(1)
        assert _text(after) == _text(before.json())
        assert http.post("/v1/responses", json=body).status_code == 200
        while http.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline, "the graph did not become ready again"
            time.sleep(1)
