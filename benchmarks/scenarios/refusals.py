"""How long a refusal takes while the service is at work.

    make bench NAME=refusals ARGS="--streams 100 --rate 25"

Starts a service with an engine without a model, holds a number of streams open, and asks for more
than is allowed, at a constant rate from one connection: first the queue is full, then the minute's
requests are used up. Both are 429; between them the server is asked for its health, which is
the least that it can answer. Client and server share the machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.installation import Installation, started
from benchmarks.report import keep
from serve.config.settings import settings_from_environment

_MODEL = "echo"
_TOKENS_PER_S = 20
_TOO_MUCH = 429
_BODY = json.dumps({"model": _MODEL, "input": "One more?", "max_output_tokens": 16}).encode()
_N_INGRESSES = 2
_SETTLE_S = 5.0
_GOAL_MS = 10.0


@contextmanager
def streaming(service: Installation, api_key: str, n_asked: int, seconds: float) -> Iterator[None]:
    """Read streams in another process, so that it does not delay our clock."""
    load = [
        *(sys.executable, "-m", "serve.cli", "bench", "load"),
        *("--url", service.url, "--api-key", api_key, "--model", _MODEL, "--api", "responses"),
        *("--concurrency", str(n_asked), "--requests", str(n_asked), "--max-refusals", "0"),
        *("--output-tokens", str(int(seconds * _TOKENS_PER_S)), "--no-warm-up", "--rounds", "1"),
    ]
    with subprocess.Popen(load, env=dict(service.environment), stdout=subprocess.DEVNULL) as reader:
        try:
            yield
        finally:
            reader.terminate()


def refused(
    service: Installation, api_key: str, *, rate: float, seconds: float
) -> dict[str, list[float]]:
    """Milliseconds of each answer, by its kind; those of ``health`` beside them."""
    host = service.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
    took: dict[str, list[float]] = {}

    def ask(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()

    begun = time.perf_counter()
    for index in range(int(rate * seconds)):
        time.sleep(max(0.0, begun + index / rate - time.perf_counter()))
        asked_at = time.perf_counter()
        status, body = ask("POST", "/v1/responses", _BODY)
        took_ms = (time.perf_counter() - asked_at) * 1000
        took.setdefault(_kind(status, body), []).append(took_ms)
        asked_at = time.perf_counter()
        ask("GET", "/-/healthz", None)
        took.setdefault("health", []).append((time.perf_counter() - asked_at) * 1000)
    return took


def _kind(status: int, body: bytes) -> str:
    if status != _TOO_MUCH:
        return f"status {status}"
    return "queue_full" if "waiting" in json.loads(body)["error"]["message"] else "minute_used_up"


def figures(took: dict[str, list[float]]) -> dict[str, object]:
    """Of each kind of answer."""
    return {
        name: {
            "answers": len(each),
            "median_ms": round(statistics.median(each), 2),
            "p99_ms": round(statistics.quantiles(each, n=100, method="inclusive")[98], 2),
            "within_goal": round(sum(ms <= _GOAL_MS for ms in each) / len(each), 4),
        }
        for name, each in took.items()
        if len(each) > 1
    }


def measure(*, n_streams: int, rate: float, seconds: float) -> dict[str, object]:
    """Start a service and refuse."""
    # Whichever ingress they reach: twice as many are enough to fill both.
    n_asked = 2 * n_streams
    # So much that half of what is asked for then is refused by the queue, the rest by the
    # minute's limit, which is renewed all the time.
    limit = int((n_asked + rate * seconds / 2) / (1 + seconds / 120))
    with tempfile.TemporaryDirectory(prefix="pm-refusals-") as folder:
        variables = {
            "POLYMODAL_GENERATORS": _MODEL,
            "POLYMODAL_MODELS_DIR": str(settings_from_environment().models_dir),
            "POLYMODAL_RATE_LIMIT_PER_MINUTE": str(limit),
            "POLYMODAL_MAX_RUNNING_PER_USER": str(n_streams // _N_INGRESSES),
            "POLYMODAL_INGRESS_REPLICAS": str(_N_INGRESSES),
            "POLYMODAL_MAX_WAITING_PER_USER": "0",
        }
        with started(Path(folder) / "home", variables) as service:
            api_key = service.new_key()
            with streaming(service, api_key, n_asked, 2 * _SETTLE_S + seconds):
                time.sleep(_SETTLE_S)
                took = refused(service, api_key, rate=rate, seconds=seconds)
    return {"streams": n_streams, "asked_per_s": rate, **figures(took)}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=25.0, help="refusals asked for in a second")
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args(arguments)
    found = measure(n_streams=options.streams, rate=options.rate, seconds=options.seconds)
    print(json.dumps(found, indent=2))
    print(keep("refusals", found))


if __name__ == "__main__":
    main()
