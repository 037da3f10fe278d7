"""What every worker process does: read jobs, answer them, within limits, until it may go."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError
from serve.media.frames import PREFIX, READY, Done, Fault, Part, Refused, packed

Answer = tuple[Done | Refused, bytes]

# Enough for a coverage file when tests measure us; useless for filling a disk.
_MAX_FILE_BYTES = 1024 * 1024
# Where /proc/self/statm has data and stack, in pages.
_DATA_PAGES = 5


def serve_jobs(answer: Callable[[bytes, bytes, int], Answer]) -> None:
    """Serve until standard input ends.

    ``answer`` gets a job's head, its content, and how much memory this process may take.
    """
    serve_in_parts(lambda *job: (answer(*job),))


def serve_in_parts(
    answers: Callable[[bytes, bytes, int], Iterable[tuple[Part | Done | Refused, bytes]]],
) -> None:
    """Like ``serve_jobs``, but each job has many answers, sent as they come."""
    memory_bytes = int(sys.argv[1])
    questions = sys.stdin.buffer
    written = _private_stdout()
    logging.disable()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    written.write(READY)
    written.flush()
    while prefix := questions.read(PREFIX.size):
        head_bytes, content_bytes = PREFIX.unpack(prefix)
        job = questions.read(head_bytes)
        content = questions.read(content_bytes)
        for head, result in answers(job, content, memory_bytes):
            for part in packed(head, result):
                written.write(part)
            written.flush()


def refusal(error: Exception) -> Refused:
    """What to answer when a file could not be decoded: decoders raise anything."""
    if isinstance(error, PolymodalError):
        return Refused(fault=_fault(error), message=error.message)
    if isinstance(error, MemoryError):
        message = "decoding the file needs more memory than a file of its kind may take"
        return Refused(fault="too_large", message=message)
    message = f"the file is damaged: it cannot be decoded ({type(error).__name__})"
    return Refused(fault="broken", message=message)


def _fault(error: PolymodalError) -> Fault:
    if isinstance(error, MediaTooLarge):
        return "too_large"
    return "broken" if isinstance(error, BrokenMedia) else "unsupported"


def limit_cpu(cpu_s: float) -> None:
    """Let this process take that much more processor time, then be killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + cpu_s) + 1, hard))


def limit_memory(extra_bytes: int) -> None:
    """Let this process take that much more memory of its own, beyond what it has now.

    What exceeds it fails inside the process, as ``MemoryError`` or worse.
    """
    statm = Path("/proc/self/statm").read_text(encoding="ascii").split()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    now_bytes = int(statm[_DATA_PAGES]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (now_bytes + extra_bytes, hard))


def _private_stdout() -> BinaryIO:
    """Our own handle on standard output; whatever libraries print there goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, value))
