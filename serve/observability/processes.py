"""What the kernel says about a process, and what we say of our own."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serve.domain.ids import new_id
from serve.domain.journal import Beat

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_LONGEST_STAT: Final = 4096


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """``state`` is the kernel's letter. ``started_ticks`` and the pid name a process for good.

    ``name``: the first 15 bytes of it.
    """

    name: str
    state: str
    parent: int
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
        # Read often and of many: a Python file costs five times as much.
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            stat = os.read(file, _LONGEST_STAT)
        finally:
            os.close(file)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command in parentheses may hold anything, so count from the last parenthesis.
    head, _, rest = stat.decode(errors="replace").rpartition(")")
    fields = rest.split()
    return ProcessStat(
        name=head.partition("(")[2],
        state=fields[0],
        parent=int(fields[1]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        started_ticks=int(fields[19]),
    )


def this_process(kind: str, *, model: str = "") -> Beat:
    """A beat of this life of this process, without figures."""
    stat = process_stat(os.getpid())
    return Beat(
        process_id=new_id(kind[:3]),
        kind=kind,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_ticks=stat.started_ticks if stat else 0,
        model=model,
    )


def children_of(pid: int) -> tuple[int, ...]:
    """Whom it started and who has not ended; empty when it is gone. Cheap where threads are few."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="ascii").split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return tuple(found)


def tree_of(pid: int) -> tuple[int, ...]:
    """The process and everybody below it."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):  # noqa: PTH208 - its names are all that is wanted
        if name.isdigit() and (stat := process_stat(int(name))) is not None:
            children[stat.parent].append(int(name))
    found = [pid]
    for each in found:
        found += children[each]
    return tuple(found)


class StoppedTwice:
    """Finds processes that were stopped at two looks in a row; the caller spaces the looks.

    A process under a debugger is not among them: that one is in good hands.
    """

    def __init__(self) -> None:
        self._before: frozenset[tuple[int, int]] = frozenset()

    def look(self, pids: Iterable[int]) -> tuple[int, ...]:
        """Those of ``pids`` that are stopped now and were at the last look."""
        now = frozenset(
            (pid, stat.started_ticks)
            for pid in pids
            if (stat := process_stat(pid)) is not None and stat.state == "T"
        )
        stuck = now & self._before
        self._before = now
        return tuple(pid for pid, _ in stuck)
