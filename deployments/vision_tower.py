"""The vision tower of a natively multimodal generator, alone, away from its engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments.feature_store import FeatureFolder, MediaFeatures
from deployments.loading import model_dir
from deployments.tower_weights import tower_dtype, weights_under
from serve.domain.errors import BrokenMedia
from serve.domain.perception import feature_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from serve.domain.media import MediaRef
    from serve.domain.messages import FeatureRef
    from serve.registry.specs import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSampling:
    """Which frames of a video a generator sees: evenly spaced, the first one first.

    Every ``every_s``, but of a long video no more than ``max_frames``. All together become at
    most about ``max_tokens``: the more frames, the smaller each one.
    """

    every_s: float = 0.5
    max_frames: int = 32
    max_tokens: int = 4096

    def interval_s(self, duration_s: float) -> float:
        """Between two frames."""
        return max(self.every_s, duration_s / self.max_frames)


class VisionTower:
    """Loads only ``visual.*`` of a Qwen2.5-VL-shaped checkpoint. Not thread-safe.

    ``dtype`` must be what the generator computes in, or its tokens may differ from those it would
    choose with its own tower; "auto" is the checkpoint's.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        revision: str,
        feature_dir: str,
        dtype: str = "auto",
        sampling: FrameSampling | None = None,
    ) -> None:
        from transformers import AutoConfig
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        config = AutoConfig.from_pretrained(checkpoint)
        self._dtype = tower_dtype(config, dtype)
        self._revision = revision
        self._sampling = sampling or FrameSampling()
        # Pillow, since the other backend needs torchvision; the generator prepares alike.
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
        self._processor_args = json.dumps(self._processor.to_dict(), sort_keys=True, default=str)
        self._tower = _load_tower(checkpoint, config.vision_config, self._dtype)
        self._store = FeatureFolder(feature_dir)

    @property
    def sampling(self) -> FrameSampling:
        """Which frames ``video_features`` must be given."""
        return self._sampling

    def features(self, image: Image, media: MediaRef) -> FeatureRef:
        """Compute and store, or find, what the generator needs to see ``image``.

        Raises:
            BrokenMedia: The picture is too long and thin to be prepared.
        """
        key = self._key(media)
        return self._store.find(key) or self._store.save(key, self._picture(image))

    def find_video(self, media: MediaRef) -> FeatureRef | None:
        """The features of a video whose frames were seen before."""
        return self._store.find(self._key(media, self._sampling))

    def video_features(self, frames: Sequence[Image], media: MediaRef) -> FeatureRef:
        """Compute and store what the generator needs to see a video.

        ``frames`` are taken as ``sampling`` says, and brought to the size of the first one.

        Raises:
            BrokenMedia: They are too long and thin to be prepared.
        """
        made = self._video(frames, self._sampling.interval_s(media.duration_s or 0.0))
        return self._store.save(self._key(media, self._sampling), made)

    def _key(self, media: MediaRef, sampling: FrameSampling | None = None) -> str:
        arguments = (
            self._processor_args if sampling is None else f"{self._processor_args}{sampling}"
        )
        dtype = str(self._dtype).removeprefix("torch.")
        return feature_key(media.owner_id, media.content_hash, self._revision, arguments, dtype)

    def _picture(self, image: Image) -> MediaFeatures:
        prepared = self._prepared([image], self._processor.size["longest_edge"])
        grid = prepared["image_grid_thw"]
        return MediaFeatures(
            self._seen(prepared["pixel_values"], grid), {"image_grid_thw": grid[0].contiguous()}
        )

    def _video(self, frames: Sequence[Image], interval_s: float) -> MediaFeatures:
        """Two frames make one patch in time; the last one is seen twice when it stands alone."""
        import torch

        processor = self._processor
        per_patch = processor.temporal_patch_size
        size_px = frames[0].size
        shown = [each if each.size == size_px else each.resize(size_px) for each in frames]
        shown += shown[-1:] * (-len(shown) % per_patch)
        n_times = len(shown) // per_patch
        prepared = self._prepared(shown, self._max_pixels(n_times))
        _, height, width = prepared["image_grid_thw"][0].tolist()
        # A lone picture's patch holds it once for each moment: each frame gives its own moment.
        of_frames = prepared["pixel_values"].view(
            n_times, per_patch, height * width, 3, per_patch, processor.patch_size**2
        )
        moments = [of_frames[:, moment, :, :, moment] for moment in range(per_patch)]
        pixels = torch.stack(moments, dim=3).flatten(2).flatten(0, 1)
        grid = torch.tensor([[n_times, height, width]])
        return MediaFeatures(
            self._seen(pixels, grid),
            {
                "video_grid_thw": grid[0].contiguous(),
                "second_per_grid_ts": torch.tensor(per_patch * interval_s),
            },
        )

    def _max_pixels(self, n_times: int) -> int:
        """Of each frame. Source: ``cap_pixels_per_frame`` of transformers' Qwen2-VL processor."""
        size = self._processor.size
        token_px = (self._processor.patch_size * self._processor.merge_size) ** 2
        share = self._sampling.max_tokens * token_px // n_times
        most: int = min(size["longest_edge"], share)
        return max(most, int(size["shortest_edge"] * 1.05))

    def _prepared(self, images: Sequence[Image], max_pixels: int) -> Any:
        size = {"shortest_edge": self._processor.size["shortest_edge"], "longest_edge": max_pixels}
        pictures = [image.convert("RGB") for image in images]
        try:
            return self._processor(images=pictures, size=size, return_tensors="pt")
        except ValueError as error:
            raise BrokenMedia(f"it cannot be prepared for the model: {error}") from error

    def _seen(self, pixels: Any, grid: Any) -> Any:
        import torch

        with torch.inference_mode():
            features = self._tower(pixels.to(self._dtype), grid_thw=grid).pooler_output
        return features if torch.is_tensor(features) else torch.cat(list(features))


def load_tower(spec: ModelSpec, models_dir: Path, feature_dir: str) -> VisionTower:
    """The tower of a catalog generator."""
    return VisionTower(
        model_dir(spec, models_dir),
        revision=spec.revision,
        feature_dir=feature_dir,
        dtype=spec.dtype,
    )


def _load_tower(checkpoint: Path, config: Any, dtype: Any) -> Any:
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VisionTransformerPretrainedModel,
    )

    tower = Qwen2_5_VisionTransformerPretrainedModel(config).to(dtype).eval()
    tower.load_state_dict(weights_under(checkpoint, "visual", dtype), strict=True)
    return tower
