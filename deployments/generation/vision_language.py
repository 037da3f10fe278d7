"""Qwen2.5-VL in vLLM without torchvision: pictures are prepared by Pillow.

Importing this module loads vLLM; ``register`` tells vLLM to use our class for the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessorKwargs
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.model_executor.models.registry import ModelRegistry
from vllm.multimodal import MULTIMODAL_REGISTRY

ARCHITECTURE: Final = "Qwen2_5_VLForConditionalGeneration"


class PictureProcessor(ProcessorMixin):  # type: ignore[misc]  # transformers is untyped here
    """A tokenizer and Pillow. The processor of transformers insists on a video processor."""

    valid_processor_kwargs = Qwen2_5_VLProcessorKwargs
    image_token = "<|image_pad|>"  # noqa: S105 - a token of the vocabulary
    video_token = "<|video_pad|>"  # noqa: S105 - a token of the vocabulary

    def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        super().__init__(image_processor, tokenizer)

    def replace_image_token(self, image_inputs: Mapping[str, Any], image_idx: int, **_: Any) -> str:
        """As many placeholders as the picture has merged patches."""
        n_patches = int(image_inputs["image_grid_thw"][image_idx].prod())
        n_tokens: int = n_patches // self.image_processor.merge_size**2
        return self.image_token * n_tokens


class PictureProcessingInfo(Qwen2_5_VLProcessingInfo):  # type: ignore[misc]
    """Tells vLLM which inputs there can be and who prepares them."""

    processor_class: type[PictureProcessor] = PictureProcessor

    def get_hf_processor(self, **kwargs: object) -> PictureProcessor:
        """Built once per engine; no request can change how pictures are prepared."""
        cached: PictureProcessor | None = getattr(self, "_pictures", None)
        if cached is None:
            pillow = Qwen2VLImageProcessorPil.from_pretrained(self.ctx.model_config.model)
            cached = self._pictures = self.processor_class(pillow, self.get_tokenizer())
        return cached

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """None: neither a request nor a setting changes how media are prepared."""
        return {}

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of both. A video comes as features alone: nothing here can prepare one."""
        return {"image": None, "video": None}


@MULTIMODAL_REGISTRY.register_processor(
    Qwen2_5_VLMultiModalProcessor,
    info=PictureProcessingInfo,
    dummy_inputs=Qwen2_5_VLDummyInputsBuilder,
)
class PictureQwen(Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]
    """vLLM's own model, unchanged, with the processor above."""


def register() -> None:
    """Make vLLM use it, in this process. May be called again."""
    ModelRegistry.register_model(ARCHITECTURE, PictureQwen)
