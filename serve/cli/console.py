"""What a person sees while something long goes on."""

from __future__ import annotations

import time

from rich.console import Console as RichConsole


class Console:
    """Lines with the time passed since the start; plain where there is no terminal."""

    def __init__(self) -> None:
        self._rich = RichConsole(highlight=False)
        self._started = time.monotonic()

    def step(self, text: str) -> None:
        """Say what begins now."""
        passed = f"{time.monotonic() - self._started:6.1f} s"
        self._rich.print(f"[dim]{passed}[/dim]  ", end="")
        self._rich.print(text, markup=False, soft_wrap=True)

    def important(self, text: str) -> None:
        """Say what must not be overlooked, whole and copyable."""
        self._rich.print(text, style="bold", markup=False, soft_wrap=True)
