"""The audio tower of a generator that hears for itself, alone, away from its engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deployments.feature_store import FeatureFolder, MediaFeatures
from deployments.loading import model_dir
from deployments.tower_weights import tower_dtype, weights_under
from serve.domain.errors import BrokenMedia
from serve.domain.perception import feature_key

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.hearing.recording import Samples
    from serve.domain.media import MediaRef
    from serve.domain.messages import FeatureRef
    from serve.registry.specs import ModelSpec


class AudioTower:
    """Loads only tower and projector of a Qwen2-Audio-shaped checkpoint. Not thread-safe.

    For ``dtype`` see ``VisionTower``.
    """

    def __init__(
        self, checkpoint: Path, *, revision: str, feature_dir: str, dtype: str = "auto"
    ) -> None:
        from transformers import AutoConfig, WhisperFeatureExtractor

        config = AutoConfig.from_pretrained(checkpoint)
        self._dtype = tower_dtype(config, dtype)
        self._revision = revision
        self._extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
        self._extractor_args = json.dumps(self._extractor.to_dict(), sort_keys=True, default=str)
        self._tower, self._projector = _load_tower(checkpoint, config, self._dtype)
        self._store = FeatureFolder(feature_dir)

    def find(self, media: MediaRef) -> FeatureRef | None:
        """The features of a recording that was heard before."""
        return self._store.find(self._key(media))

    def features(self, samples: Samples, media: MediaRef) -> FeatureRef:
        """Compute and store what the generator needs to hear a recording: its first 30 seconds.

        Raises:
            BrokenMedia: It is too short to be heard.
        """
        return self._store.save(self._key(media), self._heard(samples))

    def _key(self, media: MediaRef) -> str:
        dtype = str(self._dtype).removeprefix("torch.")
        return feature_key(
            media.owner_id, media.content_hash, self._revision, self._extractor_args, dtype
        )

    def _heard(self, samples: Samples) -> MediaFeatures:
        import torch

        prepared = self._extractor(
            samples,
            sampling_rate=self._extractor.sampling_rate,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        # Both convolutions of the tower halve; the mask keeps the padding from being attended to.
        n_frames = (prepared["attention_mask"].sum(-1) - 1) // 2 + 1
        n_tokens = int((n_frames - 2) // 2 + 1)
        if n_tokens < 1:
            raise BrokenMedia("the recording is too short to be heard")
        width = (prepared["input_features"].shape[-1] - 2) // 2 + 1
        mask = torch.zeros(1, 1, width, width, dtype=self._dtype)
        mask[..., int(n_frames) :] = float("-inf")
        with torch.inference_mode():
            heard = self._tower(
                prepared["input_features"].to(self._dtype), attention_mask=mask
            ).last_hidden_state
            features = self._projector(heard)[0, :n_tokens]
        return MediaFeatures(features, {"audio_num_tokens": torch.tensor(n_tokens)})


def load_audio_tower(spec: ModelSpec, models_dir: Path, feature_dir: str) -> AudioTower:
    """The tower of a catalog generator."""
    return AudioTower(
        model_dir(spec, models_dir),
        revision=spec.revision,
        feature_dir=feature_dir,
        dtype=spec.dtype,
    )


def _load_tower(checkpoint: Path, config: Any, dtype: Any) -> tuple[Any, Any]:
    from transformers.models.qwen2_audio.modeling_qwen2_audio import (
        Qwen2AudioEncoder,
        Qwen2AudioMultiModalProjector,
    )

    tower = Qwen2AudioEncoder(config.audio_config).to(dtype).eval()
    tower.load_state_dict(weights_under(checkpoint, "audio_tower", dtype), strict=True)
    projector = Qwen2AudioMultiModalProjector(config).to(dtype).eval()
    projector.load_state_dict(weights_under(checkpoint, "multi_modal_projector", dtype))
    return tower, projector
