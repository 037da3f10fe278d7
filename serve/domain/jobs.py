"""Work that takes longer than a few seconds. It belongs to a row, not to a request or a process.

A job is claimed by one process at a time, its supervisor. Every claim is a new attempt, and only
the newest attempt may write: whoever lost its job, because it was cancelled, deleted or believed
dead, finds that out at its next write.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from serve.domain.errors import PolymodalError
from serve.domain.messages import Progress
from serve.domain.records import Caller, JsonObject, Page


class JobStatus(StrEnum):
    """Where a job is. The last three are final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing will change any more."""
        return self not in (JobStatus.QUEUED, JobStatus.IN_PROGRESS)


class JobEventType(StrEnum):
    """What can happen to a job. The last four are the end of it."""

    QUEUED = "job.queued"
    STARTED = "job.started"
    PROGRESS = "job.progress"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    DELETED = "job.deleted"


FINAL_EVENTS: Final = frozenset(
    {
        JobEventType.COMPLETED,
        JobEventType.FAILED,
        JobEventType.CANCELLED,
        JobEventType.DELETED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work. ``request`` is what its kind needs to do it, ``result`` what came of it.

    ``progress`` goes from 0 to 1. ``attempt`` counts its claims.
    """

    id: str
    owner_id: str
    kind: str
    status: JobStatus
    request: JsonObject
    created_at: datetime
    result: JsonObject | None = None
    error_code: str | None = None
    error_message: str | None = None
    progress: float = 0.0
    attempt: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """Something that happened to a job. ``seq`` starts at 1 and has no gaps."""

    seq: int
    type: JobEventType
    data: JsonObject
    at: datetime


@dataclass(frozen=True, slots=True)
class JobNews:
    """That something happened; what, is in the job's events."""

    job_id: str
    type: JobEventType


class JobLost(Exception):
    """The job was cancelled, deleted or claimed by another process: stop, and write nothing."""


class JobContext(Protocol):
    """What a job's work gets to see of the job."""

    @property
    def job(self) -> Job:
        """As it was claimed."""
        ...

    @property
    def caller(self) -> Caller:
        """On whose behalf it is done."""
        ...

    def report(self, progress: Progress, **data: str | int | float) -> None:
        """How far it has come. Costs nothing: the newest one is written now and then."""
        ...


class JobKind(Protocol):
    """How one kind of work is done. Cancelling ``run`` stops it."""

    async def run(self, context: JobContext) -> JsonObject:
        """Do it and say what came of it.

        May be called again after the process died or a retryable error, so whatever took long
        should have left a checkpoint. Raises ``PolymodalError``.
        """
        ...

    async def tidy(self, job: Job) -> None:
        """Remove what ``run`` kept for a next attempt: there will be none."""
        ...


class JobRows(Protocol):
    """Jobs and their events in the database. Absent and not yours look the same: ``NotFound``."""

    async def add(
        self, caller: Caller, *, job_id: str, kind: str, request: JsonObject, max_unfinished: int
    ) -> Job:
        """Queue one; one of this id that is there already stays as it is.

        Raises ``RateLimited`` when the caller has too many that are not done.
        """
        ...

    async def get(self, caller: Caller, job_id: str) -> Job: ...
    async def list(self, caller: Caller, page: Page, *, kind: str | None = None) -> Sequence[Job]:
        """By time of asking. Raises ``InvalidRequest`` for a cursor that is not theirs."""
        ...

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """From here on it is cancelled; one that is final already stays as it is."""
        ...

    async def delete(self, caller: Caller, job_id: str) -> Job:
        """Forget it with its events, and say what it was."""
        ...

    async def events(
        self, caller: Caller, job_id: str, *, after: int, limit: int
    ) -> Sequence[JobEvent]:
        """Those behind number ``after``, in order."""
        ...

    def news(self) -> AbstractAsyncContextManager[AsyncGenerator[JobNews, None]]:
        """What happens to any job from now on. Ends when the connection does."""
        ...

    # --- for supervisors --------------------------------------------------------------------

    async def claim(
        self,
        supervisor: str,
        *,
        alive: Iterable[str],
        mine: Iterable[str],
        kinds: Iterable[str],
        max_per_owner: int,
    ) -> Job | None:
        """The next job to do, as its newest attempt; None when there is none.

        First those whose supervisor is not ``alive``, then of the owners with the fewest in work
        the one that waits longest. ``mine``: what this supervisor works on already.
        """
        ...

    async def report(self, job: Job, progress: float, data: JsonObject) -> None:
        """Write that it has come so far. Raises ``JobLost``."""
        ...

    async def complete(self, job: Job, result: JsonObject) -> None:
        """It is done. Raises ``JobLost``."""
        ...

    async def fail(self, job: Job, error: PolymodalError) -> None:
        """It cannot be done. Raises ``JobLost``."""
        ...

    async def let_go(self, job: Job) -> None:
        """Another process may go on with it at once."""
        ...


class JobDesk(Protocol):
    """Where jobs are asked for and watched."""

    @property
    def kinds(self) -> Collection[str]:
        """The kinds that are done here."""
        ...

    async def start(self, caller: Caller, kind: str, request: JsonObject) -> Job:
        """Queue a job. Raises ``RateLimited`` when the caller has too many that are not done."""
        ...

    async def get(self, caller: Caller, job_id: str) -> Job: ...
    async def list(self, caller: Caller, page: Page, *, kind: str | None = None) -> Sequence[Job]:
        """By time of asking."""
        ...

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """Stop a job wherever it is done; one that is final stays as it is."""
        ...

    async def delete(self, caller: Caller, job_id: str) -> None:
        """Stop and forget a job."""
        ...

    def follow(
        self, caller: Caller, job_id: str, *, after: int = 0
    ) -> AsyncGenerator[Sequence[JobEvent], None]:
        """Events behind number ``after``, live and in order, in batches, to the last one.

        A batch may be empty: nothing happened for a while.
        """
        ...
