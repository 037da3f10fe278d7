"""Which processes exist: names, resources, queues and autoscaling, one row per node.

``serve_config.yaml`` overrides any of it per cluster. Logical CPUs are shares, not cores: two
carry the whole graph with one generator and two ingresses, and the engines' own thread limits keep
it fair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from graphs.routing import CacheAffinityRouter
from graphs.scaling import generator_policy

TEXT_ENCODER = "TextEncoder"
IMAGE_ENCODER = "ImageEncoder"
AUDIO_ENCODER = "AudioEncoder"
DOCUMENT_ENCODER = "DocumentEncoder"
VIDEO_ENCODER = "VideoEncoder"
SPEECH_GENERATOR = "SpeechGenerator"
MODERATOR = "Moderator"
IMAGE_GENERATOR = "ImageGenerator"
VIDEO_GENERATOR = "VideoGenerator"
GENERATOR = "Generator"
INGRESS = "Ingress"


def generator_name(index: int, model: str) -> str:
    """Deployment of the generator at ``index``; the default one has the plain name."""
    return GENERATOR if index == 0 else f"{GENERATOR}:{model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """How one node runs. ``environment`` reaches its replica processes before any import.

    ``has_cache``: equal work goes to equal replicas. ``scales_by_figures``: on what its replicas
    say of themselves, instead of on how many calls are in work.
    """

    cpu_share: float
    max_ongoing: int
    max_queued: int
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing: float = 2.0
    # A dead replica is replaced at its next check; a silent one after three times the timeout.
    health_check_period_s: float = 1.0
    health_check_timeout_s: float = 5.0
    has_cache: bool = False
    scales_by_figures: bool = False
    gpus: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)

    def deployment_options(self) -> dict[str, Any]:
        """As Serve's ``deployment`` decorator takes them."""
        router = {"request_router_class": CacheAffinityRouter} if self.has_cache else {}
        return {
            "ray_actor_options": {
                "num_cpus": self.cpu_share,
                "num_gpus": self.gpus,
                "runtime_env": {"env_vars": {**_EXECUTES_ONLY, **self.environment}},
            },
            "max_ongoing_requests": self.max_ongoing,
            "max_queued_requests": self.max_queued,
            "health_check_period_s": self.health_check_period_s,
            "health_check_timeout_s": self.health_check_timeout_s,
            "request_router_config": RequestRouterConfig(**router),
            "autoscaling_config": self._autoscaling(),
        }

    def _autoscaling(self) -> AutoscalingConfig:
        if not self.scales_by_figures:
            return AutoscalingConfig(
                min_replicas=self.min_replicas,
                max_replicas=self.max_replicas,
                target_ongoing_requests=self.target_ongoing,
            )
        return AutoscalingConfig(
            min_replicas=self.min_replicas,
            max_replicas=self.max_replicas,
            # Loading a model costs more than keeping one for some minutes.
            look_back_period_s=12.0,
            upscale_delay_s=2.0,
            downscale_delay_s=180.0,
            policy=AutoscalingPolicy(policy_function=generator_policy),
        )


# One OpenMP thread: spinning teams of several replicas collapse under contention. One of OpenCV's:
# a picture is too small to share.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

# 2 MB less in each process: few of its many threads ever allocate at the same time, and tracebacks
# do without the columns of what they point at.
_LEAN = {"MALLOC_ARENA_MAX": "2", "PYTHONNODEBUGRANGES": "1"}

# What a replica forks becomes another program at once. gRPC would halt its threads around that, for
# children that go on with its connections, and is known to hang of it (grpc/grpc#37710).
_EXECUTES_ONLY = {"GRPC_ENABLE_FORK_SUPPORT": "0"}

# A replica reports its figures this often. Serve's own 10 s would be most of the look-back time.
_REPORTING = {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1"}

NODES = {
    TEXT_ENCODER: NodeOptions(
        cpu_share=0.1, max_ongoing=64, max_queued=512, target_ongoing=32, environment=_ONE_THREAD
    ),
    IMAGE_ENCODER: NodeOptions(
        cpu_share=0.2,
        max_ongoing=8,
        max_queued=64,
        target_ongoing=4,
        has_cache=True,
        environment=_ONE_THREAD,
    ),
    AUDIO_ENCODER: NodeOptions(
        cpu_share=0.2,
        max_ongoing=4,
        max_queued=64,
        target_ongoing=2,
        has_cache=True,
        environment=_ONE_THREAD,
    ),
    # It waits for the image encoder most of the time.
    DOCUMENT_ENCODER: NodeOptions(
        cpu_share=0.1, max_ongoing=4, max_queued=64, target_ongoing=2, environment=_ONE_THREAD
    ),
    # It waits for the other encoders most of the time; what decodes are processes of its own.
    VIDEO_ENCODER: NodeOptions(
        cpu_share=0.1, max_ongoing=4, max_queued=64, target_ongoing=2, environment=_ONE_THREAD
    ),
    SPEECH_GENERATOR: NodeOptions(
        cpu_share=0.1, max_ongoing=8, max_queued=64, target_ongoing=4, environment=_ONE_THREAD
    ),
    MODERATOR: NodeOptions(
        cpu_share=0.1, max_ongoing=16, max_queued=256, target_ongoing=8, environment=_ONE_THREAD
    ),
    # Pictures share its steps, so many are welcome at once.
    IMAGE_GENERATOR: NodeOptions(
        cpu_share=0.2, max_ongoing=32, max_queued=128, target_ongoing=16, environment=_ONE_THREAD
    ),
    # One clip takes all it has. Jobs wait for it, so it exists only while there are some.
    VIDEO_GENERATOR: NodeOptions(
        cpu_share=0.1,
        max_ongoing=1,
        max_queued=64,
        min_replicas=0,
        target_ongoing=1,
        environment=_ONE_THREAD,
    ),
    GENERATOR: NodeOptions(
        cpu_share=0.4,
        max_ongoing=64,
        max_queued=256,
        # Its front end may be busy with prompts; whether its engine lives, it watches itself.
        health_check_timeout_s=10.0,
        has_cache=True,
        scales_by_figures=True,
        environment=_REPORTING,
    ),
    INGRESS: NodeOptions(
        cpu_share=0.1,
        max_ongoing=1000,
        max_queued=-1,
        target_ongoing=500,
        environment={**_ONE_THREAD, **_LEAN},
    ),
}
