"""Real replicas behind typed clients, wired by Serve in its local testing mode: no cluster."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from ray import serve as ray_serve

from deployments.audio_encoder import AudioEncoderReplica
from deployments.audio_tower import load_audio_tower
from deployments.generator import GeneratorReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.moderator import ModeratorReplica
from deployments.speech_generator import SpeechGeneratorReplica
from deployments.text_encoder import TextEncoderReplica
from deployments.video_encoder import VideoEncoderReplica
from deployments.vision_tower import load_tower
from deployments.watching.decoding import VideoDecoder
from graphs.online.active_run import RunPorts
from graphs.online.peers import Peers
from graphs.online.perceive import Perceiver
from graphs.online.runs import RunSupervisor
from graphs.online.tools.registry import ServerTools
from graphs.stores import ReplicaJournal, ReplicaNotices, ReplicaObjects
from serve.config.settings import Settings, load_settings
from serve.domain.asks import Ask
from serve.domain.catalogue import ServedModel
from serve.domain.errors import (
    BrokenMedia,
    ContextLengthExceeded,
    EngineDead,
    InternalError,
    InvalidRequest,
    NodeTimeout,
    NotFound,
)
from serve.domain.media import MediaKind, MediaLimits, MediaRef, SanitizedMedia, asset_storage_key
from serve.domain.messages import (
    Embeddings,
    GenerationRequest,
    Progress,
    Sampling,
    SpeechRequest,
    TextBatch,
    TranscriptionOptions,
    VideoPerception,
)
from serve.domain.records import Caller, Item, ResponseRecord, ResponseStatus
from serve.handles import (
    AudioEncoderClient,
    GeneratorClient,
    ImageEncoderClient,
    ModeratorClient,
    SpeechGeneratorClient,
    TextEncoderClient,
    VideoEncoderClient,
)
from serve.observability.processes import this_process
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import GeneratorTraits, ModelSpec, spec_of_folder
from serve.storage.local_objects import LocalObjectStore
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.pool import Database
from serve.storage.postgres.responses import PostgresResponses
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache
from serve.storage.redis.streams import RedisStreams
from tests.fixtures.clips import clip, colours
from tests.fixtures.scripted import (
    AlwaysOpen,
    NoIndex,
    ScriptedEars,
    ScriptedEyes,
    ScriptedReader,
)

# Ray, vLLM, torch and transformers warn about themselves while they load and run.
pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore")]

_TEXT = CPU_CATALOG.get("minilm-l6-v2")
_EYES = CPU_CATALOG.get("vision-lite")
_VOICE = CPU_CATALOG.get("hibari")
_JUDGE = CPU_CATALOG.get("omni-moderation-latest")


def _wire(name: str, replica: type[Any], *arguments: object) -> Any:
    """Handle to ``replica``, in this process. The one place that names Serve's private switch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        application = ray_serve.deployment(name=name)(replica).bind(*arguments)
        return ray_serve.run(application, name=name, _local_testing_mode=True)


class _Troubled:
    """A node in trouble, of the kind that ``prompt`` names."""

    def __init__(self) -> None:
        self.was_cancelled = False

    async def encode_each(self, batches: Sequence[TextBatch]) -> None:
        match batches[0].texts[0]:
            case "slow":
                await asyncio.sleep(30)
            case "ours":
                raise EngineDead("gone")
            case _:
                raise RuntimeError("a bug")


@pytest.fixture(scope="module")
def text_encoder(models_dir: Path) -> TextEncoderClient:
    handle = _wire("TextEncoder", TextEncoderReplica, _TEXT, models_dir)
    return TextEncoderClient(handle, node="text encoder", timeout_s=60)


