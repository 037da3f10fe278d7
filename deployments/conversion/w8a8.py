"""GGUF to int8 weights and activations (compressed-tensors W8A8), which vLLM loads as it is.

Weights are quantised per output channel, activations per token while running. Embeddings, norms
and the head keep their precision.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from deployments.conversion import gguf

_LARGEST = 127
_QUANTIZATION = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Make the bfloat16 checkpoint beside the target, then quantise it into the target."""
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        full = Path(scratch)
        gguf.convert(sources, full, report)
        report("quantising to int8")
        quantize_checkpoint(full, out)


def quantize_checkpoint(source: Path, out: Path) -> None:
    """Write the int8 twin of a one-file Hugging Face checkpoint; tokenizer and all."""
    quantized: dict[str, torch.Tensor] = {}
    for name, weight in load_file(source / "model.safetensors").items():
        if name.endswith("proj.weight"):
            quantized[name], quantized[f"{name}_scale"] = quantize_rows(weight)
        else:
            quantized[name] = weight
    save_file(quantized, out / "model.safetensors", metadata={"format": "pt"})
    for path in source.iterdir():
        if path.is_file() and path.name not in {"model.safetensors", "config.json"}:
            shutil.copyfile(path, out / path.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = _QUANTIZATION
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def quantize_rows(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 with one scale per row.

    Returns:
        int8 of the weight's shape ``(rows, columns)``, and float32 scales of shape ``(rows, 1)``.
    """
    full = weight.float()
    scale = full.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / _LARGEST
    levels = torch.clamp(torch.round(full / scale), -128, _LARGEST).to(torch.int8)
    return levels, scale
