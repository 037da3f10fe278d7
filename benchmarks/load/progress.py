"""What a person sees while a load runs."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from benchmarks.load.outcomes import Outcome


class Silent:
    """Shows nothing."""

    def began(self) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Nothing."""


class Progress:
    """One line that lives in a terminal; one line per finished round elsewhere."""

    def __init__(self, console: Console, n_rounds: int) -> None:
        self._console = console
        self._n_rounds = n_rounds
        self._n_done_rounds = 0
        self._live = Live(self, console=console, refresh_per_second=4, transient=True)
        self._begin("")

    def _begin(self, label: str) -> None:
        self._label = label
        self._started_s = time.perf_counter()
        self._n_in_flight = self._n_ok = self._n_failed = self._n_tokens = 0

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def round(self, label: str) -> None:
        """A round begins."""
        self._begin(label)

    def round_done(self) -> None:
        """It is over."""
        self._n_done_rounds += 1
        if not self._console.is_terminal:
            self._console.print(self._line())

    def began(self) -> None:
        """A request was sent."""
        self._n_in_flight += 1

    def ended(self, outcome: Outcome) -> None:
        """A request is over."""
        self._n_in_flight -= 1
        self._n_tokens += outcome.output_tokens
        if outcome.is_ok:
            self._n_ok += 1
        else:
            self._n_failed += 1

    def __rich__(self) -> Text:
        """The living line."""
        return self._line()

    def _line(self) -> Text:
        passed_s = time.perf_counter() - self._started_s
        line = Text(f"[{self._n_done_rounds}/{self._n_rounds}] {self._label}  ", style="bold")
        line.append(
            f"{passed_s:5.1f} s  {self._n_in_flight} in flight  {self._n_ok} answered  ", ""
        )
        line.append(f"{self._n_failed} failed  ", "red" if self._n_failed else "dim")
        line.append(f"{self._n_tokens / max(passed_s, 1e-9):,.0f} tok/s", "cyan")
        return line
