"""Everything behind the HTTP application: handles become clients, stores are opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray.serve.handle import DeploymentHandle

from deployments.hearing.voice import SileroVoiceDetector
from graphs.nodes import (
    AUDIO_ENCODER,
    DOCUMENT_ENCODER,
    GENERATOR,
    IMAGE_ENCODER,
    IMAGE_GENERATOR,
    MODERATOR,
    SPEECH_GENERATOR,
    TEXT_ENCODER,
    VIDEO_ENCODER,
)
from graphs.online.active_run import RunPorts
from graphs.online.admission import AdmissionDesk
from graphs.online.jobs.perceptions import (
    PERCEPTION,
    TRANSCRIPTION,
    PerceptionJobs,
    TranscriptionJobs,
)
from graphs.online.jobs.supervisor import JobSupervisor
from graphs.online.jobs.videos import VIDEO, VideoJobs
from graphs.online.peers import Peers
from graphs.online.perceive import Perceiver
from graphs.online.reaper import end_silent_peer
from graphs.online.runs import RunSupervisor
from graphs.online.tools.drawing import Drawing
from graphs.online.tools.registry import ServerTools
from graphs.online.tools.searching import Searching
from graphs.online.tools.speaking import Speaking
from graphs.stores import media_limits, object_store
from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.config.settings import Settings
from serve.direct_calls.client import DirectCalls
from serve.domain.admission import QueueBounds
from serve.domain.catalogue import ServedModels
from serve.domain.errors import PolymodalError
from serve.domain.jobs import JobKind
from serve.domain.media import MediaKind
from serve.domain.moderation import ContentPolicy
from serve.domain.perception import reading_revision, watching_revision
from serve.handles import (
    AudioEncoderClient,
    DocumentEncoderClient,
    GeneratorClient,
    ImageEncoderClient,
    ImageGeneratorClient,
    ModeratorClient,
    SpeechGeneratorClient,
    TextEncoderClient,
    VideoEncoderClient,
    VideoGeneratorClient,
)
from serve.ingress.app import create_app
from serve.ingress.context import IngressLimits, IngressPorts
from serve.ingress.credentials import Credentials
from serve.ingress.quota import LeasedRateLimits
from serve.media.intake import MediaIntake
from serve.media.late_fetcher import LateFetcher
from serve.media.pages import PageReader
from serve.media.provenance import C2paProvenance
from serve.media.sanitizer import SandboxedSanitizer
from serve.media.signing_key import SigningIdentity, make_elsewhere, signing_identity
from serve.observability.processes import this_process
from serve.storage.chroma import ChromaVectorIndex
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.idempotency import PostgresIdempotencyKeys
from serve.storage.postgres.jobs import PostgresJobs
from serve.storage.postgres.pool import open_database
from serve.storage.postgres.responses import PostgresResponses
from serve.storage.redis.connection import connect
from serve.storage.redis.perception_cache import StoredPerceptionCache
from serve.storage.redis.rate_limits import RedisRateLimits
from serve.storage.redis.realtime_sessions import RedisRealtimeSessions
from serve.storage.redis.streams import RedisStreams

_PING_TIMEOUT_S = 5.0
# base64 adds a third; a request may carry a few media inline.
_INLINE_MEDIA_PER_REQUEST = 4


@dataclass(frozen=True, slots=True)
class GraphPing:
    """``domain.asks.Graph``: asks every part at once."""

    parts: dict[str, Callable[[], Awaitable[object]]]

    async def ping(self) -> dict[str, str]:
        """Each part's name with "ok" or what is wrong."""
        states = await asyncio.gather(*(self._state(part) for part in self.parts.values()))
        return dict(zip(self.parts, states, strict=True))

    @staticmethod
    async def _state(ping: Callable[[], Awaitable[object]]) -> str:
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await ping()
        except TimeoutError:
            return f"no answer within {_PING_TIMEOUT_S:g} s"
        except PolymodalError as error:
            return error.code
        return "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHandles:
    """Serve's handles to the other deployments. ``generators`` is by catalog name."""

    text: DeploymentHandle[Any]
    image: DeploymentHandle[Any]
    audio: DeploymentHandle[Any]
    speech: DeploymentHandle[Any]
    painter: DeploymentHandle[Any]
    filmer: DeploymentHandle[Any]
    document: DeploymentHandle[Any]
    video: DeploymentHandle[Any]
    moderator: DeploymentHandle[Any]
    generators: dict[str, DeploymentHandle[Any]]


