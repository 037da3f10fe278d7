"""Lets vLLM's Qwen-VL code load where torchvision is absent."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Final

_WANTED: Final = "transformers.models.qwen2_vl.image_processing_qwen2_vl"
_OFFERED: Final = "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl"


def offer_pillow_processing() -> None:
    """Give vLLM the Pillow twin of the one module that it imports and torchvision would break.

    vLLM takes nothing but ``smart_resize`` from it, and the twin holds the same function. PyPI's
    torchvision is a CUDA build which cannot be imported beside a CPU torch.
    """
    if importlib.util.find_spec("torchvision") is None:
        sys.modules.setdefault(_WANTED, importlib.import_module(_OFFERED))
