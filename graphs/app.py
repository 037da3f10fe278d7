"""The application: ``build(args)`` wires the graph, top to bottom in the order data flows."""

# No ``from __future__ import annotations`` here: Serve validates ``args`` only if the annotation
# of ``build``'s parameter is a class, not a string (docs/adr/0002).

from dataclasses import replace
from functools import partial
from typing import Any

from ray import serve as ray_serve
from ray.serve import Application, Deployment
from ray.util import get_node_ip_address

from deployments.audio_encoder import AudioEncoderReplica
from deployments.audio_tower import load_audio_tower
from deployments.document_encoder import DocumentEncoderReplica
from deployments.echo_generator import EchoGenerator
from deployments.filming.loading import load_film_model
from deployments.generation.engine import engine_environment
from deployments.generator import GeneratorReplica
from deployments.image_encoder import ImageEncoderReplica
from deployments.image_generator import ImageGeneratorReplica
from deployments.moderator import ModeratorReplica
from deployments.painting.loading import load_painter
from deployments.speech_generator import SpeechGeneratorReplica
from deployments.text_encoder import TextEncoderReplica
from deployments.video_encoder import VideoEncoderReplica
from deployments.video_generator import VideoGeneratorReplica
from deployments.vision_tower import load_tower
from deployments.watching.decoding import VideoDecoder
from graphs.nodes import (
    AUDIO_ENCODER,
    DOCUMENT_ENCODER,
    GENERATOR,
    IMAGE_ENCODER,
    IMAGE_GENERATOR,
    INGRESS,
    MODERATOR,
    NODES,
    SPEECH_GENERATOR,
    TEXT_ENCODER,
    VIDEO_ENCODER,
    VIDEO_GENERATOR,
    generator_name,
)
from graphs.online.ingress_node import IngressNode, metrics_folder
from graphs.stores import ReplicaJournal, ReplicaNotices, ReplicaObjects, media_limits
from serve.config.app_args import AppArgs
from serve.config.settings import Settings, settings_from_environment
from serve.domain.catalogue import ServedModel, ServedModels
from serve.domain.media import MediaKind
from serve.domain.perception import reading_revision, watching_revision
from serve.handles import AudioEncoderClient, ImageEncoderClient
from serve.registry.catalog import catalog
from serve.registry.specs import ModelSpec, Registry, Role

# Who computes what the first generator that takes such media makes of them.
_TOWERS = {
    MediaKind.IMAGE: load_tower,
    MediaKind.VIDEO: load_tower,
    MediaKind.AUDIO: load_audio_tower,
}


