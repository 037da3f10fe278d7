"""The process that opens strangers' files: ``python -m serve.media.worker MEMORY_BYTES``.

It reads jobs from standard input, answers on standard output, and may be killed at any time.
It has no secrets, no open connections and no use for the file system.
"""

from __future__ import annotations

from serve.domain.media import MediaKind
from serve.media.documents import sanitize_document
from serve.media.frames import Job, job_from
from serve.media.pictures import sanitize_picture
from serve.media.recordings import sanitize_recording
from serve.media.videos import sanitize_video
from serve.media.worker_loop import Answer, limit_cpu, limit_memory, refusal, serve_jobs

# With what a process takes beside its data, less than 256 MiB.
_EXTRA_BYTES = 224 * 1024 * 1024
# A picture of the largest size twice, as when it is turned: four bytes a pixel.
_BYTES_PER_PX = 9
# An upload is read, copied page by page, written and scrubbed, twice.
_COPIES = 6


def main() -> None:
    """Serve until standard input ends."""
    serve_jobs(_answer)


def _answer(head: bytes, content: bytes, memory_bytes: int) -> Answer:
    del memory_bytes  # of the whole process, by resource limit
    job = job_from(head)
    limit_cpu(job.cpu_s)
    limit_memory(_allowance(job, content))
    sanitize = {
        MediaKind.IMAGE: sanitize_picture,
        MediaKind.AUDIO: sanitize_recording,
        MediaKind.VIDEO: sanitize_video,
        MediaKind.DOCUMENT: sanitize_document,
    }[MediaKind(job.kind)]
    try:
        return sanitize(content, job)
    except Exception as exc:  # noqa: BLE001  # process border
        return refusal(exc), b""


def _allowance(job: Job, content: bytes) -> int:
    """How much memory a file of this kind and size may take."""
    own = _COPIES * len(content)
    match MediaKind(job.kind):
        case MediaKind.IMAGE:
            return own + max(_EXTRA_BYTES, _BYTES_PER_PX * job.max_image_px)
        case MediaKind.AUDIO | MediaKind.DOCUMENT:
            return own + _EXTRA_BYTES
        case MediaKind.VIDEO:
            # Pictures are kept until others refer to them no more: sixteen of the largest size.
            return own + _EXTRA_BYTES + 16 * 2 * job.max_video_px


if __name__ == "__main__":
    main()
