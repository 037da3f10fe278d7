"""Runs one program and outlives it just long enough to end everything that it left behind.

Ray's processes start others (proxies, engines, compilers) that nobody ends when Ray itself is
killed. The keeper is the kernel's "subreaper" for them: an orphan becomes the keeper's child, so
none can hide. Run as a file with ``python -I -S``: standard library only.

SIGTERM asks the program to end; SIGHUP (also sent when the supervisor dies) ends all at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_LISTENED_TO = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_LAUNCHER = Path(__file__).with_name("launcher.py")


def descendants() -> list[int]:
    """Every process below us."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def end_all() -> None:
    """Kill until nothing is left; what is orphaned by one kill is found by the next look."""
    while True:
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def reap(program: int) -> int | None:
    """Collect ended children; the exit code of ``program`` if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == program:
            code = os.waitstatus_to_exitcode(status)


def keep(command: list[str]) -> int:
    """Run ``command`` to its end, or to ours; returns its exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # The program must start with nothing blocked, so it starts before we block.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", _LAUNCHER, "--parent", str(os.getpid()), *command]
    )
    program = process.pid
    signal.pthread_sigmask(signal.SIG_BLOCK, _LISTENED_TO)
    while True:
        received = signal.sigtimedwait(_LISTENED_TO, 1.0)
        number = received.si_signo if received else signal.SIGCHLD
        if number == signal.SIGHUP:
            end_all()
            return 128 + signal.SIGHUP
        if number in (signal.SIGTERM, signal.SIGINT):
            os.kill(program, signal.SIGTERM)
            continue
        code = reap(program)
        if code is not None:
            end_all()
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
