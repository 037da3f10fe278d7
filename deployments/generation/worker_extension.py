"""What our replica asks of the engine's worker, wherever that runs."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
WORKER_EXTENSION: Final = "deployments.generation.worker_extension.WorkerExtension"


class WorkerExtension:
    """vLLM makes its worker a subclass of this."""

    def die_with(self, parent_pid: int) -> None:
        """End this process when its parent ends: nobody else would ever stop its sequences."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os.kill(os.getpid(), signal.SIGKILL)
