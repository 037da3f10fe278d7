"""Becomes another program that dies with its parent and, if asked, is not root.

Run as a file with ``python -I -S``: standard library only, nothing else of ours. It sets the
parent-death signal last, because the kernel forgets it when credentials change, and then execs:
the signal reaches the server itself, not a wrapper around it.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CLONE_NEWUSER = 0x10000000
_CAP_DAC_OVERRIDE = 1
_CAP_VERSION_3 = 0x20080522
NAMESPACE_UID = 1000
NOBODY_UID = 65_534

_libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def enter_user_namespace() -> None:
    """Be uid 1000 in a namespace of our own, while files still see us as who we were."""
    uid, gid = os.getuid(), os.getgid()
    _checked(_libc.unshare(_CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NAMESPACE_UID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NAMESPACE_UID} {gid} 1")


def become_nobody() -> None:
    """Be uid 65534 for good, but keep passing closed folders: ours may lie under /root.

    For containers whose root may not make user namespaces.
    """
    _checked(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(NOBODY_UID, NOBODY_UID, NOBODY_UID)
    os.setresuid(NOBODY_UID, NOBODY_UID, NOBODY_UID)
    bit = 1 << _CAP_DAC_OVERRIDE
    header = _CapHeader(_CAP_VERSION_3, 0)
    words = (_CapData * 2)(_CapData(bit, bit, bit), _CapData(0, 0, 0))
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(words)))
    _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel for ``death_signal`` when the parent ends; exit if it already has."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit(0)


def main() -> None:
    """Parse, change into who we should be, exec."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, default=int(signal.SIGKILL))
    parser.add_argument("--become", choices=("same", "namespace", "nobody"), default="same")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.become == "namespace":
        enter_user_namespace()
    elif options.become == "nobody":
        become_nobody()
    die_with(options.parent, options.signal)
    os.execv(options.command[0], options.command)  # noqa: S606 - becoming another program is its purpose


if __name__ == "__main__":
    main()
