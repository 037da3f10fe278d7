"""Media to perceptions: the cache first, the encoders on a miss, one encode at a time per key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import chain
from typing import TypeVar

from serve.domain.asks import Perceived, Watch
from serve.domain.errors import EngineDead, PolymodalError
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    AudioPerception,
    DocumentPerception,
    Heard,
    PartHeard,
    Perception,
    Progress,
    SoundPart,
    TranscriptionOptions,
    TranscriptSegment,
    VideoPerception,
)
from serve.domain.perception import perception_key
from serve.domain.ports import (
    ArrivingAsset,
    AudioEncoder,
    DocumentEncoder,
    ImageEncoder,
    PerceptionCache,
    VectorIndex,
    VideoEncoder,
)
from serve.observability.metrics import PERCEPTIONS

_log = logging.getLogger(__name__)


# Shots of one video may be all that is near.
_PARTS_PER_HIT = 4

P = TypeVar("P", bound=Perception)


class Perceiver:
    """``domain.asks.Perceiving``. ``revisions``: of the encoder of each kind."""

    def __init__(
        self,
        *,
        images: ImageEncoder,
        sounds: AudioEncoder,
        videos: VideoEncoder,
        documents: DocumentEncoder,
        cache: PerceptionCache,
        index: VectorIndex,
        revisions: dict[MediaKind, str],
    ) -> None:
        self._images = images
        self._sounds = sounds
        self._videos = videos
        self._documents = documents
        self._cache = cache
        self._index = index
        self._revisions = revisions
        self._encoding: dict[str, tuple[asyncio.Lock, int]] = {}

    async def perceive(
        self,
        media: MediaRef,
        options: TranscriptionOptions | None = None,
        *,
        watch: Watch | None = None,
    ) -> Perceived:
        """Encode unless the cache knows; two callers at once share one encode."""
        key = self._key(media, options)
        async with self._one_at_a_time(key):
            known = await self._cache.get(key)
            PERCEPTIONS.labels(media.kind.value, "hit" if known else "miss").inc()
            if known is not None:
                return Perceived(known, cache_hit=True)
            perception = await self._encode(media, options or TranscriptionOptions(), watch)
            await self._cache.put(key, perception)
        await self._remember_vector(media, perception)
        return Perceived(perception, cache_hit=False)

    async def hear(
        self, media: MediaRef, options: TranscriptionOptions
    ) -> AsyncGenerator[Heard, None]:
        """See ``domain.asks.Perceiving``; shares its encodes and what the cache knows."""
        key = self._key(media, options)
        async with self._one_at_a_time(key):
            known = await self._cache.get(key)
            PERCEPTIONS.labels(media.kind.value, "hit" if known else "miss").inc()
            if isinstance(known, AudioPerception):
                for segment in known.segments:
                    yield segment
                yield known
                return
            async with aclosing(self._sounds.listen(media, options)) as steps:
                async for step in steps:
                    if isinstance(step, AudioPerception):
                        await self._cache.put(key, step)
                        await self._remember_vector(media, step)
                    yield step

    async def hear_arriving(
        self, recording: ArrivingAsset, options: TranscriptionOptions
    ) -> AsyncGenerator[Heard | MediaRef, None]:
        """See ``domain.asks.Perceiving``. The cache is told, but only the end knows its key."""
        so_far = b""
        async with aclosing(recording.pieces()) as pieces:
            async for pcm in pieces:
                heard = await self._hear_on(SoundPart(pcm=pcm, so_far=so_far), options)
                so_far = heard.so_far
                for step in heard.steps:
                    yield step
        media = await recording.kept()
        if not so_far:
            yield media
            async with aclosing(self.hear(media, options)) as steps:
                async for step in steps:
                    yield step
            return
        key = self._key(media, options)
        # Whoever asks about the asset as soon as it is known waits for the little that is left.
        async with self._one_at_a_time(key):
            yield media
            PERCEPTIONS.labels(media.kind.value, "miss").inc()
            last = SoundPart(pcm=b"", so_far=so_far, is_last=True)
            for step in (await self._hear_on(last, options)).steps:
                if isinstance(step, AudioPerception):
                    await self._cache.put(key, step)
                    await self._remember_vector(media, step)
                yield step

    async def recall(self, media: MediaRef) -> Perception | None:
        """What the cache knows, without encoding."""
        return await self._cache.get(self._key(media, None))

    async def nearest(
        self, owner_id: str, vector: Sequence[float], n: int
    ) -> tuple[tuple[str, float], ...]:
        """Assets whose perceptions lie nearest, best first, of every kind."""
        found = await asyncio.gather(
            *(
                self._index.nearest(revision, owner_id, vector, n * _PARTS_PER_HIT)
                for revision in dict.fromkeys(self._revisions.values())
            )
        )
        best: dict[str, float] = {}
        for found_id, score in sorted(chain.from_iterable(found), key=lambda hit: -hit[1]):
            best.setdefault(found_id.partition("#")[0], score)
        return tuple(best.items())[:n]

    async def forget(self, media: MediaRef) -> None:
        """Take the asset out of the search index."""
        await self._index.delete(self._revisions[media.kind], media.owner_id, media.asset_id)

    def _key(self, media: MediaRef, options: TranscriptionOptions | None) -> str:
        arguments = "" if options in (None, TranscriptionOptions()) else repr(options)
        revision = self._revisions[media.kind]
        return perception_key(media.owner_id, media.content_hash, revision, arguments)

    async def _hear_on(self, part: SoundPart, options: TranscriptionOptions) -> PartHeard:
        try:
            return await self._sounds.hear_on(part, options)
        except EngineDead:
            # Nothing was lost with it: another replica knows as much.
            return await self._sounds.hear_on(part, options)

    async def _encode(
        self, media: MediaRef, options: TranscriptionOptions, watch: Watch | None
    ) -> Perception:
        match media.kind:
            case MediaKind.IMAGE:
                return await self._images.perceive(media)
            case MediaKind.AUDIO:
                return await _watched(self._sounds.listen(media, options), watch)
            case MediaKind.VIDEO:
                return await _watched(self._videos.perceive(media, options), watch)
            case MediaKind.DOCUMENT:
                return await _watched(self._documents.perceive(media), watch)

    async def _remember_vector(self, media: MediaRef, perception: Perception) -> None:
        # Search may lag behind: it is rebuilt from perceptions, an answer must not wait for it.
        try:
            await self._index.upsert(
                self._revisions[media.kind],
                media.owner_id,
                media.asset_id,
                perception.vector,
                parts=_parts(perception),
            )
        except PolymodalError as error:
            _log.warning("vector not indexed", extra={"code": error.code})

    @asynccontextmanager
    async def _one_at_a_time(self, key: str) -> AsyncIterator[None]:
        lock, waiting = self._encoding.get(key, (asyncio.Lock(), 0))
        self._encoding[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            _, waiting = self._encoding[key]
            if waiting == 1:
                del self._encoding[key]
            else:
                self._encoding[key] = (lock, waiting - 1)


def _parts(perception: Perception) -> dict[str, tuple[float, ...]]:
    """What is found by itself, by a URL fragment that leads there.

    Source: https://www.w3.org/TR/media-frags/ (t), RFC 8118 (page).
    """
    match perception:
        case VideoPerception():
            return {f"t={shot.start_s:.2f}": shot.vector for shot in perception.shots}
        case DocumentPerception():
            return {f"page={page.number}": page.vector for page in perception.pages}
        case _:
            return {}


async def _watched(
    steps: AsyncGenerator[Progress | TranscriptSegment | P, None], watch: Watch | None
) -> P:
    """The perception that the steps lead to."""
    async with aclosing(steps):
        async for step in steps:
            match step:
                case Progress():
                    if watch is not None:
                        await watch(step)
                case TranscriptSegment():
                    pass
                case perception:
                    return perception
    raise EngineDead("the encoder stopped before it was done; try again")
