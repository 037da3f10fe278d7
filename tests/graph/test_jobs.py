"""Jobs from asking to their end, on a real database, whoever dies on the way."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from graphs.online.jobs.supervisor import JobLimits, JobSupervisor
from serve.domain.errors import (
    BrokenMedia,
    EngineDead,
    InvalidRequest,
    NotFound,
    PolymodalError,
    RateLimited,
)
from serve.domain.ids import repeatable_ids
from serve.domain.jobs import (
    Job,
    JobContext,
    JobEvent,
    JobEventType,
    JobLost,
    JobNews,
    JobStatus,
)
from serve.domain.messages import Progress
from serve.domain.ports import Notices
from serve.domain.records import Caller, JsonObject, Page
from serve.storage.postgres.jobs import PostgresJobs
from serve.storage.postgres.pool import Database
from serve.storage.redis.streams import RedisStreams
from tests.fixtures.filming import jobs_done


@pytest.fixture
async def notices(redis_url: str) -> AsyncIterator[Notices]:
    async with await RedisStreams.connect(redis_url) as streams:
        yield streams.notices


@pytest.fixture
def rows(database: Database) -> PostgresJobs:
    return PostgresJobs(database)


@dataclass
class Counting:
    """``JobKind``: counts to ``n``, with a checkpoint. Holds behind ``hold_at`` while it may."""

    n: int = 4
    hold_at: int = -1
    errors: list[Exception] = field(default_factory=list)
    checkpoints: dict[str, int] = field(default_factory=dict)
    steps: list[tuple[str, int]] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    was_stopped: asyncio.Event = field(default_factory=asyncio.Event)
    tidied: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )

    async def run(self, context: JobContext) -> JsonObject:
        job = context.job
        for step in range(self.checkpoints.get(job.id, 0), self.n):
            self.steps.append((job.id, step))
            self.checkpoints[job.id] = step + 1
            context.report(Progress((step + 1) / self.n, f"step {step}"))
            if self.errors:
                raise self.errors.pop(0)
            if step == self.hold_at:
                self.held.set()
                try:
                    await self.go_on.wait()
                except asyncio.CancelledError:
                    self.was_stopped.set()
                    raise
        return {"counted": self.n}

    async def tidy(self, job: Job) -> None:
        self.checkpoints.pop(job.id, None)
        self.tidied[job.id].set()


@asynccontextmanager
async def working(
    rows: PostgresJobs, notices: Notices, kind: Counting, limits: JobLimits | None = None
) -> AsyncIterator[JobSupervisor]:
    """One ingress process' worth of counting."""
    async with jobs_done(rows, notices, {"counting": kind}, limits) as supervisor:
        yield supervisor


async def _end(desk: JobSupervisor, caller: Caller, job: Job) -> Job:
    async for _ in desk.follow(caller, job.id):
        pass
    return await desk.get(caller, job.id)


async def _events(desk: JobSupervisor, caller: Caller, job: Job, after: int = 0) -> list[JobEvent]:
    return [e async for batch in desk.follow(caller, job.id, after=after) for e in batch]


async def _started(desk: JobSupervisor, caller: Caller, job: Job) -> None:
    async for batch in desk.follow(caller, job.id):
        if any(event.data.get("note") for event in batch):
            return


