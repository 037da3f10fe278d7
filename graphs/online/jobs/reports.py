"""How far a job has come, written beside the work so that the work does not wait for it."""

from __future__ import annotations

import asyncio
import logging

from serve.domain.errors import PolymodalError
from serve.domain.jobs import Job, JobRows
from serve.domain.messages import Progress
from serve.domain.records import Caller, JsonObject, Scope

_log = logging.getLogger(__name__)

# People see a bar move; a database sees two small writes a second.
_PERIOD_S = 0.5


class ReportingContext:
    """``domain.jobs.JobContext``."""

    def __init__(self, job: Job, rows: JobRows) -> None:
        self.job = job
        self.caller = Caller(user_id=job.owner_id, scopes=frozenset(Scope))
        self.done = job.progress
        self._rows = rows
        self._newest: JsonObject = {}
        self._is_new = asyncio.Event()

    def report(self, progress: Progress, **data: str | int | float) -> None:
        """See ``JobContext``."""
        self.done = max(0.0, min(1.0, progress.done))
        self._newest = {"done": self.done, "note": progress.note, **data}
        self._is_new.set()

    async def write_reports(self) -> None:
        """Write the newest one, at most every ``_PERIOD_S``, for ever. Raises ``JobLost``."""
        while True:
            await self._is_new.wait()
            self._is_new.clear()
            try:
                await self._rows.report(self.job, self.done, self._newest)
            except PolymodalError as error:
                _log.warning("progress not written", extra={"code": error.code})
            await asyncio.sleep(_PERIOD_S)
