"""A clip outlives the process that made it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from deployments.video_generator import VideoGeneratorReplica
from graphs.online.jobs.supervisor import JobLimits
from serve.domain.jobs import JobEventType, JobStatus
from serve.domain.messages import Filmed, FilmRequest
from serve.domain.records import Caller
from serve.storage.local_objects import LocalObjectStore
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.pool import Database
from tests.fixtures.tiny_film import N_STEPS, SPEC, filming, walking_painter, write_painter


async def test_a_clip_of_a_killed_process_goes_on_where_it_was(
    migrated_dsn: str, database: Database, redis_url: str, tmp_path: Path, ada: Caller
) -> None:
    objects, painter = tmp_path / "objects", tmp_path / "painter"
    write_painter(painter)
    model = walking_painter(painter)
    asked = {
        "prompt": "a red heart",
        "model": SPEC.name,
        "seconds": 1,
        "width_px": 64,
        "height_px": 64,
        "seed": 7,
    }
    arguments = (migrated_dsn, redis_url, str(objects), str(painter))
    doomed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fixtures.tiny_film", *arguments),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        idle = JobLimits(in_work=0)
        async with filming(migrated_dsn, redis_url, objects, model, idle) as desk:
            job = await desk.start(ada, "video", asked)
            async for batch in desk.follow(ada, job.id):
                if any(event.data.get("step") == 3 for event in batch):
                    break
    finally:
        doomed.send_signal(signal.SIGKILL)
        await doomed.wait()

    async with filming(migrated_dsn, redis_url, objects, model) as desk:
        events = [e async for batch in desk.follow(ada, job.id) for e in batch]
        done = await desk.get(ada, job.id)
    assert (done.status, done.attempt) == (JobStatus.COMPLETED, 2)
    steps = [e.data["step"] for e in events if e.type is JobEventType.PROGRESS]
    assert steps == sorted(steps)
    assert done.result is not None
    kept = await PostgresAssets(database).get(ada, done.result["asset_id"])
    store = LocalObjectStore(objects)
    undisturbed = VideoGeneratorReplica(SPEC, lambda: model, lambda: store)
    request = FilmRequest(
        prompt="a red heart",
        model=SPEC.name,
        width_px=64,
        height_px=64,
        n_frames=12,
        frames_per_s=12,
        seed=7,
    )
    *_, filmed = [each async for each in undisturbed.film(request)]
    assert isinstance(filmed, Filmed)
    assert filmed.steps == N_STEPS
    assert await store.get(kept.storage_key) == filmed.mp4
    assert not await store.exists(f"jobs/{job.id}/checkpoint")
