"""The process that reads and draws pages: ``python -m serve.media.page_worker MEMORY_BYTES``.

Documents are sanitised before, but fonts and drawings are still a stranger's.
"""

from __future__ import annotations

import json

from serve.domain.errors import PolymodalError
from serve.media.documents import picture_page, read_pages
from serve.media.frames import PageJob, Refused
from serve.media.worker_loop import Answer, limit_cpu, serve_jobs

_WORK = {"read": read_pages, "picture": picture_page}


def main() -> None:
    """Serve until standard input ends."""
    serve_jobs(_answer)


def _answer(head: bytes, content: bytes, _memory_bytes: int) -> Answer:
    job = PageJob(**json.loads(head))
    limit_cpu(job.cpu_s)
    try:
        return _WORK[job.work](content, job)
    except PolymodalError as error:
        return Refused(fault="unsupported", message=error.message), b""
    except Exception as exc:  # noqa: BLE001  # process border: decoders raise anything
        message = f"the pages cannot be read ({type(exc).__name__})"
        return Refused(fault="broken", message=message), b""


if __name__ == "__main__":
    main()
