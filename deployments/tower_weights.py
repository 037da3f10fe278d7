"""The weights of a generator's tower alone, out of the whole checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serve.domain.errors import InternalError

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def weights_under(checkpoint: Path, tower: str, dtype: torch.dtype) -> dict[str, Any]:
    """Tensors whose names begin with ``tower``, or "model." and that, by the rest of the name."""
    from safetensors import safe_open

    prefix = f"{tower}."
    weights: dict[str, Any] = {}
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                short = name.removeprefix("model.")
                if short.startswith(prefix):
                    weights[short.removeprefix(prefix)] = file.get_tensor(name).to(dtype)
    if not weights:
        raise InternalError(f"the checkpoint holds no {tower}")
    return weights


def tower_dtype(config: Any, dtype: str) -> torch.dtype:
    """What a tower computes in; "auto" is the checkpoint's."""
    import torch

    chosen: torch.dtype = config.dtype if dtype == "auto" else getattr(torch, dtype)
    return chosen