def build(args: AppArgs) -> Application:
    """Compose Ingress, the encoders and the generators.

    Raises ``UnknownModel`` and ``BadSetting`` before anything starts.
    """
    settings = settings_from_environment()
    models_of = catalog(settings.profile)
    text_spec = _chosen(models_of, args.text_encoder, Role.TEXT_ENCODER)
    image_spec = _chosen(models_of, args.image_encoder, Role.IMAGE_ENCODER)
    audio_spec = _chosen(models_of, args.audio_encoder, Role.AUDIO_ENCODER)
    painter_spec = _chosen(models_of, args.image_generator, Role.IMAGE_GENERATOR)
    generator_specs = models_of.chosen(Role.GENERATOR, args.generators or settings.generators)
    speech_specs = models_of.chosen_or_all(
        Role.SPEECH_GENERATOR, args.speech_generators or settings.speech_generators
    )
    models_dir = settings.models_dir
    feature_dir = str(settings.feature_dir)
    towers = {
        kind: partial(load, spec, models_dir, feature_dir)
        for kind, load in _TOWERS.items()
        for spec in reversed(generator_specs)
        if spec.takes(kind)
    }
    open_store = partial(ReplicaObjects, settings)
    open_journal = partial(ReplicaJournal, settings.redis_url)
    open_notices = partial(ReplicaNotices, settings.redis_url)

    text = _deployment(TEXT_ENCODER, TextEncoderReplica).bind(text_spec, models_dir)
    image = _deployment(IMAGE_ENCODER, ImageEncoderReplica).bind(
        image_spec, text_spec, models_dir, open_store, towers.get(MediaKind.IMAGE)
    )
    audio = _deployment(AUDIO_ENCODER, AudioEncoderReplica).bind(
        audio_spec, text_spec, models_dir, open_store, towers.get(MediaKind.AUDIO)
    )
    seeing = partial(ImageEncoderClient, node="image encoder", timeout_s=settings.node_timeout_s)
    document = _deployment(DOCUMENT_ENCODER, DocumentEncoderReplica).bind(
        reading_revision(image_spec.revision, text_spec.revision),
        text_spec,
        models_dir,
        open_store,
        image,
        seeing,
    )
    video = _deployment(VIDEO_ENCODER, VideoEncoderReplica).bind(
        watching_revision(image_spec.revision, audio_spec.revision),
        open_store,
        partial(VideoDecoder, media_limits(settings)),
        image,
        seeing,
        audio,
        partial(AudioEncoderClient, node="audio encoder", timeout_s=settings.node_timeout_s),
        towers.get(MediaKind.VIDEO),
    )
    speech = _deployment(SPEECH_GENERATOR, SpeechGeneratorReplica).bind(speech_specs, models_dir)
    moderator_spec = _chosen(models_of, args.moderator, Role.MODERATOR)
    moderator = _deployment(MODERATOR, ModeratorReplica).bind(moderator_spec, models_dir)
    painter = _deployment(IMAGE_GENERATOR, ImageGeneratorReplica).bind(
        painter_spec, partial(load_painter, painter_spec, text_spec, models_dir), open_store
    )
    film_spec = _chosen(models_of, args.video_generator, Role.VIDEO_GENERATOR)
    filmer = _deployment(VIDEO_GENERATOR, VideoGeneratorReplica).bind(
        film_spec, partial(load_film_model, film_spec, text_spec, models_dir), open_store
    )
    generators = {
        spec.name: _generator(index, spec, settings).bind(
            spec,
            open_journal,
            open_notices,
            *(() if spec.traits.is_echo else (str(models_dir), feature_dir)),
            find_host=get_node_ip_address,
        )
        for index, spec in enumerate(generator_specs)
    }
    models = ServedModels(
        tuple(
            _served(spec)
            for spec in (
                *generator_specs,
                text_spec,
                image_spec,
                audio_spec,
                painter_spec,
                film_spec,
                *speech_specs,
                moderator_spec,
            )
        )
    )
    return _ingress(settings).bind(
        text=text,
        image=image,
        audio=audio,
        speech=speech,
        painter=painter,
        filmer=filmer,
        document=document,
        video=video,
        moderator=moderator,
        generators=generators,
        settings=settings,
        models=models,
    )


def _chosen(models: Registry, name: str | None, role: Role) -> ModelSpec:
    return models.get(name, role) if name else models.default(role)


def _deployment(name: str, replica: type[Any]) -> Deployment:
    return ray_serve.deployment(name=name, **NODES[name].deployment_options())(replica)


def _ingress(settings: Settings) -> Deployment:
    node = NODES[INGRESS]
    metrics = {"PROMETHEUS_MULTIPROC_DIR": str(metrics_folder(settings))}
    options = replace(
        node,
        min_replicas=settings.ingress_replicas,
        max_replicas=settings.ingress_replicas,
        environment={**node.environment, **metrics},
    )
    return ray_serve.deployment(name=INGRESS, **options.deployment_options())(IngressNode)


def _generator(index: int, spec: ModelSpec, settings: Settings) -> Deployment:
    node, replicas = NODES[GENERATOR], settings.generator_replicas
    has_gpu = settings.profile == "gpu" and not spec.traits.is_echo
    n_sequences = spec.traits.max_num_seqs
    options = replace(
        node,
        min_replicas=replicas.minimum,
        max_replicas=replicas.maximum,
        # Its engine's queue must not run dry while work waits here, and after a death the others
        # take over what it had.
        max_ongoing=2 * n_sequences,
        max_queued=4 * n_sequences,
        gpus=settings.generator_gpus if has_gpu else 0.0,
        environment={**node.environment, **engine_environment()},
    )
    return ray_serve.deployment(
        name=generator_name(index, spec.name), **options.deployment_options()
    )(EchoGenerator if spec.traits.is_echo else GeneratorReplica)


def _served(spec: ModelSpec) -> ServedModel:
    return ServedModel(
        name=spec.name,
        role=spec.role.value,
        revision=spec.revision,
        aliases=spec.aliases,
        modalities=spec.traits.modalities if spec.generator else (),
        voices=spec.voices,
    )
