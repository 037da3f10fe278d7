"""TensorFlow.js graph models as ONNX: the operators of NanoDet, no more."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.onnx_graph import OnnxGraph
from serve.domain.errors import InternalError

_NHWC_TO_NCHW = [0, 3, 1, 2]
_NCHW_TO_NHWC = [0, 2, 3, 1]


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def ints(self, name: str) -> list[int]:
        return [int(value) for value in self.attributes[name]["list"]["i"]]

    def text(self, name: str) -> str:
        return base64.b64decode(self.attributes[name]["s"]).decode()

    def number(self, name: str, default: float) -> float:
        return float(self.attributes.get(name, {}).get("f", default))

    def flag(self, name: str) -> bool:
        return bool(self.attributes.get(name, {}).get("b", False))


@dataclass(slots=True)
class _Translation:
    """Nodes in TensorFlow's terms on one side, the ONNX graph so far on the other."""

    nodes: dict[str, _Node]
    constants: dict[str, NDArray[Any]]
    graph: OnnxGraph
    values: dict[str, list[str]] = field(default_factory=dict)

    def constant(self, reference: str) -> NDArray[Any]:
        return self.constants[_node_name(reference)]

    def value(self, reference: str) -> str:
        """The ONNX value for ``node`` or ``node:2``; built already, as nodes come in order."""
        name, _, index = reference.partition(":")
        if name in self.constants:
            return self.graph.const(self.constants[name])
        return self.values[name][int(index or 0)]


def tfjs_to_onnx(model_json: Path) -> bytes:
    """Translate a graph model and the weight files beside it.

    Raises:
        InternalError: The model uses an operator that we do not know.
    """
    document = json.loads(model_json.read_text(encoding="utf-8"))
    translation = _Translation(
        nodes=_read_nodes(document),
        constants=_read_weights(document, model_json.parent),
        graph=OnnxGraph(model_json.stem),
    )
    outputs = document["signature"]["outputs"]
    for name in _in_order(translation.nodes, [_node_name(output) for output in outputs]):
        node = translation.nodes[name]
        folded = _fold(node, translation.constants)
        if folded is not None:
            translation.constants[name] = folded
        elif name not in translation.constants:
            translation.values[name] = _translate(node, translation)
    for output, info in outputs.items():
        name = _node_name(output)
        translation.graph.output(translation.value(output), name, _shape(info["tensorShape"]))
    return translation.graph.to_bytes()


def _node_name(reference: str) -> str:
    return reference.partition(":")[0]


def _shape(description: dict[str, Any]) -> list[int]:
    return [int(dimension["size"]) for dimension in description["dim"]]


def _read_nodes(document: dict[str, Any]) -> dict[str, _Node]:
    nodes = {}
    for raw in document["modelTopology"]["node"]:
        # "^name" only asks for an order of execution.
        inputs = tuple(name for name in raw.get("input", []) if not name.startswith("^"))
        nodes[raw["name"]] = _Node(raw["name"], raw["op"], inputs, raw.get("attr", {}))
    return nodes


def _read_weights(document: dict[str, Any], folder: Path) -> dict[str, NDArray[Any]]:
    weights = {}
    for group in document["weightsManifest"]:
        content = b"".join((folder / path).read_bytes() for path in group["paths"])
        offset = 0
        for weight in group["weights"]:
            stored = np.dtype(weight.get("quantization", weight)["dtype"])
            array = np.frombuffer(content, stored, int(np.prod(weight["shape"])), offset)
            offset += array.nbytes
            weights[weight["name"]] = array.astype(weight["dtype"]).reshape(weight["shape"])
    return weights


def _in_order(nodes: dict[str, _Node], wanted: list[str]) -> list[str]:
    """Names of all nodes that ``wanted`` needs, each after its inputs."""
    ordered: dict[str, None] = {}
    stack = list(reversed(wanted))
    while stack:
        name = stack[-1]
        waiting = [
            source for raw in nodes[name].inputs if (source := _node_name(raw)) not in ordered
        ]
        if waiting:
            stack.extend(waiting)
        else:
            ordered[stack.pop()] = None
    return list(ordered)


# --- constants computed now instead of at every run -------------------------------------------


def _sparse_to_dense(sources: Sequence[NDArray[Any]]) -> NDArray[Any]:
    indices, shape, values, default = sources
    dense = np.full(shape.tolist(), default, dtype=values.dtype)
    dense[tuple(np.atleast_2d(indices).T)] = values
    return dense


_FOLDS: dict[str, Callable[[Sequence[NDArray[Any]]], NDArray[Any]]] = {
    "SparseToDense": _sparse_to_dense,
    "Add": lambda sources: sources[0] + sources[1],
    "AddV2": lambda sources: sources[0] + sources[1],
    "Reshape": lambda sources: sources[0].reshape(sources[1].tolist()),
    "Transpose": lambda sources: sources[0].transpose(sources[1].tolist()),
    "ConcatV2": lambda sources: np.concatenate(sources[:-1], int(sources[-1])),
}


