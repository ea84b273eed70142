"""Rewriting a quantized graph node by node: the nodes and constants that take the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgec.onnx_graph.dependence import captured_names
from edgec.onnx_graph.graph import Graph
from edgec.quantization.names import Names

QDQ = ("QuantizeLinear", "DequantizeLinear")


class Edit:
    """A model whose nodes are taken one by one, in order, and kept or replaced; `finish` writes them back.

    graph: the model as it was.
    """

    WHOLE: ClassVar[str] = "_whole"
    """How the names of Cast nodes end that only change the type of whole numbers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = Graph(model)
        self.names = Names(self.graph)
        self.exposed = {*self.graph.outputs, *captured_names(self.graph.nodes)}
        self._model = model
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._gone: list[str] = []
        self._renamed: dict[str, str] = {}

    def keep(self, node: NodeProto) -> None:
        """The node stays, reading what others were renamed to."""
        self._nodes.append(node)

    def rename(self, node: NodeProto, source: str) -> None:
        """Drop a node: who reads its first output reads `source`. An output of the model is kept as an Identity."""
        if node.output[0] in self.exposed:
            self._nodes.append(helper.make_node("Identity", [source], [node.output[0]], node.name))
        else:
            self._renamed[node.output[0]] = source
        self._gone.append(node.name)

    def replace(
        self,
        node: NodeProto,
        op: str,
        operands: Sequence[str],
        grid: tuple[str, str] | None,
        *,
        cast: int | None = None,
    ) -> None:
        """Put a float operator with the node's name and attributes in its place; its result is quantized on `grid`
        (names of scale and zero point), or cast to the type `cast`."""
        result = node.output[0]
        float_result = self.names.fresh(f"{result}_float")
        new = helper.make_node(op, list(operands), [float_result], node.name)
        new.attribute.extend(node.attribute)
        self._nodes.append(new)
        if grid is not None:
            self.add("QuantizeLinear", [float_result, *grid], result)
        elif cast is not None:
            name = self.names.fresh(f"{node.name}") + self.WHOLE
            self._nodes.append(helper.make_node("Cast", [float_result], [result], name, to=cast))
        self._gone.append(node.name)

    def dequantized(self, tensor: str, scale: str, zero_point: str, axis: int | None = None) -> str:
        """The real values of an integer tensor; `axis` counts where scale or zero point has several values."""
        inputs = [tensor, scale, zero_point] if zero_point else [tensor, scale]
        several = any((self.graph.shape(name) or self._own_shape(name)) for name in inputs[1:])
        rank = len(self.graph.shape(tensor) or ())
        attributes = {"axis": axis + rank if axis < 0 else axis} if several and axis is not None else {}
        return self.add("DequantizeLinear", inputs, self.names.fresh(f"{tensor}_dequantized"), **attributes)

    def _own_shape(self, name: str) -> tuple[int, ...]:
        return next((tuple(item.dims) for item in self._constants if item.name == name), ())

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; returns its output."""
        self._nodes.append(
            helper.make_node(op, list(inputs), [output], self.names.fresh(f"{output}_{op}"), **attributes)
        )
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer; returns the name that it got."""
        name = self.names.fresh(name)
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def finish(self) -> list[str]:
        """Write nodes and constants into the model; returns the names of the nodes that were replaced or dropped.

        Nodes that quantize, dequantize or cast, and initializers, go where nothing reads them any more.
        """
        if not self._gone and not self._constants and len(self._nodes) == len(self.graph.nodes):
            return []
        for node in self._nodes:
            for index, name in enumerate(node.input):
                node.input[index] = self._final(name)
        read = set(self.exposed)
        kept: list[NodeProto] = []
        for node in reversed(self._nodes):
            idle = node.op_type in QDQ or node.name.endswith(self.WHOLE)
            if not idle or node.output[0] in read:
                read.update(node.input)
                kept.append(node)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(nodes)
        initializers = [item for item in (*graph.initializer, *self._constants) if item.name in read]
        copies = [TensorProto.FromString(item.SerializeToString()) for item in initializers]
        del graph.initializer[:]
        graph.initializer.extend(copies)
        written = {name for node in nodes for name in node.output}
        infos = [item for item in graph.value_info if item.name in written]
        del graph.value_info[:]
        graph.value_info.extend(infos)
        return self._gone

    def _final(self, name: str) -> str:
        while name in self._renamed:
            name = self._renamed[name]
        return name
