"""Calls real replicas through the router and prints what happened: run as a module."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from typing import Any

from ray import serve as ray_serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from graphs.routing import CacheAffinityRouter
from serve.domain.messages import GenerationRequest, Sampling
from tests.fixtures.small_ray import small_ray

_N_REPLICAS = 3
_KEYS = [f"conversation-{number}" for number in range(12)]
_N_TOGETHER = 24


class Named:
    """Tells which process it is, after holding the call for ``max_output_tokens`` seconds."""

    async def generate(self, request: GenerationRequest) -> int:
        await asyncio.sleep(request.sampling.max_output_tokens or 0)
        return os.getpid()

    async def ping(self) -> int:
        return os.getpid()


def _request(key: str, *, hold_s: int = 0) -> GenerationRequest:
    return GenerationRequest(
        response_id="resp_1",
        model="m",
        messages=(),
        sampling=Sampling(max_output_tokens=hold_s),
        affinity=key,
    )


def _owners(handle: DeploymentHandle[Any]) -> dict[str, list[int]]:
    owners: dict[str, set[int]] = {key: set() for key in _KEYS}
    for _ in range(4):
        for key in _KEYS:
            owners[key].add(_owner(handle, key))
    return {key: sorted(pids) for key, pids in owners.items()}


def _owner(handle: DeploymentHandle[Any], key: str) -> int:
    pid: int = handle.generate.remote(_request(key)).result(timeout_s=30)
    return pid


def main() -> None:
    with small_ray():
        node = ray_serve.deployment(
            name="Named",
            num_replicas=_N_REPLICAS,
            max_ongoing_requests=64,
            ray_actor_options={"num_cpus": 0.1},
            request_router_config=RequestRouterConfig(request_router_class=CacheAffinityRouter),
        )(Named)
        handle = ray_serve.run(node.bind(), name="routed", route_prefix=None)
        before = _owners(handle)
        together = [
            handle.generate.remote(_request(_KEYS[0], hold_s=2)) for _ in range(_N_TOGETHER)
        ]
        spilled = Counter(call.result(timeout_s=60) for call in together)
        keyless = {handle.ping.remote().result(timeout_s=30) for _ in range(40)}
        [victim] = before[_KEYS[0]]
        os.kill(victim, signal.SIGKILL)
        after = _owners(handle)
        seen = {
            "before": before,
            "spilled": sorted(spilled.values()),
            "keyless": len(keyless),
            "victim": victim,
            "after": after,
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
