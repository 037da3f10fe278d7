"""What the kernel says about a process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """``state`` is the kernel's letter. ``started_ticks`` and the pid name a process for good."""

    state: str
    cpu_s: float
    started_ticks: int

    @property
    def is_stopped(self) -> bool:
        """By SIGSTOP or a debugger."""
        return self.state in "Tt"

    @property
    def is_gone(self) -> bool:
        """Dead, and its parent has not asked yet."""
        return self.state in "ZX"


def process_stat(pid: int) -> ProcessStat | None:
    """None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command in parentheses may hold anything, so count from the last parenthesis.
    fields = stat.rpartition(")")[2].split()
    return ProcessStat(
        state=fields[0],
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        started_ticks=int(fields[19]),
    )
