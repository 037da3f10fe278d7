"""Every metric, its unit and its labels, declared once. Served at ``/metrics`` of the ingress."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
    "Responses that this ingress replica is making.",
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
TOKENS = Counter(
    "polymodal_tokens_total",
    "Tokens of settled responses, by direction (input, cached, output).",
    ("direction",),
    registry=REGISTRY,
)
