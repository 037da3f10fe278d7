"""The Ray Serve graph as a child process, with a Ray of its own that nobody else can reach."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from serve.config.settings import Settings, process_environment
from serve.embedded import keeper
from serve.embedded.home import Home, private_folder
from serve.embedded.process import Child

_READY: Final = "/readyz"


class GraphProcess:
    """``python -m graphs.run`` and everything it starts."""

    name = "graph"

    def __init__(self, settings: Settings, serve_config: Path) -> None:
        """``settings`` must hold the addresses of running stores."""
        self._settings = settings
        self._serve_config = serve_config
        self._home = Home(settings.home)
        self._child = Child(
            self._home, self.name, stop_signal=signal.SIGTERM, kill_signal=signal.SIGHUP
        )

    @property
    def child(self) -> Child:
        """The keeper, whose life is the graph's."""
        return self._child

    def start(self) -> None:
        """Start it; does not wait for it."""
        self._child.end_leftover()
        shutil.rmtree(self._ray_folder, ignore_errors=True)
        private_folder(self._ray_folder)
        self._child.start(
            [
                sys.executable,
                "-I",
                "-S",
                keeper.__file__,
                sys.executable,
                "-m",
                "graphs.run",
                str(self._serve_config),
                "--ray-folder",
                str(self._ray_folder),
            ],
            environment={
                **process_environment(),
                **self._settings.as_environment(),
                **self._ray_environment(),
            },
            death_signal=signal.SIGHUP,
        )

    def is_ready(self) -> bool:
        """Whether every part of the graph answers."""
        connection = http.client.HTTPConnection(
            self._settings.host, self._settings.port, timeout=10
        )
        try:
            connection.request("GET", _READY)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self, *, grace_s: float) -> None:
        """Let requests finish within ``grace_s``, then end everything."""
        self._child.stop(grace_s=grace_s)
        shutil.rmtree(self._ray_folder, ignore_errors=True)

    @property
    def _ray_folder(self) -> Path:
        """Short, because Ray puts sockets below it, and a socket's path is at most 107 bytes."""
        mark = hashlib.sha256(os.fsencode(self._home.path)).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"pm-{os.geteuid()}-{mark}"

    def _ray_environment(self) -> dict[str, str]:
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._home.secret_path("ray-token")),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            # Without a dashboard nobody asks Ray for figures, yet every call to a replica and every
            # turn of the controller's loop would record a dozen.
            "RAY_enable_metrics_collection": "0",
            # Still each of the many handles and replicas would wake ten times a second for them.
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10000",
            # Each turn looks at every node and deployment: that is soon enough to begin to replace
            # a replica that died, which takes seconds.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.4",
            "RAY_prestart_worker_first_driver": "0",
            # Ray would run replicas at 15: whatever else runs on the machine would hold up answers.
            "RAY_worker_niceness": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            # On Linux as well, this is what makes the one node known as 127.0.0.1 and keeps every
            # server of Ray on loopback; an address given to ray.init is replaced by the public one.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
