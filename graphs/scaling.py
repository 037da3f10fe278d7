"""Serve's autoscaling of the generator by KV-cache use and waiting tokens.

Every replica reports its figures by ``record_autoscaling_stats``; Serve averages them over its
look-back time, asks this policy, and waits its delays before it acts.
"""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingContext

from serve.domain.scaling import GeneratorLoad, wanted_replicas


def generator_policy(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Replicas wanted now, and no state of our own: Serve keeps the delays."""
    figures = context.aggregated_metrics or {}
    loads = [
        GeneratorLoad.of(
            {name: means[replica] for name, means in figures.items() if replica in means}
        )
        for replica in context.running_replicas
        if any(replica in means for means in figures.values())
    ]
    wanted = wanted_replicas(
        loads,
        target=context.target_num_replicas,
        minimum=context.capacity_adjusted_min_replicas,
        maximum=context.capacity_adjusted_max_replicas,
    )
    return wanted, {}
