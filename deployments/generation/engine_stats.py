"""What vLLM's engine says of itself after each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.metrics.loggers import PrometheusStatLogger

if TYPE_CHECKING:
    from vllm.v1.metrics.stats import IterationStats, SchedulerStats


class EngineStats(PrometheusStatLogger):  # type: ignore[misc]  # vLLM is untyped here
    """As of the last step: an idle engine makes none. ``kv_use`` is 0 to 1.

    vLLM adds its own Prometheus logger unless it is given one, and that one costs time in each
    step for metrics that nobody scrapes from a replica.
    """

    def __init__(self, vllm_config: Any, engine_indexes: list[int]) -> None:
        self.n_steps = 0
        self.n_running = 0
        self.kv_use = 0.0
        self.n_tokens = 0

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: object = None,
        engine_idx: int = 0,
    ) -> None:
        """The front end calls it after each step of the engine."""
        if scheduler_stats is not None:
            self.n_steps += 1
            self.n_running = scheduler_stats.num_running_reqs
            self.kv_use = scheduler_stats.kv_cache_usage
        if iteration_stats is not None:
            self.n_tokens += iteration_stats.num_generation_tokens

    def log_engine_initialized(self) -> None:
        """Nothing to say."""