def ingress_app(
    handles: NodeHandles, settings: Settings, models: ServedModels, *, metrics_dir: Path
) -> FastAPI:
    """The HTTP application; its lifespan opens and closes everything behind it."""
    limits = ingress_limits(settings, metrics_dir)
    return create_app(_Ports(handles, settings, models, limits).opened, limits)


class _Ports:
    """Opens the ports of one ingress process."""

    def __init__(
        self,
        handles: NodeHandles,
        settings: Settings,
        models: ServedModels,
        limits: IngressLimits,
    ) -> None:
        self._settings = settings
        self._models = models
        self._limits = limits
        timeout_s = settings.node_timeout_s
        self._text = TextEncoderClient(handles.text, node="text encoder", timeout_s=timeout_s)
        self._images = ImageEncoderClient(handles.image, node="image encoder", timeout_s=timeout_s)
        self._sounds = AudioEncoderClient(handles.audio, node="audio encoder", timeout_s=timeout_s)
        self._videos = VideoEncoderClient(handles.video, node="video encoder", timeout_s=timeout_s)
        self._documents = DocumentEncoderClient(
            handles.document, node="document encoder", timeout_s=timeout_s
        )
        self._painter = ImageGeneratorClient(
            handles.painter, node="image generator", timeout_s=timeout_s
        )
        # It may have to be started first, which loads a model.
        self._filmer = VideoGeneratorClient(
            handles.filmer, node="video generator", timeout_s=settings.request_timeout_s
        )
        self._speech = SpeechGeneratorClient(
            handles.speech, node="speech generator", timeout_s=timeout_s
        )
        self._moderator = ModeratorClient(handles.moderator, node="moderator", timeout_s=timeout_s)
        self._generators = {
            name: GeneratorClient(handle, node="generator", timeout_s=settings.request_timeout_s)
            for name, handle in handles.generators.items()
        }

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[IngressPorts]:
        settings = self._settings
        limits = media_limits(settings)
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_database(settings.postgres_dsn))
            objects = await stack.enter_async_context(object_store(settings))
            streams = await stack.enter_async_context(
                await RedisStreams.connect(settings.redis_url)
            )
            redis = connect(settings.redis_url)
            stack.push_async_callback(redis.aclose)
            index = await stack.enter_async_context(ChromaVectorIndex(settings.chroma_url))
            sanitizer = await stack.enter_async_context(SandboxedSanitizer(limits))
            pages = await stack.enter_async_context(PageReader())
            fetcher = await stack.enter_async_context(LateFetcher(max_bytes=limits.max_bytes))
            identity = await asyncio.to_thread(_identity, settings)
            provenance = await stack.enter_async_context(
                C2paProvenance(identity, tells_recipe=settings.provenance_recipe)
            )
            accounts = PostgresAccounts(
                database, passwords=Argon2Passwords(), secrets=RandomSecrets()
            )
            assets = PostgresAssets(database)
            responses = PostgresResponses(database)
            conversations = PostgresConversations(database)
            perceiver = Perceiver(
                images=self._images,
                sounds=self._sounds,
                videos=self._videos,
                documents=self._documents,
                cache=StoredPerceptionCache(redis, objects),
                index=index,
                revisions={
                    MediaKind.IMAGE: self._models.choose("image_encoder", None).revision,
                    MediaKind.AUDIO: self._models.choose("audio_encoder", None).revision,
                    MediaKind.VIDEO: watching_revision(
                        self._models.choose("image_encoder", None).revision,
                        self._models.choose("audio_encoder", None).revision,
                    ),
                    MediaKind.DOCUMENT: reading_revision(
                        self._models.choose("image_encoder", None).revision,
                        self._models.choose("text_encoder", None).revision,
                    ),
                },
            )
            me = this_process("ingress")
            peers = Peers(streams.notices, me)
            desk = AdmissionDesk(_bounds(settings), my_id=me.process_id, alive=peers.alive)
            peers.report(desk.load)
            peers.on_hung(end_silent_peer)
            calls = await stack.enter_async_context(DirectCalls(peers.alive).opened())
            credentials = Credentials(accounts, streams.notices)
            peers.on_revoked(credentials.forget)
            intake = MediaIntake(
                sanitizer=sanitizer,
                fetcher=fetcher,
                objects=objects,
                assets=assets,
                limits=limits,
                signer=provenance,
            )
            policy = ContentPolicy(
                moderator=self._moderator,
                text_rules=settings.moderation_text,
                picture_rules=settings.moderation_pictures,
                covers_responses=settings.moderation_responses,
            )
            tools = ServerTools(
                [
                    Searching(self._text, perceiver, assets),
                    Speaking(self._speech, intake, self._models, policy),
                    Drawing(self._painter, intake, assets, self._models, policy),
                ]
            )
            run_ports = RunPorts(
                responses=responses,
                conversations=conversations,
                assets=assets,
                journal=streams.journal,
                notices=streams.notices,
                perceiving=perceiver,
                towers={
                    MediaKind.IMAGE: self._images,
                    MediaKind.AUDIO: self._sounds,
                    MediaKind.VIDEO: self._videos,
                },
                generators={
                    name: calls.generator(name, by_serve)
                    for name, by_serve in self._generators.items()
                },
                models={model.name: model for model in self._models.models},
                admission=desk,
                tools=tools,
            )
            supervisor = RunSupervisor(run_ports, peers, timeout_s=settings.request_timeout_s)
            await stack.enter_async_context(peers.met())
            runs = await stack.enter_async_context(supervisor.running())
            kinds: dict[str, JobKind] = {
                VIDEO: VideoJobs(
                    generator=self._filmer,
                    intake=intake,
                    assets=assets,
                    objects=objects,
                    policy=policy,
                ),
                TRANSCRIPTION: TranscriptionJobs(perceiving=perceiver, assets=assets),
                PERCEPTION: PerceptionJobs(perceiving=perceiver, assets=assets),
            }
            jobs = await stack.enter_async_context(
                JobSupervisor(PostgresJobs(database), kinds, peers).running()
            )
            yield IngressPorts(
                accounts=accounts,
                admission=desk,
                credentials=credentials,
                assets=assets,
                conversations=conversations,
                responses=responses,
                objects=objects,
                rate_limits=LeasedRateLimits(RedisRateLimits(redis)),
                intake=intake,
                pages=pages,
                provenance=provenance,
                moderation=policy,
                runs=runs,
                jobs=jobs,
                perceiving=perceiver,
                text_encoder=self._text,
                speech=self._speech,
                transcriber=self._sounds,
                voice_detector=SileroVoiceDetector(partial(_voice_model, settings, self._models)),
                realtime=RedisRealtimeSessions(redis),
                painter=self._painter,
                graph=GraphPing(
                    {
                        TEXT_ENCODER: self._text.ping,
                        IMAGE_ENCODER: self._images.ping,
                        AUDIO_ENCODER: self._sounds.ping,
                        IMAGE_GENERATOR: self._painter.ping,
                        SPEECH_GENERATOR: self._speech.ping,
                        DOCUMENT_ENCODER: self._documents.ping,
                        VIDEO_ENCODER: self._videos.ping,
                        MODERATOR: self._moderator.ping,
                        **{
                            f"{GENERATOR} {name}": client.ping
                            for name, client in self._generators.items()
                        },
                        "postgres": database.ping,
                        "redis": streams.journal.ping,
                        "chroma": index.ping,
                        "objects": objects.ping,
                    }
                ),
                idempotency_keys=PostgresIdempotencyKeys(database),
                models=self._models,
                limits=self._limits,
            )