async def test_text_becomes_unit_vectors_through_a_handle(text_encoder: TextEncoderClient) -> None:
    embeddings = await text_encoder.encode(TextBatch(("a cat", "a kitten")))
    assert embeddings.vectors.shape == (2, 384)
    assert np.linalg.norm(embeddings.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert await text_encoder.ping() == _TEXT.revision


async def test_texts_and_pictures_are_judged_through_a_handle(
    models_dir: Path, cat_jpeg: bytes
) -> None:
    handle = _wire("Moderator", ModeratorReplica, _JUDGE, models_dir)
    client = ModeratorClient(handle, node="moderator", timeout_s=60)
    threat, greeting = await client.judge_texts(("I will kill you", "hello"))
    assert threat.scores["harassment/threatening"] == 0.9
    assert greeting.scores.keys() == {"prompt_injection", "illicit"}
    assert (await client.judge_picture(cat_jpeg)).scores["sexual"] < 0.2
    with pytest.raises(BrokenMedia):
        await client.judge_picture(b"")
    assert await client.ping() == _JUDGE.revision


async def test_refusals_cross_the_handle_as_they_are(text_encoder: TextEncoderClient) -> None:
    with pytest.raises(InvalidRequest):
        await text_encoder.encode(TextBatch(()))
    with pytest.raises(ContextLengthExceeded) as refused:
        await text_encoder.encode(TextBatch(("word " * 2000,)))
    assert refused.value.context["limit"] == 256


async def test_texts_that_travel_together_are_answered_each_for_itself(
    text_encoder: TextEncoderClient,
) -> None:
    texts = ["a cat", "", "word " * 2000, *(f"number {n}" for n in range(20))]
    calls = [text_encoder.encode(TextBatch((text,))) for text in texts]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[1], InvalidRequest)
    assert isinstance(found[2], ContextLengthExceeded)
    alone = await text_encoder.encode(TextBatch(tuple(texts[3:])))
    for each, vector in zip(found[3:], alone.vectors, strict=True):
        assert isinstance(each, Embeddings)
        assert np.abs(each.vectors[0] - vector).max() < 1e-5


async def test_trouble_behind_a_handle_becomes_an_error_of_ours() -> None:
    handle = _wire("Troubled", _Troubled)
    client = TextEncoderClient(handle, node="text encoder", timeout_s=0.3)
    with pytest.raises(NodeTimeout):
        await client.encode(TextBatch(("slow",)))
    with pytest.raises(EngineDead):
        await client.encode(TextBatch(("ours",)))
    with pytest.raises((RuntimeError, InternalError)):
        await client.encode(TextBatch(("bug",)))


@pytest.fixture(scope="module")
def speech(models_dir: Path) -> SpeechGeneratorClient:
    handle = _wire("SpeechGenerator", SpeechGeneratorReplica, (_VOICE,), models_dir)
    return SpeechGeneratorClient(handle, node="speech generator", timeout_s=60)


async def test_sentences_come_through_a_handle_one_by_one(speech: SpeechGeneratorClient) -> None:
    request = SpeechRequest(text="One. Two. Three.", model="tts-1", voice="alloy")
    said = [sentence async for sentence in speech.speak(request)]
    assert [sentence.text for sentence in said] == ["One.", "Two.", "Three."]
    assert all(sentence.duration_s > 0.2 for sentence in said)
    assert await speech.ping() == _VOICE.revision


async def test_a_refusal_to_speak_crosses_the_handle(speech: SpeechGeneratorClient) -> None:
    request = SpeechRequest(text="One.", model="tts-1", voice="nobody")
    with pytest.raises(InvalidRequest, match="heart, alloy"):
        await anext(speech.speak(request))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Settings:
    home = tmp_path_factory.mktemp("graph")
    return load_settings(
        {
            "POLYMODAL_HOME": str(home),
            "POLYMODAL_REDIS_URL": redis_url,
            "POLYMODAL_OBJECT_STORE_URL": f"file://{home}/objects",
            "POLYMODAL_FEATURE_DIR": str(home / "features"),
        }
    )


