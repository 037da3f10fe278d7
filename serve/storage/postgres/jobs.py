"""``JobRows`` in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from serve.domain.errors import InvalidRequest, NotFound, PolymodalError, RateLimited
from serve.domain.jobs import Job, JobEvent, JobEventType, JobLost, JobNews, JobStatus
from serve.domain.records import Caller, JsonObject, Page
from serve.storage.postgres.named_queries import load_queries
from serve.storage.postgres.pool import Database, Row

_CHANNEL: Final = "job_news"
_RETRY_AFTER_S: Final = 10


class PostgresJobs:
    """``domain.jobs.JobRows``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = load_queries("jobs")

    async def add(
        self, caller: Caller, *, job_id: str, kind: str, request: JsonObject, max_unfinished: int
    ) -> Job:
        """Queue one; one of this id that is there already stays as it is."""
        owned = (caller.user_id, job_id)
        row = await self._database.row(
            self._sql["add_job"], *owned, kind, request, max_unfinished
        ) or await self._database.row(self._sql["job"], *owned)
        if row is None:
            raise RateLimited(
                f"{max_unfinished} of your jobs are not done yet; wait for one or cancel one",
                limit=max_unfinished,
                retry_after_s=_RETRY_AFTER_S,
            )
        return _job(row)

    async def get(self, caller: Caller, job_id: str) -> Job:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["job"], caller.user_id, job_id)
        return _job(_present(row, job_id))

    async def list(self, caller: Caller, page: Page, *, kind: str | None = None) -> Sequence[Job]:
        """By time of asking. Raises ``InvalidRequest`` for a cursor that is not theirs."""
        name = "newest_first" if page.newest_first else "oldest_first"
        rows = await self._database.rows(
            self._sql[name], caller.user_id, page.after, page.limit, kind
        )
        if not rows and page.after is not None:
            cursor = await self._database.row(self._sql["job"], caller.user_id, page.after)
            if cursor is None:
                raise InvalidRequest("'after' names no job of yours", param="after")
        return tuple(map(_job, rows))

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["cancel_job"], caller.user_id, job_id)
        return _job(row) if row is not None else await self.get(caller, job_id)

    async def delete(self, caller: Caller, job_id: str) -> Job:
        """Raises ``NotFound``."""
        row = await self._database.row(self._sql["delete_job"], caller.user_id, job_id)
        return _job(_present(row, job_id))

    async def events(
        self, caller: Caller, job_id: str, *, after: int, limit: int
    ) -> Sequence[JobEvent]:
        """Those behind number ``after``, in order. Raises ``NotFound``."""
        rows = await self._database.rows(self._sql["events"], caller.user_id, job_id, after, limit)
        if not rows:
            await self.get(caller, job_id)
        return tuple(map(_event, rows))

    @asynccontextmanager
    async def news(self) -> AsyncIterator[AsyncGenerator[JobNews, None]]:
        """What happens to any job from the moment that the block begins."""
        async with self._database.listening(_CHANNEL) as payloads, aclosing(payloads):
            yield _news(payloads)

    async def claim(
        self,
        supervisor: str,
        *,
        alive: Iterable[str],
        mine: Iterable[str],
        kinds: Iterable[str],
        max_per_owner: int,
    ) -> Job | None:
        """The next job to do, as its newest attempt."""
        among = (list({supervisor, *alive}), list(mine), list(kinds))
        async with self._database.transaction() as connection:
            await connection.execute(self._sql["hold_claims"])
            row = await connection.fetchrow(
                self._sql["claim_job"], supervisor, *among, max_per_owner
            )
        return None if row is None else _job(row)

    async def report(self, job: Job, progress: float, data: JsonObject) -> None:
        """Write that it has come so far. Raises ``JobLost``."""
        await self._write("report_job", job, progress, data)

    async def complete(self, job: Job, result: JsonObject) -> None:
        """It is done. Raises ``JobLost``."""
        await self._write("complete_job", job, result)

    async def fail(self, job: Job, error: PolymodalError) -> None:
        """It cannot be done. Raises ``JobLost``."""
        await self._write("fail_job", job, error.code, error.message)

    async def let_go(self, job: Job) -> None:
        """Another process may go on with it at once."""
        await self._database.rows(self._sql["let_go_of_job"], job.id, job.attempt)

    async def _write(self, name: str, job: Job, *what: object) -> None:
        if await self._database.row(self._sql[name], job.id, job.attempt, *what) is None:
            raise JobLost(job.id)


async def _news(payloads: AsyncGenerator[str, None]) -> AsyncGenerator[JobNews, None]:
    async for payload in payloads:
        job_id, _, type_ = payload.partition(" ")
        yield JobNews(job_id, JobEventType(type_))


def _present(row: Row | None, job_id: str) -> Row:
    if row is None:
        raise NotFound(f"no job {job_id!r}")
    return row


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        owner_id=row["owner_id"],
        kind=row["kind"],
        status=JobStatus(row["status"]),
        request=row["request"],
        created_at=row["created_at"],
        result=row["result"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        progress=row["progress"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
    )


def _event(row: Row) -> JobEvent:
    return JobEvent(seq=row["seq"], type=JobEventType(row["type"]), data=row["data"], at=row["at"])
