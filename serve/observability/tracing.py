"""One span per graph node, kept with the response so that a person can see its waterfall."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from serve.domain.errors import PolymodalError
from serve.domain.messages import TraceSpan
from serve.observability.metrics import NODE_SECONDS

Attribute = str | int | float


class RequestTrace:
    """Spans of one request on one clock."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._spans: list[TraceSpan] = []

    def now_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self._started

    @contextmanager
    def span(self, name: str, node: str) -> Iterator[dict[str, Attribute]]:
        """Time a block. Attributes put into the yielded dict are kept, also when it raises."""
        attributes: dict[str, Attribute] = {}
        start_s = self.now_s()
        outcome = "cancelled"
        try:
            yield attributes
            outcome = "ok"
        except PolymodalError as error:
            outcome = "refused" if error.status < 500 else "failed"
            attributes["error"] = error.code
            raise
        finally:
            self.add(name, node, start_s, self.now_s(), attributes)
            NODE_SECONDS.labels(node, outcome).observe(self._spans[-1].end_s - start_s)

    def add(
        self,
        name: str,
        node: str,
        start_s: float,
        end_s: float,
        attributes: dict[str, Attribute] | None = None,
    ) -> None:
        """Record a span that was timed elsewhere."""
        self._spans.append(
            TraceSpan(
                name=name, node=node, start_s=start_s, end_s=end_s, attributes=attributes or {}
            )
        )

    def spans(self) -> tuple[TraceSpan, ...]:
        """All spans so far, by start."""
        return tuple(sorted(self._spans, key=lambda span: span.start_s))
