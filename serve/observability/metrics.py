"""Every metric, its unit and its labels, declared once. Served at ``/metrics`` of the ingress.

Several ingress processes answer behind one port, so each keeps its counts in files that any of
them adds up. ``PROMETHEUS_MULTIPROC_DIR``, which must be set before this module is imported, names
their folder; without it, a process counts for itself.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

REGISTRY = CollectorRegistry()

_LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter(
    "polymodal_http_requests_total",
    "HTTP requests by route template and status class; none: the client left first.",
    ("route", "status"),
    registry=REGISTRY,
)
RESPONSES = Counter(
    "polymodal_responses_total",
    "Responses by how they ended: completed, incomplete, failed, cancelled, refused.",
    ("outcome",),
    registry=REGISTRY,
)
RESPONSES_IN_FLIGHT = Gauge(
    "polymodal_responses_in_flight",
    "Responses that the ingress processes of this machine are making.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
JOBS = Counter(
    "polymodal_jobs_total",
    "Jobs by kind and how their work here ended: completed, failed, cancelled, lost, handed over.",
    ("kind", "outcome"),
    registry=REGISTRY,
)
PERCEPTIONS = Counter(
    "polymodal_perceptions_total",
    "Perceptions asked for, by medium and whether the cache had them (hit, miss).",
    ("kind", "cache"),
    registry=REGISTRY,
)
NODE_SECONDS = Histogram(
    "polymodal_node_seconds",
    "Time a graph node took to answer, as the ingress saw it.",
    ("node", "outcome"),
    buckets=_LATENCY_SECONDS,
    registry=REGISTRY,
)
FIRST_TOKEN_SECONDS = Histogram(
    "polymodal_first_token_seconds",
    "From the arrival of a request to the first piece of its answer.",
    buckets=_LATENCY_SECONDS,
    registry=REGISTRY,
)
GENERATOR_CALLS = Counter(
    "polymodal_generator_calls_total",
    "Calls of generators by the way they took: direct, or serve where no beat told a way.",
    ("way",),
    registry=REGISTRY,
)
TOKENS = Counter(
    "polymodal_tokens_total",
    "Tokens of settled responses, by direction (input, cached, output).",
    ("direction",),
    registry=REGISTRY,
)


def exposition(folder: Path | None) -> bytes:
    """All of it as Prometheus reads it; ``folder`` is where the processes keep their counts."""
    if folder is None:
        return generate_latest(REGISTRY)
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if not Path("/proc", pid).exists():
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call] # theirs
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call] # theirs
    return generate_latest(registry)


@cache
def _requests(route: str, status: str) -> Counter:
    return REQUESTS.labels(route, status)


def count_request(route: str, status: str) -> None:
    """One more in ``REQUESTS``. Finding a label anew costs more than counting."""
    _requests(route, status).inc()
