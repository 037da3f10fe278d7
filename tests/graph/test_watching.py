"""A response about a video: progress while it is watched, an answer behind it, a cancel within."""

from __future__ import annotations

import asyncio

from blake3 import blake3

from graphs.online.perceive import Perceiver
from serve.domain.asks import Ask
from serve.domain.media import MediaKind, MediaRef, SanitizedMedia
from serve.domain.messages import (
    LogEvent,
    Progress,
    Stage,
    StageFinished,
    StageProgress,
    StageStarted,
    TextPart,
    VideoPerception,
)
from serve.domain.records import Caller, Item, ResponseStatus
from serve.storage.chroma import ChromaVectorIndex
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.pool import Database
from serve.storage.redis.perception_cache import StoredPerceptionCache
from tests.fixtures.scripted import (
    MODEL,
    Bus,
    ScriptedEars,
    ScriptedEyes,
    ScriptedGenerator,
    ScriptedReader,
    ScriptedWatcher,
    supervised,
)


async def _film(database: Database, owner: Caller, content: bytes = b"film") -> MediaRef:
    media = SanitizedMedia(
        kind=MediaKind.VIDEO, mime_type="video/mp4", content=content, duration_s=3.0
    )
    digest = blake3(content).hexdigest()
    return await PostgresAssets(database).add(owner, media, filename="", content_hash=digest)


def _ask(film: MediaRef) -> Ask:
    body = {
        "id": "msg_film",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [
            {"type": "input_file", "file_id": film.asset_id},
            {"type": "input_text", "text": "When does the rabbit appear?"},
        ],
    }
    return Ask(model=MODEL, input_items=(Item(id="msg_film", body=body),))


async def test_progress_comes_before_the_answer_and_the_timeline_is_in_the_prompt(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    generator = ScriptedGenerator(bus.journal)
    film = await _film(database, ada)
    async with supervised(database, bus, cache, generator) as runs:
        run = await runs.start(ada, _ask(film))
        record = await run.finished()
    assert record.status is ResponseStatus.COMPLETED
    stages = [
        entry.event
        for entry in record.log
        if isinstance(entry.event, StageStarted | StageProgress | StageFinished)
    ]
    assert [type(stage) for stage in stages] == [StageStarted, StageProgress, StageFinished]
    assert {(stage.stage, stage.subject) for stage in stages} == {(Stage.WATCHING, film.asset_id)}
    assert isinstance(stages[1], StageProgress)
    assert (stages[1].done, stages[1].note) == (0.5, "0:01 a rabbit")
    [watch] = [span for span in record.trace if span.name == "watch"]
    assert watch.node == "VideoEncoder"
    [request] = generator.requests
    told = [part.text for part in request.messages[-1].parts if isinstance(part, TextPart)]
    assert told[0].startswith("[Video 1, 0:03 long.")


async def test_progress_is_told_no_more_often_than_it_can_be_seen(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    n_steps = 1000
    watcher = ScriptedWatcher(tuple(Progress(step / n_steps) for step in range(1, n_steps + 1)))
    film = await _film(database, ada)
    generator = ScriptedGenerator(bus.journal)
    async with supervised(database, bus, cache, generator, videos=watcher) as runs:
        record = await (await runs.start(ada, _ask(film))).finished()
    told = [entry.event for entry in record.log if isinstance(entry.event, StageProgress)]
    assert len(told) < n_steps / 2
    assert [told[0].done, told[-1].done] == [1 / n_steps, 1.0]


async def test_cancelling_stops_the_watching(
    database: Database, bus: Bus, cache: StoredPerceptionCache, ada: Caller
) -> None:
    watcher = ScriptedWatcher(hold=asyncio.Event())
    generator = ScriptedGenerator(bus.journal)
    film = await _film(database, ada)
    async with supervised(database, bus, cache, generator, videos=watcher) as runs:
        run = await runs.start(ada, _ask(film))
        async for batch in runs.follow(run.record.id):
            events: list[LogEvent] = [entry.event for entry in batch]
            if any(isinstance(event, StageProgress) for event in events):
                break
        record = await runs.cancel(ada, run.record.id)
        assert watcher.was_closed
    assert record.status is ResponseStatus.CANCELLED
    assert not generator.requests
    assert await cache.get(film.content_hash) is None


async def test_single_shots_are_found_and_forgotten_with_their_video(
    cache: StoredPerceptionCache, chroma_url: str, database: Database, ada: Caller
) -> None:
    film = await _film(database, ada)
    async with ChromaVectorIndex(chroma_url) as index:
        perceiver = Perceiver(
            images=ScriptedEyes(),
            sounds=ScriptedEars(),
            videos=ScriptedWatcher(),
            documents=ScriptedReader(),
            cache=cache,
            index=index,
            revisions={kind: f"{kind}-{film.asset_id}" for kind in MediaKind},
        )
        steps: list[Progress] = []

        async def watch(step: Progress) -> None:
            steps.append(step)

        perceived = await perceiver.perceive(film, watch=watch)
        assert isinstance(perceived.perception, VideoPerception)
        assert [step.done for step in steps] == [0.5]
        revision = f"video-{film.asset_id}"
        found = await index.nearest(revision, ada.user_id, (1.0, 0.0), 5)
        assert {found_id for found_id, _ in found} == {
            film.asset_id,
            f"{film.asset_id}#t=0.00",
        }
        assert [
            found_id for found_id, _ in await perceiver.nearest(ada.user_id, (1.0, 0.0), 5)
        ] == [film.asset_id]
        again = await perceiver.perceive(film, watch=watch)
        assert (again.cache_hit, len(steps)) == (True, 1)
        assert again.perception == perceived.perception
        await perceiver.forget(film)
        assert await index.nearest(revision, ada.user_id, (1.0, 0.0), 5) == ()
