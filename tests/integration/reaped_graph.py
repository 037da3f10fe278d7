"""Stops and kills processes of a real Serve and prints what became of it: run as a module.

Seconds go to standard error, for people.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from ray import serve as ray_serve
from ray.serve.handle import DeploymentHandle

from graphs.online.reaper import Reaper
from graphs.run import controller_answers
from tests.fixtures.small_ray import small_ray

_GIVE_UP_S = 60.0


class Node:
    async def pid(self) -> int:
        return os.getpid()


def _eventually(what: str, holds: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > _GIVE_UP_S:
            raise TimeoutError(what)
        time.sleep(0.02)
    print(f"{what}: {time.monotonic() - started:.2f} s", file=sys.stderr)


def _pid(handle: DeploymentHandle[Any]) -> int:
    pid: int = handle.pid.remote().result(timeout_s=30)
    return pid


def _controller() -> int | None:
    for process in psutil.Process().children(recursive=True):
        if " ".join(process.cmdline()).startswith("ray::ServeController"):
            return process.pid
    return None


def _hit_replica(handle: DeploymentHandle[Any], number: signal.Signals) -> bool:
    """True if another replica answers at once and a new one comes."""
    victim = _pid(handle)
    [survivor] = {_pid(handle) for _ in range(40)} - {victim}
    os.kill(victim, number)
    _eventually(f"{number.name} of a replica: gone", lambda: not psutil.pid_exists(victim))
    _eventually("  another answers", lambda: _pid(handle) == survivor)
    _eventually("  a new one answers", lambda: _pid(handle) not in (victim, survivor))
    return True


def _hit_controller() -> bool:
    before = _controller()
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    _eventually("SIGSTOP of the controller: gone", lambda: not psutil.pid_exists(before))
    _eventually("  a new one runs", lambda: _controller() not in (None, before))
    _eventually("  it answers", controller_answers)
    return True


def main() -> None:
    with small_ray():
        reaper = Reaper(os.getpid())
        reaper.start()
        node = ray_serve.deployment(
            name="Node",
            num_replicas=2,
            ray_actor_options={"num_cpus": 0.1},
            health_check_period_s=1,
            health_check_timeout_s=5,
        )(Node)
        handle = ray_serve.run(node.bind(), name="reaped", route_prefix=None)
        seen = {
            "killed": _hit_replica(handle, signal.SIGKILL),
            "stopped": _hit_replica(handle, signal.SIGSTOP),
            "controller": _hit_controller(),
            "after": _hit_replica(handle, signal.SIGSTOP),
        }
        reaper.end()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
