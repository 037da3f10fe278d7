"""``serve run`` on a Ray of our own: one node, loopback only, gone when we are.

``python -m graphs.run SERVE_CONFIG --ray-folder FOLDER``

Exits with ``EX_TEMPFAIL`` when Ray itself did not start, which may work the next time.

The file is the one that ``serve run`` takes.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

import ray
import yaml
from ray import serve as ray_serve
from ray.exceptions import RayError
from ray.serve._private.api import serve_start
from ray.serve._private.constants import SERVE_CONTROLLER_NAME
from ray.serve.schema import ServeDeploySchema

from graphs.online.reaper import ControllerWatch, Reaper
from serve.observability.processes import process_stat, tree_of

_log = logging.getLogger(__name__)
# Logical: Serve places a replica where this number allows, whatever cores there are.
_N_LOGICAL_CPUS: Final = 16
# Handles pass small messages only; media and features travel by store.
_OBJECT_STORE_BYTES: Final = 256 * 1024 * 1024
_RAY_PROCESSES: Final = frozenset({"raylet", "gcs_server"})
_WATCH_S: Final = 1.0
_CONTROLLER_PERIOD_S: Final = 2.0
_CONTROLLER_TIMEOUT_S: Final = 5.0


def start_ray(folder: Path) -> None:
    """Start a one-node cluster that only this machine's users with our token can talk to."""
    ray.init(
        num_cpus=_N_LOGICAL_CPUS,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        configure_logging=True,
        logging_level=logging.WARNING,
        log_to_driver=True,
        namespace="serve",
        runtime_env={"worker_process_setup_hook": "graphs.loopback.install"},
        _temp_dir=str(folder),
    )


def deploy(config: dict[str, Any]) -> None:
    """Do what ``serve run`` does with a file; returns before the replicas are up."""
    schema = ServeDeploySchema.model_validate(config)
    client = serve_start(
        http_options=schema.http_options.model_dump(),
        proxy_location=schema.proxy_location,
        controller_options=schema.controller_options,
    )
    client.deploy_apps(schema, _blocking=False)


def controller_answers() -> bool:
    """Whether Serve's controller does, within some seconds."""
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace="serve")
        ray.get(controller.check_alive.remote(), timeout=_CONTROLLER_TIMEOUT_S)
    except (RayError, ValueError):
        return False
    return True


def _exit_without_ray() -> None:
    """End at once if Ray's own processes have: its driver would wait for them for ever."""
    alive = {
        stat.name
        for pid in tree_of(os.getpid())
        if (stat := process_stat(pid)) is not None and not stat.is_gone
    }
    if not alive.issuperset(_RAY_PROCESSES):
        _log.error("a process of Ray ended", extra={"alive": sorted(alive)})
        # Not sys.exit: the orderly end would talk to what is gone. The keeper ends the rest.
        os._exit(1)


def main() -> None:
    """Serve until SIGTERM or SIGINT, then stop in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("serve_config", type=Path)
    parser.add_argument("--ray-folder", type=Path, required=True)
    options = parser.parse_args()
    config: dict[str, Any] = yaml.safe_load(options.serve_config.read_text(encoding="utf-8"))
    try:
        start_ray(options.ray_folder)
    except Exception:  # noqa: BLE001 - the border of this process: logged, and told by its exit code
        # Ray gives its own processes 30 s, which a busy machine may exceed.
        _log.exception("Ray did not start")
        sys.exit(os.EX_TEMPFAIL)
    # After ray.init, which sets its own: that one would skip the graph's orderly end.
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    reaper = Reaper(os.getpid())
    watch = ControllerWatch(os.getpid(), controller_answers, period_s=_CONTROLLER_PERIOD_S)
    try:
        deploy(config)
        reaper.start()
        watch.start()
        while not ended.wait(_WATCH_S):
            _exit_without_ray()
    finally:
        _log.info("stopping the graph")
        watch.end()
        ray_serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
