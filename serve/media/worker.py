"""The process that opens strangers' files: ``python -m serve.media.worker MEMORY_BYTES``.

It reads jobs from standard input, answers on standard output, and may be killed at any time.
It has no secrets, no open connections and no use for the file system.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from typing import BinaryIO

from serve.domain.errors import BrokenMedia, MediaTooLarge, PolymodalError
from serve.domain.media import MediaKind
from serve.media.frames import PREFIX, READY, Done, Fault, Job, Refused, job_from, packed
from serve.media.pictures import sanitize_picture
from serve.media.recordings import sanitize_recording

# Enough for a coverage file when tests measure us; useless for filling a disk.
_MAX_FILE_BYTES = 1024 * 1024


def main() -> None:
    """Serve until standard input ends."""
    memory_bytes = int(sys.argv[1])
    questions = sys.stdin.buffer
    answers = _private_stdout()
    logging.disable()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    answers.write(READY)
    answers.flush()
    while prefix := questions.read(PREFIX.size):
        head_bytes, content_bytes = PREFIX.unpack(prefix)
        job = job_from(questions.read(head_bytes))
        head, result = _answer(job, questions.read(content_bytes), memory_bytes)
        for part in packed(head, result):
            answers.write(part)
        answers.flush()


def _private_stdout() -> BinaryIO:
    """Our own handle on standard output; whatever libraries print there goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _limit(which: int, value: int) -> None:
    resource.setrlimit(which, (value, value))


def _answer(job: Job, content: bytes, memory_bytes: int) -> tuple[Done | Refused, bytes]:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + job.cpu_s) + 1, hard))
    sanitize = sanitize_picture if job.kind == MediaKind.IMAGE else sanitize_recording
    try:
        return sanitize(content, job)
    except PolymodalError as error:
        return Refused(fault=_fault(error), message=error.message), b""
    except MemoryError:
        message = f"decoding the file needs more than the limit of {memory_bytes} bytes of memory"
        return Refused(fault="too_large", message=message), b""
    except Exception as exc:  # noqa: BLE001  # process border: decoders raise anything
        message = f"the file is damaged: it cannot be decoded ({type(exc).__name__})"
        return Refused(fault="broken", message=message), b""


def _fault(error: PolymodalError) -> Fault:
    if isinstance(error, MediaTooLarge):
        return "too_large"
    return "broken" if isinstance(error, BrokenMedia) else "unsupported"


if __name__ == "__main__":
    main()