def _fold(node: _Node, constants: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    fold = _FOLDS.get(node.op)
    names = [_node_name(reference) for reference in node.inputs]
    if fold is None or any(name not in constants for name in names):
        return None
    return np.asarray(fold([constants[name] for name in names]))


# --- operators --------------------------------------------------------------------------------


def _translate(node: _Node, to: _Translation) -> list[str]:
    translate = _OPERATORS.get(node.op)
    if translate is None:
        raise InternalError(f"cannot convert the operator {node.op} of {node.name}")
    translated = translate(node, to)
    return [translated] if isinstance(translated, str) else translated


def _placeholder(node: _Node, to: _Translation) -> str:
    return to.graph.input(node.name, np.float32, _shape(node.attributes["shape"]["shape"]))


def _conv(node: _Node, to: _Translation) -> str:
    graph = to.graph
    convolved = graph.op(
        "Conv",
        graph.op("Transpose", to.value(node.inputs[0]), perm=_NHWC_TO_NCHW),
        graph.floats(to.constant(node.inputs[1]).transpose(3, 2, 0, 1)),
        strides=node.ints("strides")[1:3],
        auto_pad=_padding(node),
    )
    return graph.op("Transpose", convolved, perm=_NCHW_TO_NHWC)


def _max_pool(node: _Node, to: _Translation) -> str:
    pooled = to.graph.op(
        "MaxPool",
        to.graph.op("Transpose", to.value(node.inputs[0]), perm=_NHWC_TO_NCHW),
        kernel_shape=node.ints("ksize")[1:3],
        strides=node.ints("strides")[1:3],
        auto_pad=_padding(node),
    )
    return to.graph.op("Transpose", pooled, perm=_NCHW_TO_NHWC)


def _padding(node: _Node) -> str:
    return "SAME_UPPER" if node.text("padding") == "SAME" else "VALID"


def _pad(node: _Node, to: _Translation) -> str:
    widths = to.constant(node.inputs[1])
    fill = float(to.constant(node.inputs[2])) if node.op == "PadV2" else 0.0
    return to.graph.op(
        "Pad",
        to.value(node.inputs[0]),
        to.graph.ints([*widths[:, 0].tolist(), *widths[:, 1].tolist()]),
        to.graph.floats(fill),
    )


def _resize(node: _Node, to: _Translation) -> str:
    graph = to.graph
    picture = graph.op("Transpose", to.value(node.inputs[0]), perm=_NHWC_TO_NCHW)
    n_and_channels = graph.op("Slice", graph.op("Shape", picture), graph.ints([0]), graph.ints([2]))
    size = graph.ints(to.constant(node.inputs[1]).tolist())
    shape = graph.op("Concat", n_and_channels, size, axis=0)
    if node.flag("align_corners"):
        mapping = "align_corners"
    else:
        mapping = "half_pixel" if node.flag("half_pixel_centers") else "asymmetric"
    resized = graph.op(
        "Resize", picture, "", "", shape, mode="linear", coordinate_transformation_mode=mapping
    )
    return graph.op("Transpose", resized, perm=_NCHW_TO_NHWC)


def _split(node: _Node, to: _Translation) -> list[str]:
    sizes = to.constant(node.inputs[1]).tolist()
    axis = int(to.constant(node.inputs[2]))
    value = to.value(node.inputs[0])
    return to.graph.ops("Split", len(sizes), value, to.graph.ints(sizes), axis=axis)


_OPERATORS: dict[str, Callable[[_Node, _Translation], str | list[str]]] = {
    "Placeholder": _placeholder,
    "Conv2D": _conv,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "PadV2": _pad,
    "ResizeBilinear": _resize,
    "SplitV": _split,
    "Identity": lambda node, to: to.value(node.inputs[0]),
    "Sigmoid": lambda node, to: to.graph.op("Sigmoid", to.value(node.inputs[0])),
    "Add": lambda node, to: to.graph.op("Add", *map(to.value, node.inputs)),
    "AddV2": lambda node, to: to.graph.op("Add", *map(to.value, node.inputs)),
    "LeakyRelu": lambda node, to: to.graph.op(
        "LeakyRelu", to.value(node.inputs[0]), alpha=node.number("alpha", 0.2)
    ),
    "ConcatV2": lambda node, to: to.graph.op(
        "Concat", *map(to.value, node.inputs[:-1]), axis=int(to.constant(node.inputs[-1]))
    ),
    "Reshape": lambda node, to: to.graph.op(
        "Reshape", to.value(node.inputs[0]), to.graph.ints(to.constant(node.inputs[1]).tolist())
    ),
    "Transpose": lambda node, to: to.graph.op(
        "Transpose", to.value(node.inputs[0]), perm=to.constant(node.inputs[1]).tolist()
    ),
}
