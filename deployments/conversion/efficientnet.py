"""EfficientNet-Lite0 as an ONNX graph, from the weights of its PyTorch port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.onnx_graph import OnnxGraph

Weights = Mapping[str, NDArray[Any]]

INPUT_SIDE_PX = 224
_BATCH_NORM_EPSILON = 1e-3  # that of the TensorFlow original
_N_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class _Stage:
    n_blocks: int
    stride: int
    """Of the stage's first block; the others have 1."""


_STAGES = (
    _Stage(1, 1),
    _Stage(2, 2),
    _Stage(2, 2),
    _Stage(3, 2),
    _Stage(3, 1),
    _Stage(4, 2),
    _Stage(1, 1),
)


def classifier_onnx(weights: Weights) -> bytes:
    """Input ``image``: float32 (n, 3, 224, 224), RGB. Output ``probabilities``: (n, 1000)."""
    graph = OnnxGraph("efficientnet-lite0")
    image = graph.input("image", np.float32, ["n", 3, INPUT_SIDE_PX, INPUT_SIDE_PX])
    x = _relu6(graph, _conv_norm(graph, weights, image, "_conv_stem", "_bn0", stride=2))
    for index, stride in enumerate(_block_strides()):
        x = _block(graph, weights, x, f"_blocks.{index}.", stride)
    x = _relu6(graph, _conv_norm(graph, weights, x, "_conv_head", "_bn1", stride=1))
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    logits = graph.op(
        "Gemm",
        pooled,
        graph.floats(weights["_fc.weight"]),
        graph.floats(weights["_fc.bias"]),
        transB=1,
    )
    graph.output(graph.op("Softmax", logits, axis=1), "probabilities", ["n", _N_CLASSES])
    return graph.to_bytes()


def _block_strides() -> Iterator[int]:
    for stage in _STAGES:
        yield stage.stride
        yield from [1] * (stage.n_blocks - 1)


def _block(graph: OnnxGraph, weights: Weights, x: str, prefix: str, stride: int) -> str:
    """Expand, look around, project; the first block has nothing to expand."""
    wide, n_channels_in = x, weights[prefix + "_depthwise_conv.weight"].shape[0]
    if prefix + "_expand_conv.weight" in weights:
        n_channels_in = weights[prefix + "_expand_conv.weight"].shape[1]
        wide = _relu6(
            graph, _conv_norm(graph, weights, x, prefix + "_expand_conv", prefix + "_bn0", stride=1)
        )
    seen = _relu6(
        graph,
        _conv_norm(
            graph, weights, wide, prefix + "_depthwise_conv", prefix + "_bn1", stride=stride
        ),
    )
    out = _conv_norm(graph, weights, seen, prefix + "_project_conv", prefix + "_bn2", stride=1)
    n_channels_out = weights[prefix + "_project_conv.weight"].shape[0]
    if stride == 1 and n_channels_in == n_channels_out:
        return graph.op("Add", x, out)
    return out


def _conv_norm(
    graph: OnnxGraph, weights: Weights, x: str, conv: str, norm: str, *, stride: int
) -> str:
    kernel = weights[conv + ".weight"]
    is_depthwise = conv.endswith("_depthwise_conv")
    convolved = graph.op(
        "Conv",
        x,
        graph.floats(kernel),
        strides=[stride, stride],
        # TensorFlow's "SAME": an odd pixel of padding goes to the right and the bottom.
        auto_pad="SAME_UPPER",
        group=kernel.shape[0] if is_depthwise else 1,
    )
    statistics = (
        graph.floats(weights[f"{norm}.{name}"])
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    return graph.op("BatchNormalization", convolved, *statistics, epsilon=_BATCH_NORM_EPSILON)


def _relu6(graph: OnnxGraph, x: str) -> str:
    return graph.op("Clip", x, graph.floats(0.0), graph.floats(6.0))
