"""An engine that dies or hangs fails its answers at once and takes its replica along."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from serve.domain.errors import EngineDead
from serve.observability.processes import process_stat

_PATIENCE_S = 180


def live_through(model: str, models_dir: Path, fate: str, heard: Path) -> dict[str, Any]:
    """What the callers of a replica in a process of its own heard, which then ended itself."""
    command = [sys.executable, "-m", "tests.fixtures.dying_engine"]
    done = subprocess.run(
        [*command, model, str(models_dir), fate, str(heard)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert heard.exists(), done.stderr[-4000:]
    assert done.returncode == -signal.SIGKILL, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(heard.read_text())
    return told


@pytest.mark.parametrize("fate", ["killed", "hung"])
def test_a_dead_engine_fails_its_answers_and_ends_its_replica(
    tiny_text_checkpoint: Path, tmp_path: Path, fate: str
) -> None:
    told = live_through(str(tiny_text_checkpoint), tmp_path, fate, tmp_path / "heard.json")
    assert told["ping before"] == "tiny"
    assert told["running answer"] == EngineDead.code
    assert told["next answer"] == EngineDead.code
    assert told["health check"] == EngineDead.code
    assert told["ping after"] == EngineDead.code


@pytest.mark.models
@pytest.mark.parametrize("fate", ["killed", "stopped"])
def test_a_real_models_engine_is_found_dead_too(
    models_dir: Path, tmp_path: Path, fate: str
) -> None:
    told = live_through("smollm2-135m-instruct", models_dir, fate, tmp_path / "heard.json")
    assert told["running answer"] == EngineDead.code
    assert told["health check"] == EngineDead.code


def test_an_engine_does_not_outlive_its_replica(tiny_text_checkpoint: Path, tmp_path: Path) -> None:
    told = live_through(str(tiny_text_checkpoint), tmp_path, "orphaned", tmp_path / "heard.json")
    deadline = time.monotonic() + 30
    while (stat := process_stat(told["engine pid"])) is not None and not stat.is_gone:
        assert time.monotonic() < deadline, stat
        time.sleep(0.05)