async def test_a_job_is_done_and_tells_its_whole_story(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    kind = Counting()
    async with working(rows, notices, kind) as desk:
        job = await desk.start(ada, "counting", {"to": 4})
        assert (job.status, job.request) == (JobStatus.QUEUED, {"to": 4})
        told = await _events(desk, ada, job)
        done = await desk.get(ada, job.id)
        assert (done.status, done.result) == (JobStatus.COMPLETED, {"counted": 4})
        assert done.progress == 1.0
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        assert [event.type.value for event in told][:2] == ["job.queued", "job.started"]
        assert told[-1].data == {"counted": 4}
        # Who comes back behind any event gets the rest, once.
        assert await _events(desk, ada, job, after=2) == told[2:]
        assert await _events(desk, ada, job, after=told[-1].seq) == []
    assert kind.checkpoints == {}


async def test_a_job_of_a_process_that_stops_goes_on_elsewhere(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    first = Counting(hold_at=1)
    async with working(rows, notices, first) as desk:
        job = await desk.start(ada, "counting", {})
        await first.held.wait()
    second = Counting(checkpoints=first.checkpoints)
    async with working(rows, notices, second) as desk:
        done = await _end(desk, ada, job)
    assert (done.status, done.attempt) == (JobStatus.COMPLETED, 2)
    assert [step for _, step in first.steps + second.steps] == [0, 1, 2, 3]


async def test_a_job_of_a_silent_process_is_adopted_and_the_zombie_writes_nothing(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    zombie = "proc_gone"
    added = await rows.add(ada, job_id="job_1", kind="counting", request={}, max_unfinished=1)
    held = await rows.claim(zombie, alive=[], mine=[], kinds=["counting"], max_per_owner=1)
    assert held is not None
    await rows.report(held, 0.25, {})
    async with working(rows, notices, Counting()) as desk:
        done = await _end(desk, ada, added)
    assert (done.status, done.attempt) == (JobStatus.COMPLETED, 2)
    with pytest.raises(JobLost):
        await rows.report(held, 0.5, {})
    with pytest.raises(JobLost):
        await rows.complete(held, {"counted": 0})
    await rows.let_go(held)
    assert await rows.get(ada, added.id) == done


async def test_a_living_process_keeps_its_job(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    mine, other = Counting(hold_at=0), Counting()
    async with working(rows, notices, mine, JobLimits(in_work=1)) as desk:
        job = await desk.start(ada, "counting", {})
        await mine.held.wait()
        async with working(rows, notices, other) as elsewhere:
            second = await elsewhere.start(ada, "counting", {})
            await _end(elsewhere, ada, second)
            mine.go_on.set()
            # Events reach those who watch from another process too.
            assert (await _end(elsewhere, ada, job)).attempt == 1


async def test_cancelling_stops_the_work_from_any_process(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    kind = Counting(hold_at=0)
    async with (
        working(rows, notices, kind) as desk,
        # It must not take one itself: this is about jobs that are in work in another process.
        working(rows, notices, Counting(), JobLimits(in_work=0)) as elsewhere,
    ):
        jobs = [await desk.start(ada, "counting", {}) for _ in range(3)]
        await kind.held.wait()
        working_on = kind.steps[0][0]
        cancelled = await elsewhere.cancel(ada, working_on)
        assert cancelled.status is JobStatus.CANCELLED
        await kind.was_stopped.wait()
        assert (await elsewhere.cancel(ada, working_on)) == cancelled
        kind.go_on.set()
        for job in jobs:
            await _end(desk, ada, job)
        await kind.tidied[working_on].wait()
    assert working_on not in kind.checkpoints


class LateNews(PostgresJobs):
    """Hears that a job was cancelled only while it is looking at the job's row."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._looking = asyncio.Event()

    async def get(self, caller: Caller, job_id: str) -> Job:
        self._looking.set()
        # The news of it ends this, if the work it belongs to can be called off.
        await asyncio.sleep(2.0)
        return await super().get(caller, job_id)

    @asynccontextmanager
    async def news(self) -> AsyncIterator[AsyncGenerator[JobNews, None]]:
        async with super().news() as news:
            yield self._late(news)

    async def _late(self, news: AsyncGenerator[JobNews, None]) -> AsyncGenerator[JobNews, None]:
        async for each in news:
            if each.type is JobEventType.CANCELLED:
                await self._looking.wait()
            yield each


async def test_a_job_whose_loss_is_heard_of_twice_is_tidied_up_after(
    rows: PostgresJobs, database: Database, notices: Notices, ada: Caller
) -> None:
    kind = Counting(hold_at=0)
    async with working(LateNews(database), notices, kind) as desk:
        job = await desk.start(ada, "counting", {})
        await kind.held.wait()
        await rows.cancel(ada, job.id)
        kind.go_on.set()
        async with asyncio.timeout(20):
            await kind.tidied[job.id].wait()
    assert not kind.was_stopped.is_set()
    assert kind.checkpoints == {}


async def test_a_job_cancelled_before_its_turn_never_begins(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    kind = Counting(hold_at=0)
    limits = JobLimits(in_work_per_owner=1)
    async with working(rows, notices, kind, limits) as desk:
        first = await desk.start(ada, "counting", {})
        second = await desk.start(ada, "counting", {})
        await kind.held.wait()
        await desk.cancel(ada, second.id)
        kind.go_on.set()
        assert (await _end(desk, ada, first)).status is JobStatus.COMPLETED
        types = [event.type.value for event in await _events(desk, ada, second)]
    assert types == ["job.queued", "job.cancelled"]
    assert {job_id for job_id, _ in kind.steps} == {first.id}


async def test_deleting_a_job_stops_it_and_ends_its_watchers(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    kind = Counting(hold_at=0)
    async with working(rows, notices, kind) as desk:
        job = await desk.start(ada, "counting", {})
        await kind.held.wait()
        async with aclosing(desk.follow(ada, job.id)) as watching:
            assert await anext(watching)
            await desk.delete(ada, job.id)
            await kind.was_stopped.wait()
            assert [batch async for batch in watching if batch] == []
        with pytest.raises(NotFound):
            await desk.get(ada, job.id)


async def test_an_error_that_passes_is_tried_again_and_others_end_the_job(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    patient = Counting(errors=[EngineDead("gone"), EngineDead("again")])
    async with working(rows, notices, patient) as desk:
        done = await _end(desk, ada, await desk.start(ada, "counting", {}))
        assert done.status is JobStatus.COMPLETED
        assert [step for _, step in patient.steps] == [0, 1, 2, 3]
        patient.errors = [BrokenMedia("this is no film")]
        failed = await _end(desk, ada, await desk.start(ada, "counting", {}))
        assert (failed.error_code, failed.error_message) == ("broken_media", "this is no film")
        patient.errors = [RuntimeError("secret")]
        broken = await _end(desk, ada, await desk.start(ada, "counting", {}))
        assert broken.error_code == "internal_error"
        assert "secret" not in (broken.error_message or "")


async def test_owners_take_turns_and_nobody_has_more_than_the_limit(
    rows: PostgresJobs, notices: Notices, ada: Caller, eve: Caller
) -> None:
    kind = Counting(n=1, hold_at=0)
    limits = JobLimits(in_work=3, in_work_per_owner=2, unfinished_per_owner=3)
    async with working(rows, notices, kind, limits) as desk:
        adas = [await desk.start(ada, "counting", {}) for _ in range(3)]
        with pytest.raises(RateLimited):
            await desk.start(ada, "counting", {})
        eves = await desk.start(eve, "counting", {})
        begun = ((ada, adas[0]), (ada, adas[1]), (eve, eves))
        await asyncio.gather(*(_started(desk, who, job) for who, job in begun))
        assert {job_id for job_id, _ in kind.steps} == {adas[0].id, adas[1].id, eves.id}
        kind.go_on.set()
        assert (await _end(desk, ada, adas[2])).status is JobStatus.COMPLETED


async def test_only_the_owner_sees_a_job(rows: PostgresJobs, ada: Caller, eve: Caller) -> None:
    job = await rows.add(ada, job_id="job_1", kind="counting", request={}, max_unfinished=9)
    for refused in (rows.get, rows.cancel, rows.delete):
        with pytest.raises(NotFound):
            await refused(eve, job.id)
    with pytest.raises(NotFound):
        await rows.events(eve, job.id, after=0, limit=9)
    assert await rows.list(eve, Page()) == ()
    assert await rows.list(ada, Page(), kind="other") == ()


async def test_jobs_are_listed_by_time_and_asking_twice_makes_one(
    rows: PostgresJobs, notices: Notices, ada: Caller
) -> None:
    async with working(rows, notices, Counting(), JobLimits(in_work=0)) as desk:
        made: list[Job] = []
        for _ in range(2):
            with repeatable_ids("the same request"):
                made.append(await desk.start(ada, "counting", {}))
        assert made[0] == made[1]
        later = await desk.start(ada, "counting", {})
        assert [job.id for job in await desk.list(ada, Page())] == [later.id, made[0].id]
        assert [job.id for job in await desk.list(ada, Page(after=later.id))] == [made[0].id]
        with pytest.raises(InvalidRequest):
            await desk.list(ada, Page(after="job_of_nobody"))
        with pytest.raises(InvalidRequest, match="counting"):
            await desk.start(ada, "flying", {})


async def test_a_job_that_never_comes_any_further_is_given_up(
    rows: PostgresJobs, ada: Caller, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.online.jobs.supervisor._RETRY_S", 0.001)

    class Stuck(Counting):
        async def run(self, context: JobContext) -> JsonObject:
            self.steps.append((context.job.id, 0))
            raise EngineDead("no replica")

    stuck = Stuck()
    async with working(rows, notices, stuck) as desk:
        failed = await _end(desk, ada, await desk.start(ada, "counting", {}))
    assert failed.error_code == EngineDead.code
    assert len(stuck.steps) == 5
    assert issubclass(EngineDead, PolymodalError)
