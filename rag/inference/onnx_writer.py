"""Writes ONNX graphs node by node, with linear layers in float32 or in int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rag.types import Float32Array

Precision = Literal["int8", "float32"]
Shape = tuple[int | str, ...]
OPSET, IR = 20, 10
_MICROSOFT = "com.microsoft"
_LARGEST, _MIDDLE = 127, 128
"""Largest rounded weight; the unsigned byte that stands for 0."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that linear layers multiply, and how they were rounded."""

    values: str
    step: str = ""
    """The difference of two neighbouring bytes; empty: the rows are not rounded."""
    zero: str = ""
    """The byte that stands for 0."""
    largest: str = ""
    """The largest number of each row, by which it was divided; empty: none was."""


class GraphWriter:
    """A graph of which nodes and constants are added; each is named by the result's name."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self.shared: dict[str, npt.NDArray[Any]] = {}
        """Constants that are not in the model: a session takes them where they are in memory."""

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node and returns the name of its result."""
        return self._node(kind, inputs, 1, domain, attributes)[0]

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Adds a constant, unless there is one of that name, and returns the name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def outside(self, name: str, value: npt.NDArray[Any]) -> str:
        """Adds a constant that is kept outside the model, in `shared`, and returns the name."""
        declared = TensorProto(name=name, dims=value.shape, data_location=TensorProto.EXTERNAL)
        declared.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        declared.external_data.add(key="location", value=name)
        self._constants[name], self.shared[name] = declared, value
        return name

    def integers(self, *values: int) -> str:
        """Returns the name of int64[len(values)]."""
        return self.constant(f"integers {values}", np.array(values, np.int64))

    def rounded(self, x: str, *, by_row: bool) -> Rows:
        """Rounds rows to bytes, if the graph is in int8: each by itself, or all alike."""
        if self._precision == "float32":
            return Rows(x)
        if not by_row:
            return Rows(*self._node("DynamicQuantizeLinear", (x,), 3, "", {}))
        largest = self.op("ReduceMax", self.op("Abs", x), self.integers(-1), keepdims=1)
        step = self.constant("step", np.array(1 / _LARGEST, np.float32))
        zero = self.constant("middle", np.array(_MIDDLE, np.uint8))
        values = self.op("QuantizeLinear", self.op("Div", x, largest), step, zero)
        return Rows(values, step, zero, largest)

    def linear(
        self, x: Rows, name: str, weight: Float32Array, bias: Float32Array, *, scale: float = 1.0
    ) -> str:
        """Returns `scale * (x @ weight.T + bias)` for weight[out, in] and bias[out]."""
        factor = np.float32(scale)
        added = self.constant(f"{name}.bias", bias * factor)
        if not x.step:
            product = self.op(
                "MatMul", x.values, self.constant(f"{name}.weight", weight.T * factor)
            )
            return self.op("Add", product, added)
        most = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny)
        steps = most / np.float32(_LARGEST)
        values = weight / steps[:, None]
        inputs = (
            x.values,
            self.constant(f"{name}.bytes", np.rint(values, out=values).astype(np.int8).T),
            x.step,
            self.constant(f"{name}.steps", steps * factor),
            x.zero,
            self.constant(f"zeros {len(steps)}", np.zeros(len(steps), np.int8)),
        )
        if not x.largest:
            return self.op("MatMulIntegerToFloat", *inputs, added, domain=_MICROSOFT)
        product = self.op("MatMulIntegerToFloat", *inputs, domain=_MICROSOFT)
        return self.op("Add", self.op("Mul", product, x.largest), added)

    def serialised(
        self, inputs: dict[str, Shape], outputs: dict[str, Shape], *, whole: bool = False
    ) -> bytes:
        """Returns the model with these inputs, int64, and results of nodes as outputs, float32.

        Args:
            inputs: name → shape.
            outputs: name → shape.
            whole: False: without the constants in `shared`.
        """
        shared = self.shared.items() if whole else ()
        inside = {name: numpy_helper.from_array(value, name) for name, value in shared}
        graph = helper.make_graph(
            self._nodes,
            "graph",
            [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            list((self._constants | inside).values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
        data: bytes = model.SerializeToString()
        return data

    def _node(
        self, kind: str, inputs: tuple[str, ...], outputs: int, domain: str, attributes: Any
    ) -> list[str]:
        names = [f"{kind} {len(self._nodes)} {i}" for i in range(outputs)]
        node = helper.make_node(kind, inputs, names, names[0], domain=domain, **attributes)
        self._nodes.append(node)
        return names
