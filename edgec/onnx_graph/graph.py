"""A view of an ONNX model that answers the questions every stage asks: who makes this tensor, who reads it, how large
is it, is it constant. The view is built once; whoever changes the model builds a new one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

MAC_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that multiply and accumulate: where the work is, and where INT8 pays."""


def load_model(path: Path) -> onnx.ModelProto:
    """Load a model that ingest wrote (trusted); external data beside it is loaded too.

    Not by onnx's own loader, which refuses files with several hard links: stages share large weights by hard links.
    """
    model = onnx.load(str(path), load_external_data=False)
    for item in model.graph.initializer:
        if item.data_location == TensorProto.EXTERNAL:
            where = {entry.key: entry.value for entry in item.external_data}
            with (path.parent / where["location"]).open("rb") as stream:
                stream.seek(int(where.get("offset", 0)))
                item.raw_data = stream.read(int(where["length"]))
            item.data_location = TensorProto.DEFAULT
            del item.external_data[:]
    return model


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute as plain Python (strings decoded), or `default`."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


class Graph:
    """Producers, consumers, shapes, dtypes and constants of a model's main graph.

    Shapes and dtypes come from `onnx.shape_inference` with data propagation; a tensor it can't tell has None.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.initializers: dict[str, TensorProto] = {item.name: item for item in graph.initializer}
        self.inputs: list[str] = [item.name for item in graph.input if item.name not in self.initializers]
        self.outputs: list[str] = [item.name for item in graph.output]
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            self.producer.update((name, node) for name in node.output if name)
            for name in dict.fromkeys(node.input):
                if name:
                    self.consumers.setdefault(name, []).append(node)
        self._types = self._infer(model)
        self._constants: dict[str, np.ndarray] = {}

    @staticmethod
    def _infer(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
        light = onnx.ModelProto()
        light.CopyFrom(model)
        for item in light.graph.initializer:  # shape inference serializes; only small constants can matter to it
            if numpy_size(item) > 1024:
                item.ClearField("raw_data")
                item.ClearField("float_data")
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
        infos = [*inferred.value_info, *inferred.input, *inferred.output]
        return {info.name: info.type.tensor_type for info in infos if info.type.HasField("tensor_type")}

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initializer, or None when `name` is not one."""
        if name not in self.initializers:
            return None
        if name not in self._constants:
            self._constants[name] = numpy_helper.to_array(self.initializers[name])
        return self._constants[name]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a tensor; None when unknown or not fully static."""
        if name in self.initializers:
            return tuple(self.initializers[name].dims)
        kind = self._types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        dims = kind.shape.dim
        return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None

    def dtype(self, name: str) -> np.dtype | None:
        """The numpy dtype of a tensor; None when unknown."""
        kind = self.initializers[name].data_type if name in self.initializers else None
        if kind is None:
            known = self._types.get(name)
            kind = known.elem_type if known is not None else 0
        return helper.tensor_dtype_to_np_dtype(kind) if kind else None

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32 (what INT8 can stand in for)."""
        return self.dtype(name) == np.float32


def numpy_size(tensor: TensorProto) -> int:
    """The number of elements of a tensor."""
    size = 1
    for dim in tensor.dims:
        size *= dim
    return size