def _identity(settings: Settings) -> SigningIdentity:
    files = settings.provenance_key, settings.provenance_certificates
    make_elsewhere(*files)
    return signing_identity(*files)


def _voice_model(settings: Settings, models: ServedModels) -> Path:
    """What hears whether somebody speaks lies beside the audio encoder's other models."""
    # Only who talks live needs it, and it imports much.
    from deployments.loading import model_dir
    from serve.registry.catalog import catalog
    from serve.registry.specs import Role

    name = models.choose("audio_encoder", None).name
    spec = catalog(settings.profile).get(name, Role.AUDIO_ENCODER)
    return model_dir(spec, settings.models_dir) / "hearing" / "silero_vad.onnx"


def _bounds(settings: Settings) -> QueueBounds:
    return QueueBounds(
        waiting=settings.max_waiting,
        waiting_per_owner=settings.max_waiting_per_user,
        running_per_owner=settings.max_running_per_user,
        wait_s=settings.max_wait_s,
    )


def ingress_limits(settings: Settings, metrics_dir: Path) -> IngressLimits:
    """What the settings say about clients."""
    return IngressLimits(
        requests_per_minute=settings.rate_limit_per_minute,
        sign_ins_per_minute=settings.sign_in_limit_per_minute,
        max_body_bytes=settings.max_upload_bytes * 4 // 3 * _INLINE_MEDIA_PER_REQUEST,
        session_ttl_s=settings.session_ttl_s,
        cookie_secure=settings.cookie_secure,
        cors_origins=settings.cors_origins,
        webclient_dir=settings.webclient_dir,
        metrics_dir=metrics_dir,
    )
