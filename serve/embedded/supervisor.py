"""Keeps the stores and the graph of one home running, from start to orderly end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from serve.config.settings import Settings, process_environment
from serve.embedded import launcher
from serve.embedded.graph import GraphProcess
from serve.embedded.home import Home
from serve.embedded.process import StartFailed
from serve.embedded.stores import EmbeddedStores
from serve.observability.processes import StoppedTwice, children_of

_log = logging.getLogger(__name__)
_WATCH_S: Final = 0.25
_READY_POLL_S: Final = 0.3
_GRAPH_TIMEOUT_S: Final = 900.0
_GRAPH_ATTEMPTS: Final = 5
_FIRST_BACKOFF_S: Final = 1.0
_LAST_BACKOFF_S: Final = 60.0
# A graph that ran this long was well: its next failure is a new one.
_WELL_AFTER_S: Final = 300.0

Report = Callable[[str], None]


class StopRequested(BaseException):
    """SIGINT or SIGTERM arrived. Not an ``Exception``: nothing may take it for a failure."""


class Supervisor:
    """Owns a home's processes. One use: ``run``."""

    def __init__(self, settings: Settings, serve_config: Path, report: Report) -> None:
        """``report`` gets one line per step, for people."""
        self._settings = settings
        self._serve_config = serve_config
        self._report = report
        self._home = Home(settings.home)
        self._stores = EmbeddedStores(settings)
        self._graph: GraphProcess | None = None
        self._stopped = StoppedTwice()

    def run(
        self,
        *,
        prepare: Sequence[str],
        migrate: Callable[[Settings], None],
        on_ready: Callable[[Settings], None],
    ) -> None:
        """Start everything, watch it, and stop it in reverse order once told to.

        Args:
            prepare: Command that brings the models here.
            migrate: Brings the database up to date; gets settings with store addresses.
            on_ready: Called once, when every part of the graph answers.

        Raises:
            HomeInUse: Another supervisor runs on this home.
            StartFailed: A part did not come up.
        """
        with self._home.owned(), self._told_to_stop():
            try:
                self._report("Preparing models")
                self._run_to_end(prepare)
                self._report("Starting the stores")
                self._stores.start()
                settings = self._stores.settings
                self._report("Bringing the database up to date")
                migrate(settings)
                self._graph = GraphProcess(settings, self._serve_config)
                self._start_graph(self._graph)
                on_ready(settings)
                self._watch(self._graph)
            except StopRequested:
                self._report("Stopping (once more to kill)")
            finally:
                self._stop()

    def _start_graph(self, graph: GraphProcess) -> None:
        self._report("Starting the graph: loading models takes a while")
        started = time.monotonic()
        graph.start()
        said = started
        attempts = 1
        while not graph.is_ready():
            now = time.monotonic()
            if not graph.child.is_running:
                if graph.child.exit_code != os.EX_TEMPFAIL or attempts == _GRAPH_ATTEMPTS:
                    raise StartFailed(f"the graph ended while starting{graph.child.last_words()}")
                attempts += 1
                self._report("  Ray did not start in time; trying again")
                graph.start()
            if now - started > _GRAPH_TIMEOUT_S:
                raise StartFailed(f"the graph is not ready yet; give up{graph.child.last_words()}")
            if now - said > 10:
                said = now
                self._report(f"  still loading, {now - started:.0f} s; see {graph.child.log_path}")
            self._restart_stores()
            time.sleep(_READY_POLL_S)
        self._report(f"Ready after {time.monotonic() - started:.0f} s")

    def _watch(self, graph: GraphProcess) -> None:
        backoff_s = _FIRST_BACKOFF_S
        started = time.monotonic()
        start_at: float | None = None
        while True:
            self._restart_stores()
            now = time.monotonic()
            if graph.child.is_running:
                self._wake(graph)
            elif start_at is None:
                if now - started > _WELL_AFTER_S:
                    backoff_s = _FIRST_BACKOFF_S
                self._report(f"The graph ended; starting it again in {backoff_s:.0f} s")
                start_at = now + backoff_s
                backoff_s = min(backoff_s * 2, _LAST_BACKOFF_S)
            elif now >= start_at:
                started, start_at = now, None
                graph.start()
            time.sleep(_WATCH_S)

    def _restart_stores(self) -> None:
        for name, failure in self._stores.restart_the_failed().items():
            self._report(f"{name} had {failure} and was started again")

    def _wake(self, graph: GraphProcess) -> None:
        """Let the two go on that nobody else can end without ending all below them."""
        keeper = graph.child.pid
        if keeper is None:
            return
        for pid in self._stopped.look((keeper, *children_of(keeper))):
            self._report(f"Process {pid} of the graph had been stopped and goes on")
            os.kill(pid, signal.SIGCONT)

    def _stop(self) -> None:
        deadline = time.monotonic() + self._settings.shutdown_grace_s
        if self._graph is not None:
            self._graph.stop(grace_s=deadline - time.monotonic())
        # The stores get a little even when the graph has used up all the grace.
        self._stores.stop(grace_s=max(deadline - time.monotonic(), 5.0))

    def _run_to_end(self, command: Sequence[str]) -> None:
        launch = [sys.executable, "-I", "-S", launcher.__file__, "--parent", str(os.getpid())]
        with subprocess.Popen(
            [*launch, *command],
            env={**process_environment(), **self._settings.as_environment()},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                raise
        if code != 0:
            raise StartFailed("the models could not be prepared")

    @contextmanager
    def _told_to_stop(self) -> Iterator[None]:
        """Turn the first SIGINT or SIGTERM into ``StopRequested``, and let the second kill."""

        def kill(_number: int, _frame: FrameType | None) -> None:
            if self._graph is not None:
                self._graph.child.kill()
            self._stores.kill()
            os._exit(1)

        def stop(_number: int, _frame: FrameType | None) -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, kill)
            raise StopRequested

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
