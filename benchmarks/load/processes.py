"""What a server's processes cost: processor seconds and memory, by role. Linux only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_Key = tuple[int, float]  # A process id is used again; with its birth it is unique.


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Processor seconds so far of every process, and what it is."""

    cpu_s: Mapping[_Key, float]
    roles: Mapping[_Key, str]


def snapshot(roots: Iterable[int]) -> Snapshot:
    """Of the processes ``roots`` and all that descend from them now."""
    cpu_s: dict[_Key, float] = {}
    roles: dict[_Key, str] = {}
    for process in _tree(roots):
        try:
            times = process.cpu_times()
            key = (process.pid, process.create_time())
            roles[key] = role_of(process.cmdline() or [process.name()])
        except psutil.NoSuchProcess:
            continue
        cpu_s[key] = times.user + times.system
    return Snapshot(cpu_s, roles)


def spent_s(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """Processor seconds between two snapshots, by role.

    A process that began in between counts whole; what one that ended in between had used since
    the first snapshot is lost.
    """
    spent: dict[str, float] = defaultdict(float)
    for key, total_s in after.cpu_s.items():
        spent[after.roles[key]] += total_s - before.cpu_s.get(key, 0.0)
    return dict(spent)


def processor_s(pid: int) -> float:
    """Processor time of all threads of a process, by the scheduler's nanoseconds."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def pss_mb(roots: Iterable[int]) -> dict[str, list[float]]:
    """Proportional set size of every process, megabytes, by role."""
    found: dict[str, list[float]] = defaultdict(list)
    for process in _tree(roots):
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            role = role_of(process.cmdline() or [process.name()])
        except (OSError, psutil.NoSuchProcess):
            continue
        kilobytes = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        if kilobytes:
            found[role].append(int(kilobytes[1]) * 1024 / 1e6)
    return dict(found)


def role_of(cmdline: Sequence[str]) -> str:
    """A short name for what a process does, from its command line or the title it gave itself."""
    title = cmdline[0]
    replica = re.match(r"ray::ServeReplica:(?:[^:\s]*:)?([^\s:]+)", title)
    if replica:
        return replica[1]
    if re.match(r"[A-Za-z]+::", title):
        return title.split()[0]
    program = Path(title.split(":")[0].split()[0]).name if title.split() else "unknown"
    if not program.startswith("python"):
        return program
    words = [word for word in cmdline[1:] if not re.fullmatch(r"-[BEIOPSsu]+", word)]
    if words[:1] == ["-m"] and len(words) > 1:
        return words[1]
    if words[:1] == ["-c"]:
        return "multiprocessing child" if "multiprocessing" in " ".join(words) else "python -c"
    return Path(words[0]).name if words else program


def _tree(roots: Iterable[int]) -> Iterator[psutil.Process]:
    seen: set[int] = set()
    for pid in roots:
        try:
            root = psutil.Process(pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for process in family:
            if process.pid not in seen:
                seen.add(process.pid)
                yield process
