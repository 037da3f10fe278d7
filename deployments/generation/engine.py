"""Starts vLLM's engine for a model of the catalog."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deployments.generation.worker_extension import WORKER_EXTENSION, WorkerExtension
from deployments.loading import model_dir
from serve.domain.media import MediaKind
from serve.registry.specs import ModelSpec

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

    from deployments.generation.engine_stats import EngineStats

_CPU_WORKER: Final = "deployments.generation.cpu_worker.SeedKeepingWorker"
_PICTURE_WORKER: Final = "deployments.generation.picture_worker.PictureWorker"

# What an engine takes of a GPU besides weights and cache: CUDA's own, activations, graphs.
_GPU_HEADROOM_BYTES: Final = 6 << 30


def engine_environment() -> dict[str, str]:
    """Variables that must be set before vLLM is imported; for the replica's ``runtime_env``."""
    return {
        # Without it vLLM moves the worker into a third process: more memory, a slower start.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Two spinning OpenMP threads collapse under contention: 19 tokens/s against 153.
        "OMP_NUM_THREADS": "1",
        # "auto" pins every replica to core 0.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # A Ray worker has threads already, which a forked engine would not survive.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # The other runner, the default on a GPU, takes no logits processors of this kind.
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


@dataclass(frozen=True, slots=True)
class StartedEngine:
    """vLLM's front end, the process its engine runs in, and what that says after each step."""

    llm: AsyncLLM
    pid: int
    stats: EngineStats

    async def tie(self) -> None:
        """From now on the engine does not outlive this process."""
        await self.llm.collective_rpc(WorkerExtension.die_with.__name__, args=(os.getpid(),))


def start_engine(spec: ModelSpec, models_dir: str, feature_dir: str | None) -> StartedEngine:
    """Load the model and begin to serve. Blocks for seconds to minutes.

    Raises:
        ModelNotPrepared: The weights are not there.
    """
    os.environ.update(engine_environment())  # noqa: TID251 - vLLM reads it when imported
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    from deployments.generation.engine_stats import EngineStats
    from deployments.generation.replay import REPLAY_PROCESSOR

    folder = model_dir(spec, Path(models_dir))
    options: dict[str, Any] = {
        "model": str(folder),
        "served_model_name": spec.name,
        "dtype": spec.dtype,
        "max_num_seqs": spec.traits.max_num_seqs,
        "kv_cache_memory_bytes": spec.traits.kv_cache_bytes or None,
        "max_model_len": spec.max_input_tokens or None,
        # Compact JSON: a small model that may write space writes nothing else.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "logits_processors": [REPLAY_PROCESSOR],
        "worker_extension_cls": WORKER_EXTENSION,
        "enable_log_requests": False,
        # vLLM's own loggers cost time in each step, and nobody reads them; ours is given below.
        "disable_log_stats": True,
        # One device per replica: the worker lives in the engine's process, not in a third one.
        "distributed_executor_backend": "uni",
    }
    if current_platform.is_cpu():
        # Inductor with bfloat16 gave wrong text and a 90 s start.
        options["enforce_eager"] = True
        options["worker_cls"] = _CPU_WORKER
    elif spec.traits.kv_cache_bytes:
        options["gpu_memory_utilization"] = gpu_share(spec, folder)
    if spec.traits.modalities:
        options |= _media_options(feature_dir)
        sees = spec.takes(MediaKind.IMAGE) or spec.takes(MediaKind.VIDEO)
        if sees and current_platform.is_cpu() and importlib.util.find_spec("torchvision") is None:
            _teach_pictures()
            options["worker_cls"] = _PICTURE_WORKER
    before = {process.pid for process in multiprocessing.active_children()}
    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**options), stat_loggers=[EngineStats])
    (engine,) = (each for each in multiprocessing.active_children() if each.pid not in before)
    (stats,) = (each for each in llm.logger_manager.stat_loggers if isinstance(each, EngineStats))
    return StartedEngine(llm, int(engine.pid or 0), stats)


def gpu_share(spec: ModelSpec, folder: Path) -> float:
    """How much of a GPU an engine of this model needs, 0 to 1, its cache being of a fixed size.

    vLLM refuses to start unless so much is free; its own 0.92 would leave room for nobody else.
    """
    from vllm.platforms import current_platform

    n_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    needed = n_bytes + spec.traits.kv_cache_bytes + _GPU_HEADROOM_BYTES
    share: float = needed / current_platform.get_device_total_memory()
    return min(0.92, share)


def _media_options(feature_dir: str | None) -> dict[str, Any]:
    """Features come through our connector; the tower's weights are not even loaded."""
    if feature_dir is None:
        raise ValueError("a model that takes media needs the folder with their features")
    from vllm.config import ECTransferConfig

    return {
        "limit_mm_per_prompt": {"image": 0, "video": 0, "audio": 0},
        "mm_processor_cache_gb": 0,
        "ec_transfer_config": ECTransferConfig(
            ec_connector="FeatureStoreConnector",
            ec_connector_module_path="deployments.feature_connector",
            ec_role="ec_consumer",
            ec_connector_extra_config={"feature_dir": feature_dir},
        ),
    }


def _teach_pictures() -> None:
    from deployments.generation.pillow_only import offer_pillow_processing

    offer_pillow_processing()
    from deployments.generation.vision_language import register

    register()
