"""The vision tower of a natively multimodal generator, alone, away from its engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deployments.feature_store import FeatureFolder, ImageFeatures
from deployments.loading import model_dir
from serve.domain.errors import BrokenMedia, InternalError
from serve.domain.messages import FeatureRef
from serve.domain.perception import feature_key

if TYPE_CHECKING:
    from PIL.Image import Image

    from serve.domain.media import MediaRef
    from serve.registry.specs import ModelSpec

_PREFIXES: Final = ("model.visual.", "visual.")


class VisionTower:
    """Loads only ``visual.*`` of a Qwen2.5-VL-shaped checkpoint. Not thread-safe.

    ``dtype`` must be what the generator computes in, or its tokens may differ from those it would
    choose with its own tower; "auto" is the checkpoint's.
    """

    def __init__(
        self, checkpoint: Path, *, revision: str, feature_dir: str, dtype: str = "auto"
    ) -> None:
        import torch
        from transformers import AutoConfig
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        config = AutoConfig.from_pretrained(checkpoint)
        self._torch_dtype = config.dtype if dtype == "auto" else getattr(torch, dtype)
        self._dtype = str(self._torch_dtype).removeprefix("torch.")
        self._revision = revision
        # Pillow, since the other backend needs torchvision; the generator prepares alike.
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
        self._processor_args = json.dumps(self._processor.to_dict(), sort_keys=True, default=str)
        self._tower = _load_tower(checkpoint, config.vision_config, self._torch_dtype)
        self._store = FeatureFolder(feature_dir)

    def features(self, image: Image, media: MediaRef) -> FeatureRef:
        """Compute and store, or find, what the generator needs to see ``image``.

        Raises:
            BrokenMedia: The picture is too long and thin to be prepared.
        """
        key = feature_key(
            media.owner_id, media.content_hash, self._revision, self._processor_args, self._dtype
        )
        if self._store.has(key):
            known = self._store.load(key)
        else:
            known = self._compute(image)
            self._store.save(key, known)
        n_tokens, dim = known.features.shape
        return FeatureRef(key=key, n_tokens=n_tokens, dim=dim)

    def _compute(self, image: Image) -> ImageFeatures:
        import torch

        try:
            prepared = self._processor(images=[image.convert("RGB")], return_tensors="pt")
        except ValueError as error:
            raise BrokenMedia(f"the picture cannot be prepared for the model: {error}") from error
        grid = prepared["image_grid_thw"]
        with torch.inference_mode():
            seen = self._tower(prepared["pixel_values"].to(self._torch_dtype), grid_thw=grid)
        features = seen.pooler_output
        if not torch.is_tensor(features):
            features = torch.cat(list(features))
        return ImageFeatures(features, grid[0].to(torch.int64))


def load_tower(spec: ModelSpec, models_dir: Path, feature_dir: str) -> VisionTower:
    """The tower of a catalog generator."""
    return VisionTower(model_dir(spec, models_dir), revision=spec.revision, feature_dir=feature_dir)


def _load_tower(checkpoint: Path, config: Any, dtype: Any) -> Any:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VisionTransformerPretrainedModel,
    )

    tower = Qwen2_5_VisionTransformerPretrainedModel(config).to(dtype).eval()
    tower.load_state_dict(_tower_weights(checkpoint, dtype), strict=True)
    return tower


def _tower_weights(checkpoint: Path, dtype: Any) -> dict[str, Any]:
    from safetensors import safe_open

    weights: dict[str, Any] = {}
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                for prefix in _PREFIXES:
                    if name.startswith(prefix):
                        weights[name.removeprefix(prefix)] = file.get_tensor(name).to(dtype)
    if not weights:
        raise InternalError("the checkpoint holds no vision tower")
    return weights
