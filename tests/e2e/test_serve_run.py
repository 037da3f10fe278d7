"""``serve run serve_config.yaml``, every store given by URL, the objects in S3.

The embedded profile is no other code path.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.installation import free_port
from serve.config.settings import process_environment
from tests.fixtures.running import QUICK
from tests.fixtures.stores import S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.models]

# Serve ends its replicas one after the other; a busy machine needs a minute for all of them.
_END_S = 180.0
_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(
    tmp_path: Path,
    models_dir: Path,
    empty_postgres_dsn: str,
    redis_url: str,
    chroma_url: str,
    s3_server: S3Server,
) -> dict[str, str]:
    return {
        **process_environment(),
        **s3_server.environment,
        "POLYMODAL_HOME": str(tmp_path),
        "POLYMODAL_MODELS_DIR": str(models_dir),
        "POLYMODAL_GENERATORS": QUICK,
        "POLYMODAL_PORT": str(free_port()),
        "POLYMODAL_POSTGRES_DSN": empty_postgres_dsn,
        "POLYMODAL_REDIS_URL": redis_url,
        "POLYMODAL_CHROMA_URL": chroma_url,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "for-this-test-only-" + os.urandom(16).hex(),
    }


def _polymodal(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "serve.cli", *words],
        env=environment,
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """URL of the graph that Ray's own command runs."""
    _polymodal(environment, "migrate")
    url = f"http://127.0.0.1:{environment['POLYMODAL_PORT']}"
    output = tmp_path / "serve.log"
    with output.open("wb") as log:
        serve = str(Path(sys.executable).with_name("serve"))
        # Whoever runs the tests in the background of a shell has them ignore Ctrl-C.
        command = ["env", "--default-signal=INT", serve, "run", "serve_config.yaml"]
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=_REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 400
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(output.read_text(errors="replace")[-6000:])
            time.sleep(1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail(f"not ended {_END_S:.0f} s after Ctrl-C")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_main_job_on_stores_by_url(
    served: str, environment: dict[str, str], cat_photo: Path
) -> None:
    key = _polymodal(environment, "keys", "create", "--name", "test").split()[-1]
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=served, headers=headers, timeout=120) as http:
        asset = http.post("/api/v1/assets", files={"file": cat_photo.read_bytes()}).json()
        assert http.get(asset["content_url"]).headers["content-type"] == "image/jpeg"
        content = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "file_id": asset["id"]},
        ]
        answer = http.post(
            "/v1/responses",
            json={"input": [{"role": "user", "content": content}], "max_output_tokens": 8},
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["output_tokens"] > 0
        assert "cat" in http.get(f"/api/v1/assets/{asset['id']}/perception").text
