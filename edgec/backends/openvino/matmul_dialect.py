"""Products of two activations (attention) as OpenVINO's INT8 kernels want them.

OpenVINO multiplies two quantized activations in INT8 only where both zero points are 0, the second one signed. With
another zero point it falls back to float without a word. But a zero point is an offset that can be multiplied out:

    A = A' + a, B = B' + b      A', B' dequantized without zero point; a = -scale * zero point, and b likewise
    A B = A' B' + b rowsum(A') + a colsum(B') + K a b

A' and B' are the same integers, so nothing is quantized anew, and their product has zero points of 0. The sums cost a
K-th of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgec.onnx_graph.dependence import captured_names
from edgec.onnx_graph.graph import Graph
from edgec.quantization.names import Names


@dataclass(frozen=True)
class _Operand:
    """A quantized activation: the float tensor that is quantized, the name and value of its scale, and its zero point
    as int8 counts it."""

    source: str
    scale_name: str
    scale: float
    zero_point: int


def without_zero_points(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in which MatMuls of two 8-bit activations have zero points that OpenVINO multiplies in INT8.

    Such a MatMul gets Q/DQ pairs of its own. What it computes is the same but for the order of float32 sums. A MatMul
    whose operands are not both pairs of one scale is left as it is, and so is one whose shapes are unknown.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = Graph(changed)
    names = Names(graph)
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    for node in graph.nodes:
        if node.op_type == "MatMul" and (found := _operands(graph, node)) is not None:
            written = _Product(names, node)
            written.write(*found)
            nodes += written.nodes
            constants += written.constants
        else:
            nodes.append(node)
    if constants:
        del changed.graph.node[:]
        changed.graph.node.extend(_without_idle_pairs(nodes, {*graph.outputs, *captured_names(graph.nodes)}))
        changed.graph.initializer.extend(constants)
    return changed


def _operands(graph: Graph, node: NodeProto) -> tuple[_Operand, _Operand, int] | None:
    """Both operands and their common length; None where they are no such pairs, or of unknown shape."""
    left, right = (_operand(graph, name) for name in node.input)
    first, second = (graph.shape(name) or () for name in node.input)
    if left is None or right is None or min(len(first), len(second)) < 2:
        return None
    return left, right, first[-1]


def _operand(graph: Graph, name: str) -> _Operand | None:
    """What an activation is quantized as; None unless a QuantizeLinear and a DequantizeLinear of one scale make it."""
    dequantize = graph.producer.get(name)
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return None
    quantize = graph.producer.get(dequantize.input[0])
    if quantize is None or quantize.op_type != "QuantizeLinear" or quantize.input[0] in graph.initializers:
        return None
    grids = [_grid(graph, node) for node in (quantize, dequantize)]
    if grids[0] is None or grids[0] != grids[1]:
        return None
    return _Operand(quantize.input[0], quantize.input[1], *grids[0])


def _grid(graph: Graph, node: NodeProto) -> tuple[float, int] | None:
    """Scale and zero point of a Q or DQ node, as int8 counts it; None unless they are single numbers of 8 bits."""
    if len(node.input) < 3:
        return None
    scale, zero_point = (graph.constant(name) for name in node.input[1:3])
    if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
        return None
    if zero_point.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        return None
    return float(scale.reshape(())), int(zero_point.reshape(())) - (128 if zero_point.dtype == np.uint8 else 0)


class _Product:
    """The nodes and constants that stand for one MatMul."""

    def __init__(self, names: Names, node: NodeProto) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names = names
        self._node = node

    def write(self, left: _Operand, right: _Operand, length: int) -> None:
        a, from_left = self._operand(left, as_uint8=left.zero_point == -128)  # after a Relu or a Softmax
        b, from_right = self._operand(right, as_uint8=False)
        terms = []
        if from_right:
            terms.append(self._scaled_sum(a, -1, from_right))
        if from_left:
            terms.append(self._scaled_sum(b, -2, from_left))
        if from_left and from_right:
            terms.append(self._constant("offset", np.array(length * from_left * from_right, np.float32)))
        product = NodeProto()
        product.CopyFrom(self._node)
        product.input[0], product.input[1] = a, b
        self.nodes.append(product)
        for term in terms:  # the last sum takes the MatMul's place, and its output's name
            result = self.nodes[-1].output[0]
            self.nodes[-1].output[0] = self._name("part")
            self.nodes.append(
                helper.make_node("Add", [self.nodes[-1].output[0], term], [result], self._name("corrected"))
            )

    def _operand(self, operand: _Operand, *, as_uint8: bool) -> tuple[str, float]:
        """The tensor without its offset, and the offset: Q with the zero point that the values have, DQ with none."""
        dtype, shift = (np.uint8, 128) if as_uint8 else (np.int8, 0)
        zero_point = operand.zero_point + shift
        given = self._constant("zero_point", np.array(zero_point, dtype))
        none = self._constant("no_zero_point", np.array(0, dtype))
        integers = self._add("QuantizeLinear", [operand.source, operand.scale_name, given])
        return self._add("DequantizeLinear", [integers, operand.scale_name, none]), -operand.scale * zero_point

    def _scaled_sum(self, tensor: str, axis: int, factor: float) -> str:
        """Sums of a tensor along one of its last two axes, which stays with length 1, times a factor."""
        sums = self._add("ReduceSum", [tensor, self._constant("axis", np.array([axis], np.int64))], keepdims=1)
        return self._add("Mul", [sums, self._constant("factor", np.array(factor, np.float32))])

    def _add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = self._name(op)
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def _constant(self, what: str, value: np.ndarray) -> str:
        name = self._name(what)
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _name(self, what: str) -> str:
        return self._names.fresh(f"{self._node.name}.{what}")


def _without_idle_pairs(nodes: list[NodeProto], exposed: set[str]) -> list[NodeProto]:
    """`nodes` without the Q/DQ nodes that nothing reads any more."""
    read = set(exposed)
    kept: list[NodeProto] = []
    for node in reversed(nodes):  # readers come before what they read
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.output[0] in read:
            read.update(node.input)
            kept.append(node)
    return kept[::-1]
