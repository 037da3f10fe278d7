"""The jobs that this process does, and those it takes over from the dead."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from graphs.online.jobs.reports import ReportingContext
from graphs.online.peers import Peers
from serve.domain.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    PolymodalError,
    StoreUnavailable,
)
from serve.domain.ids import new_id
from serve.domain.jobs import (
    FINAL_EVENTS,
    Job,
    JobEvent,
    JobEventType,
    JobKind,
    JobLost,
    JobNews,
    JobRows,
)
from serve.domain.records import Caller, JsonObject, Page, Scope
from serve.observability.metrics import JOBS

_log = logging.getLogger(__name__)

# For what a dead process left; of all else there is news.
_LOOK_PERIOD_S: Final = 2.0
_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 10.0
_QUIET_S: Final = 15.0
_EVENTS_AT_ONCE: Final = 500
# Without any progress between them. A node that restarts needs one or two.
_MAX_FAILURES: Final = 5
# A job that takes its process down with it every time must not do so for ever.
_MAX_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """How many jobs one process, or all of them for one owner, may work on at once."""

    in_work: int = 4
    in_work_per_owner: int = 2
    unfinished_per_owner: int = 100


class JobSupervisor:
    """``domain.jobs.JobDesk``. Jobs belong to their rows: any process may go on with any."""

    def __init__(
        self,
        rows: JobRows,
        kinds: Mapping[str, JobKind],
        peers: Peers,
        limits: JobLimits | None = None,
    ) -> None:
        self._rows = rows
        self._kinds = kinds
        self._peers = peers
        self._limits = limits or JobLimits()
        self._active: dict[str, asyncio.Task[None]] = {}
        self._called_off: set[str] = set()
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Do jobs inside the block; leaving it hands every one in work to another process."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            beside = [group.create_task(self._listen()), group.create_task(self._take())]
            try:
                yield self
            finally:
                self._group = None
                for task in (*beside, *self._active.values()):
                    task.cancel()

    # --- the port ---------------------------------------------------------------------------

    @property
    def kinds(self) -> Collection[str]:
        """The kinds that are done here."""
        return self._kinds.keys()

    async def start(self, caller: Caller, kind: str, request: JsonObject) -> Job:
        """Queue a job. Raises ``InvalidRequest`` for a kind that is not done here."""
        if kind not in self._kinds:
            choices = ", ".join(sorted(self._kinds))
            raise InvalidRequest(f"no jobs of kind {kind!r}; choose one of: {choices}")
        return await self._rows.add(
            caller,
            job_id=new_id("job"),
            kind=kind,
            request=request,
            max_unfinished=self._limits.unfinished_per_owner,
        )

    async def get(self, caller: Caller, job_id: str) -> Job:
        """See ``JobDesk``."""
        return await self._rows.get(caller, job_id)

    async def list(self, caller: Caller, page: Page, *, kind: str | None = None) -> Sequence[Job]:
        """See ``JobDesk``."""
        return await self._rows.list(caller, page, kind=kind)

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """See ``JobDesk``. Whoever does it hears of it, or else finds out at the next report."""
        return await self._rows.cancel(caller, job_id)

    async def delete(self, caller: Caller, job_id: str) -> None:
        """See ``JobDesk``."""
        job = await self._rows.delete(caller, job_id)
        await self._tidy(job)

    async def follow(
        self, caller: Caller, job_id: str, *, after: int = 0
    ) -> AsyncGenerator[Sequence[JobEvent], None]:
        """See ``JobDesk``. Raises ``NotFound`` unless the job was there at first."""
        with self._watching(job_id) as stirred:
            job = await self._rows.get(caller, job_id)
            while True:
                stirred.clear()
                try:
                    events = await self._rows.events(
                        caller, job_id, after=after, limit=_EVENTS_AT_ONCE
                    )
                    # Read before its events were: if it was final then, they are complete.
                    if not events and job.status.is_final:
                        return
                    job = await self._rows.get(caller, job_id)
                except NotFound:
                    return
                yield events
                if events:
                    after = events[-1].seq
                    if events[-1].type in FINAL_EVENTS:
                        return
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_S):
                        await stirred.wait()

    # --- one job ----------------------------------------------------------------------------

    async def _drive(self, job: Job) -> None:
        kind = self._kinds[job.kind]
        outcome = "handed over"
        try:
            try:
                outcome = await self._outcome(job, kind)
            except JobLost:
                # The news of it may come while we ask, and ends like any other.
                outcome = "cancelled" if await self._is_over(job) else "lost"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if job.id not in self._called_off or task is None:
                with suppress(PolymodalError):
                    await self._rows.let_go(job)
                raise
            task.uncancel()
            outcome = "cancelled"
        finally:
            self._active.pop(job.id, None)
            self._called_off.discard(job.id)
            self._wake.set()
            JOBS.labels(job.kind, outcome).inc()
        _log.info("job ended", extra={"job_id": job.id, "kind": job.kind, "outcome": outcome})
        if outcome != "lost":
            await self._tidy(job)

    async def _outcome(self, job: Job, kind: JobKind) -> str:
        """Do it and write down how it went."""
        try:
            if job.attempt > _MAX_ATTEMPTS:
                raise InternalError(f"given up after {_MAX_ATTEMPTS} attempts")
            result = await self._work(job, kind)
        except JobLost:
            raise
        except Exception as error:  # noqa: BLE001 - the border of a task: the job's owner is told
            await self._surely(partial(self._rows.fail, job, self._told(error, job)))
            return "failed"
        await self._surely(partial(self._rows.complete, job, result))
        return "completed"

    @staticmethod
    def _told(error: Exception, job: Job) -> PolymodalError:
        if isinstance(error, PolymodalError):
            return error
        _log.error("job broke off", exc_info=error, extra={"job_id": job.id, "kind": job.kind})
        return InternalError("a bug of ours ended this job; its id finds it in the log")

    async def _work(self, job: Job, kind: JobKind) -> JsonObject:
        """Its result, while its progress is written beside it."""
        context = ReportingContext(job, self._rows)
        try:
            async with asyncio.TaskGroup() as group:
                reports = group.create_task(context.write_reports())
                result = await self._patiently(kind, context)
                reports.cancel()
        except* Exception as failed:  # noqa: BLE001 - unwrapped, whatever it is
            raise failed.exceptions[0] from None
        return result

    async def _patiently(self, kind: JobKind, context: ReportingContext) -> JsonObject:
        """Again after an error that passes, as long as it comes any further."""
        n_failures, done = 0, context.done
        while True:
            try:
                return await kind.run(context)
            except PolymodalError as error:
                n_failures = n_failures + 1 if context.done <= done else 1
                if not error.retryable or n_failures >= _MAX_FAILURES:
                    raise
                done = context.done
                _log.warning(
                    "job tried again", extra={"job_id": context.job.id, "code": error.code}
                )
                await asyncio.sleep(min(_RETRY_S * 2**n_failures, _LONGEST_RETRY_S))

    async def _surely(self, write: Callable[[], Awaitable[None]]) -> None:
        """Sit out a restart of the database: the work is done, its result must not be lost."""
        while True:
            try:
                return await write()
            except StoreUnavailable as error:
                _log.warning("job not settled yet", extra={"code": error.code})
                await asyncio.sleep(_RETRY_S)

    async def _is_over(self, job: Job) -> bool:
        """Whether nobody else works on a job that we lost."""
        try:
            owner = Caller(user_id=job.owner_id, scopes=frozenset(Scope))
            return (await self._rows.get(owner, job.id)).status.is_final
        except NotFound:
            return True
        except PolymodalError:
            return False

    async def _tidy(self, job: Job) -> None:
        kind = self._kinds.get(job.kind)
        try:
            if kind is not None:
                await kind.tidy(job)
        except PolymodalError as error:
            _log.warning("job left things behind", extra={"job_id": job.id, "code": error.code})

    # --- beside the jobs --------------------------------------------------------------------

    async def _take(self) -> None:
        """Claim what waits, and what a dead process left, while there is room."""
        while self._group is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_PERIOD_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while await self._take_next():
                    pass
            except PolymodalError as error:
                _log.warning("no jobs taken", extra={"code": error.code})

    async def _take_next(self) -> bool:
        # Until we hear ourselves nobody else may know that we live, nor we that others do.
        if not self._peers.hears or len(self._active) >= self._limits.in_work:
            return False
        job = await self._rows.claim(
            self._peers.my_id,
            alive=[beat.process_id for beat in self._peers.alive("ingress")],
            mine=self._active,
            kinds=self._kinds,
            max_per_owner=self._limits.in_work_per_owner,
        )
        if job is None or self._group is None:
            return False
        self._active[job.id] = self._group.create_task(self._drive(job))
        return True

    async def _listen(self) -> None:
        while self._group is not None:
            try:
                async with self._rows.news() as news:
                    self._catch_up()
                    async for each in news:
                        self._hear(each)
            except PolymodalError as error:
                _log.warning("news of jobs unheard", extra={"code": error.code})
            await asyncio.sleep(_RETRY_S)

    def _catch_up(self) -> None:
        """What happened while we did not listen is in the rows."""
        self._wake.set()
        for stirred in self._watchers.values():
            for each in stirred:
                each.set()

    def _hear(self, news: JobNews) -> None:
        is_called_off = news.type in (JobEventType.CANCELLED, JobEventType.DELETED)
        if is_called_off and (task := self._active.get(news.job_id)) is not None:
            self._called_off.add(news.job_id)
            task.cancel()
        if news.type is JobEventType.QUEUED or news.type in FINAL_EVENTS:
            # There is one to do, or its owner has room for another.
            self._wake.set()
        for stirred in self._watchers.get(news.job_id, ()):
            stirred.set()

    @contextmanager
    def _watching(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happens to a job."""
        stirred = asyncio.Event()
        self._watchers[job_id].add(stirred)
        try:
            yield stirred
        finally:
            self._watchers[job_id].discard(stirred)
            if not self._watchers[job_id]:
                del self._watchers[job_id]