def _tiny(checkpoint: Path, name: str, *modalities: MediaKind) -> ModelSpec:
    traits = GeneratorTraits(kv_cache_bytes=64 << 20, max_num_seqs=4, modalities=modalities)
    spec = spec_of_folder(checkpoint, name=name, licence="none", traits=traits)
    return replace(spec, dtype="float32")


@pytest.fixture(scope="module")
def seeing_spec(tiny_vision_checkpoint: Path) -> ModelSpec:
    """A generator that takes pictures and videos itself."""
    return _tiny(tiny_vision_checkpoint, "tiny-vision", MediaKind.IMAGE, MediaKind.VIDEO)


@pytest.fixture(scope="module")
def hearing_spec(tiny_audio_checkpoint: Path) -> ModelSpec:
    """A generator that takes recordings itself."""
    return _tiny(tiny_audio_checkpoint, "tiny-audio", MediaKind.AUDIO)


@pytest.fixture(scope="module")
def images(settings: Settings, models_dir: Path, seeing_spec: ModelSpec) -> ImageEncoderClient:
    handle = _wire(
        "ImageEncoder",
        ImageEncoderReplica,
        _EYES,
        _TEXT,
        models_dir,
        partial(ReplicaObjects, settings),
        partial(load_tower, seeing_spec, models_dir, str(settings.feature_dir)),
    )
    return ImageEncoderClient(handle, node="image encoder", timeout_s=60)


@pytest.fixture(scope="module")
def sounds(settings: Settings, models_dir: Path, hearing_spec: ModelSpec) -> AudioEncoderClient:
    handle = _wire(
        "AudioEncoder",
        AudioEncoderReplica,
        CPU_CATALOG.get("whisper-base"),
        _TEXT,
        models_dir,
        partial(ReplicaObjects, settings),
        partial(load_audio_tower, hearing_spec, models_dir, str(settings.feature_dir)),
    )
    return AudioEncoderClient(handle, node="audio encoder", timeout_s=60)


@pytest.fixture(scope="module")
def videos(settings: Settings, models_dir: Path, seeing_spec: ModelSpec) -> VideoEncoderClient:
    handle = _wire(
        "VideoEncoder",
        VideoEncoderReplica,
        "watching-1",
        partial(ReplicaObjects, settings),
        partial(VideoDecoder, MediaLimits()),
        ray_serve.deployment(name="Eyes")(ScriptedEyes).bind(),
        partial(ImageEncoderClient, node="image encoder", timeout_s=60),
        ray_serve.deployment(name="Ears")(ScriptedEars).bind(),
        partial(AudioEncoderClient, node="audio encoder", timeout_s=60),
        partial(load_tower, seeing_spec, models_dir, str(settings.feature_dir)),
    )
    return VideoEncoderClient(handle, node="video encoder", timeout_s=60)


@contextmanager
def _generating(spec: ModelSpec, settings: Settings) -> Iterator[GeneratorClient]:
    handle = _wire(
        f"Generator-{spec.name}",
        GeneratorReplica,
        spec,
        partial(ReplicaJournal, settings.redis_url),
        partial(ReplicaNotices, settings.redis_url),
        "",
        str(settings.feature_dir),
    )
    yield GeneratorClient(handle, node="generator", timeout_s=60)
    # The handle has a method of that name itself.
    handle.options(method_name="shutdown").remote().result()


@pytest.fixture(scope="module")
def generator(settings: Settings, seeing_spec: ModelSpec) -> Iterator[GeneratorClient]:
    with _generating(seeing_spec, settings) as client:
        yield client


@pytest.fixture(scope="module")
def hearing_generator(settings: Settings, hearing_spec: ModelSpec) -> Iterator[GeneratorClient]:
    with _generating(hearing_spec, settings) as client:
        yield client


