"""Writing ONNX graphs by hand, and opening them in ONNX Runtime with few threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Attribute = int | float | str | list[int]

# Two threads per model: replicas share the machine, and more gained nothing on small models.
_N_THREADS = 2


class OnnxGraph:
    """A graph under construction. Values are named by strings that ``op`` and ``const`` return."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> str:
        """Declare an input; a string in ``shape`` names a dimension that may vary."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Declare ``value`` as the float32 output ``name``."""
        self._nodes.append(_node("Identity", [value], [name], {}))
        self._outputs.append(_value_info(name, np.float32, shape))

    def const(self, value: NDArray[Any] | np.generic) -> str:
        """Keep a constant inside the graph."""
        from onnx import numpy_helper

        name = f"const_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def floats(self, value: NDArray[Any] | float) -> str:
        """Keep a float32 constant."""
        return self.const(np.asarray(value, dtype=np.float32))

    def ints(self, values: Sequence[int]) -> str:
        """Keep an int64 list, such as a shape or axes."""
        return self.const(np.asarray(values, dtype=np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """Add an operator with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, n_outputs: int, *inputs: str, **attributes: Attribute) -> list[str]:
        """Add an operator with several outputs."""
        outputs = [f"{kind}_{len(self._nodes)}_{index}" for index in range(n_outputs)]
        self._nodes.append(_node(kind, list(inputs), outputs, attributes))
        return outputs

    def to_bytes(self) -> bytes:
        """The finished model, checked."""
        import onnx
        from onnx import helper

        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def open_session(model: Path | bytes) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU that gives memory and cores back."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _N_THREADS
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    # Waiting threads must not spin: other replicas need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(
        source, sess_options=options, providers=["CPUExecutionProvider"]
    )


def _node(
    kind: str, inputs: list[str], outputs: list[str], attributes: dict[str, Attribute]
) -> Any:
    from onnx import helper

    return helper.make_node(kind, inputs, outputs, **attributes)


def _value_info(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    from onnx import helper

    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element, list(shape))
