"""Lets replicas report a load, scales by it and prints the replica counts: run as a module."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ray import serve as ray_serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from graphs.scaling import generator_policy
from tests.fixtures.small_ray import small_ray

_GIVE_UP_S = 60.0


class Reporting:
    """Reports the use of its cache that a file tells it."""

    def __init__(self, told: str) -> None:
        self._told = Path(told)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return {"kv_use": float(self._told.read_text()), "running": 1.0, "capacity_tokens": 1e4}

    async def ping(self) -> None: ...


def _count_until(wanted: int) -> int:
    """How many run once it is ``wanted``, or when patience ends."""
    deadline = time.monotonic() + _GIVE_UP_S
    while True:
        deployment = ray_serve.status().applications["scaled"].deployments["Reporting"]
        running: int = deployment.replica_states.get("RUNNING", 0)
        if time.monotonic() > deadline or (
            running == wanted and sum(deployment.replica_states.values()) == wanted
        ):
            return running
        time.sleep(0.1)


def main() -> None:
    with small_ray() as folder:
        told = folder / "use"
        told.write_text("0.6")
        node = ray_serve.deployment(
            name="Reporting",
            ray_actor_options={
                "num_cpus": 0.1,
                "runtime_env": {
                    "env_vars": {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.2"}
                },
            },
            graceful_shutdown_timeout_s=1,
            autoscaling_config=AutoscalingConfig(
                min_replicas=1,
                max_replicas=2,
                look_back_period_s=1,
                upscale_delay_s=0.2,
                downscale_delay_s=1,
                policy=AutoscalingPolicy(policy_function=generator_policy),
            ),
        )(Reporting)
        ray_serve.run(node.bind(str(told)), name="scaled", route_prefix=None)
        counts = [_count_until(1)]
        # 0.6 is between the marks: nothing happens while Serve decides some dozen times.
        time.sleep(3)
        counts.append(_count_until(1))
        for use, wanted in (("0.9", 2), ("0.45", 2), ("0.2", 1)):
            told.write_text(use)
            counts.append(_count_until(wanted))
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
