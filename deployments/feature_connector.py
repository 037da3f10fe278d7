"""vLLM reads a medium's features from our feature store instead of computing them.

vLLM loads the class by module path, in the scheduler and in every worker. The cache identifier
of a medium is our own feature key, so what a client sends never names a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vllm.distributed.ec_transfer.ec_connector.base import (
    ECConnectorBase,
    ECConnectorMetadata,
    ECConnectorRole,
)

from deployments.feature_store import FeatureFolder

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

FOLDER_KEY: Final = "feature_dir"


@dataclass(frozen=True, slots=True)
class FeatureLoads(ECConnectorMetadata):  # type: ignore[misc]  # vLLM is untyped here
    """Keys that the workers must load before the coming step."""

    keys: tuple[str, ...]


class FeatureStoreConnector(ECConnectorBase):  # type: ignore[misc]  # vLLM is untyped here
    """A consumer only: the features were written by the encoder deployment."""

    def __init__(self, vllm_config: VllmConfig, role: ECConnectorRole) -> None:
        super().__init__(vllm_config=vllm_config, role=role)
        config = vllm_config.ec_transfer_config
        self._store = FeatureFolder(config.ec_connector_extra_config[FOLDER_KEY])
        self._dtype: torch.dtype = vllm_config.model_config.dtype
        self._device: str = vllm_config.device_config.device_type
        self._to_load: dict[str, None] = {}
        self._unavailable: set[str] = set()

    # --- in the scheduler -------------------------------------------------------------------

    def has_cache_item(self, identifier: str) -> bool:
        """Whether the store has the features of that key."""
        return self._store.has(identifier)

    def ensure_cache_available(self, request: Request, num_computed_tokens: int) -> bool:
        """Hold back, and soon fail, a request whose features are gone.

        The engine has no tower to compute them with: letting it run would kill the engine.
        """
        for feature in request.mm_features:
            position = feature.mm_position
            needed = num_computed_tokens < position.offset + position.length
            if needed and not self._store.has(feature.identifier):
                self._unavailable.add(request.request_id)
                return False
        return True

    def take_unavailable_requests(self) -> set[str]:
        """Requests the scheduler must fail now."""
        taken, self._unavailable = self._unavailable, set()
        return taken

    def update_state_after_alloc(self, request: Request, index: int) -> None:
        """Space in the encoder cache is reserved: load into it before the next step."""
        self._to_load[request.mm_features[index].identifier] = None

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> FeatureLoads:
        """What to load in the step that was just scheduled."""
        loads = FeatureLoads(tuple(self._to_load))
        self._to_load.clear()
        return loads

    # --- in the worker ----------------------------------------------------------------------

    def start_load_caches(self, encoder_cache: dict[str, torch.Tensor], **kwargs: Any) -> None:
        """Put the features into vLLM's encoder cache, before the step needs them."""
        loads = self._get_connector_metadata()
        for key in loads.keys:
            if key not in encoder_cache:
                features = self._store.load(key).features
                encoder_cache[key] = features.to(device=self._device, dtype=self._dtype)

    def save_caches(
        self, encoder_cache: dict[str, torch.Tensor], mm_hash: str, **kwargs: Any
    ) -> None:
        """Nothing: this engine never computes features."""
