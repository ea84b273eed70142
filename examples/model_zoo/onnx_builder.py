"""Build an ONNX graph node by node, the way exporters write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class OnnxBuilder:
    """Collects nodes and weights. Every node has one output, called like the node unless told otherwise."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a constant and return its name; floats of any width become float32."""
        dtype = np.float32 if np.issubdtype(value.dtype, np.floating) else value.dtype
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self._nodes.append(helper.make_node(op, inputs, [output or name], name=name, **attributes))
        return output or name

    def model(
        self,
        name: str,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]],
        integer_inputs: Sequence[str] = (),
    ) -> onnx.ModelProto:
        """The checked model, opset 17, inputs and outputs of the given static shapes.

        All are float32, but for `integer_inputs`, which are int64.
        """

        def infos(shapes: Mapping[str, Sequence[int]]) -> list[onnx.ValueInfoProto]:
            types = dict.fromkeys(integer_inputs, onnx.TensorProto.INT64)
            float32 = onnx.TensorProto.FLOAT
            return [helper.make_tensor_value_info(key, types.get(key, float32), dims) for key, dims in shapes.items()]

        graph = helper.make_graph(self._nodes, name, infos(inputs), infos(outputs), self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="model_zoo")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model