@pytest.fixture
async def runs(
    database: Database,
    settings: Settings,
    images: ImageEncoderClient,
    sounds: AudioEncoderClient,
    videos: VideoEncoderClient,
    generator: GeneratorClient,
    hearing_generator: GeneratorClient,
) -> AsyncIterator[RunSupervisor]:
    redis = connect(settings.redis_url)
    objects = LocalObjectStore(settings.home / "objects")
    async with await RedisStreams.connect(settings.redis_url) as streams:
        ports = RunPorts(
            responses=PostgresResponses(database),
            conversations=PostgresConversations(database),
            assets=PostgresAssets(database),
            journal=streams.journal,
            notices=streams.notices,
            perceiving=Perceiver(
                images=images,
                sounds=ScriptedEars(),
                videos=videos,
                documents=ScriptedReader(),
                cache=StoredPerceptionCache(redis, objects),
                index=NoIndex(),
                revisions={kind: f"{kind}-1" for kind in MediaKind},
            ),
            towers={MediaKind.IMAGE: images, MediaKind.AUDIO: sounds, MediaKind.VIDEO: videos},
            generators={"tiny-vision": generator, "tiny-audio": hearing_generator},
            models={
                name: ServedModel(name=name, role="generator", revision="1", modalities=modalities)
                for name, modalities in (
                    ("tiny-vision", (MediaKind.IMAGE, MediaKind.VIDEO)),
                    ("tiny-audio", (MediaKind.AUDIO,)),
                )
            },
            admission=AlwaysOpen(),
            tools=ServerTools([]),
        )
        peers = Peers(streams.notices, this_process("ingress"))
        supervisor = RunSupervisor(ports, peers, timeout_s=60)
        async with peers.met(), supervisor.running():
            yield supervisor
    await redis.aclose()


@dataclass(frozen=True)
class Asking:
    """Asks a model what something is."""

    runs: RunSupervisor
    database: Database
    settings: Settings
    caller: Caller

    async def what_is(self, media: SanitizedMedia, model: str) -> ResponseRecord:
        digest = blake3(media.content).hexdigest()
        await LocalObjectStore(self.settings.home / "objects").put(
            asset_storage_key(self.caller.user_id, digest), media.content, mime_type=media.mime_type
        )
        asset = await PostgresAssets(self.database).add(
            self.caller, media, filename="", content_hash=digest
        )
        body = {
            "id": "msg_1",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [
                {"type": "input_file", "file_id": asset.asset_id},
                {"type": "input_text", "text": "What is this?"},
            ],
        }
        run = await self.runs.start(
            self.caller,
            Ask(
                model=model,
                input_items=(Item(id="msg_1", body=body),),
                sampling=Sampling(max_output_tokens=8, temperature=0),
            ),
        )
        record = await run.finished()
        assert record.status in (ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE)
        return record


@pytest.fixture
def asking(runs: RunSupervisor, database: Database, settings: Settings, ada: Caller) -> Asking:
    return Asking(runs, database, settings, ada)


def _span(record: ResponseRecord, name: str) -> dict[str, str | int | float]:
    [span] = [span for span in record.trace if span.name == name]
    return dict(span.attributes)


def _text_of(record: ResponseRecord) -> str:
    return "".join(part["text"] for item in record.output_items for part in item.body["content"])


async def test_a_seeing_generator_gets_features_from_the_encoder_node(
    asking: Asking, cat_jpeg: bytes
) -> None:
    media = SanitizedMedia(kind=MediaKind.IMAGE, mime_type="image/jpeg", content=cat_jpeg)
    record = await asking.what_is(media, "tiny-vision")
    assert _span(record, "look")["way"] == "features"
    # The picture's tokens are in the prompt: far more than the few words of the question.
    assert record.usage.input_tokens > 40


async def test_a_seeing_generator_gets_the_frames_of_a_clip_and_is_told_of_its_sound(
    asking: Asking, voice_wav: bytes
) -> None:
    answers = {}
    for name, grounds, voice in (
        ("silent", colours(), None),
        ("other way round", colours()[::-1], None),
        ("spoken", colours(), voice_wav),
    ):
        film = clip([(1.0, ground) for ground in grounds], voice_wav=voice)
        media = SanitizedMedia(
            kind=MediaKind.VIDEO, mime_type="video/mp4", content=film, duration_s=3.0
        )
        answers[name] = await asking.what_is(media, "tiny-vision")
    watched = {name: _span(record, "watch") for name, record in answers.items()}
    assert {each["way"] for each in watched.values()} == {"features"}
    assert [each.get("sound") for each in watched.values()] == [None, None, "grounded text"]
    n_tokens = {name: record.usage.input_tokens for name, record in answers.items()}
    # Two frames a second, two of them in one patch of time.
    assert n_tokens["silent"] == n_tokens["other way round"] > 3 * 40
    assert n_tokens["spoken"] > n_tokens["silent"] + 100
    written = {name: _text_of(record) for name, record in answers.items()}
    assert written["silent"] != written["other way round"]


async def test_a_hearing_generator_gets_features_of_a_recording(
    asking: Asking, voice_wav: bytes
) -> None:
    media = SanitizedMedia(
        kind=MediaKind.AUDIO, mime_type="audio/wav", content=voice_wav, duration_s=7.1
    )
    record = await asking.what_is(media, "tiny-audio")
    assert _span(record, "listen")["way"] == "features"
    # 25 tokens a second.
    assert record.usage.input_tokens > 100


async def test_a_generator_is_told_in_words_of_what_it_does_not_take(
    asking: Asking, cat_jpeg: bytes
) -> None:
    media = SanitizedMedia(kind=MediaKind.IMAGE, mime_type="image/jpeg", content=cat_jpeg)
    record = await asking.what_is(media, "tiny-audio")
    assert _span(record, "look")["way"] == "grounded text"


async def test_a_video_is_watched_by_encoders_behind_handles(
    settings: Settings, videos: VideoEncoderClient, voice_wav: bytes
) -> None:
    film = clip([(1.0, ground) for ground in colours()], voice_wav=voice_wav)
    await LocalObjectStore(settings.home / "objects").put("film", film, mime_type="video/mp4")
    media = MediaRef(
        asset_id="asset_film",
        owner_id="user_ada",
        kind=MediaKind.VIDEO,
        mime_type="video/mp4",
        content_hash="0" * 64,
        storage_key="film",
        n_bytes=len(film),
        duration_s=3.0,
    )
    *progress, seen = [step async for step in videos.perceive(media, TranscriptionOptions())]
    assert progress
    assert all(isinstance(step, Progress) for step in progress)
    assert isinstance(seen, VideoPerception)
    assert [shot.start_s for shot in seen.shots] == pytest.approx([0, 1, 2], abs=0.15)
    assert seen.sound is not None
    assert await videos.ping() == "watching-1"
    broken = replace(media, storage_key="asset_of_nobody")
    with pytest.raises(NotFound):
        async for _ in videos.perceive(broken, TranscriptionOptions()):
            pass


async def test_cancelling_a_call_frees_the_sequence(
    generator: GeneratorClient, settings: Settings
) -> None:
    from serve.domain.messages import ChatMessage, TextPart

    request = GenerationRequest(
        response_id="resp_cancelled",
        model="tiny-vision",
        messages=(ChatMessage(role="user", parts=(TextPart("Go on."),)),),
        sampling=Sampling(max_output_tokens=900, temperature=1),
    )
    async with (
        await RedisStreams.connect(settings.redis_url) as streams,
        streams.journal.open("resp_cancelled", is_new=True) as live,
    ):
        call = asyncio.ensure_future(generator.generate(request))
        version = 0
        while not live.fold.has_output:
            version = await live.changed(version)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.5)
        written = live.fold.next_seq
        await asyncio.sleep(0.5)
        assert live.fold.next_seq == written
