"""The few rewrites that let every quantization rule be stated simply. They are exact up to float32 rounding.

- every node has a name
- Gemm computes x @ W (or x @ W.T) plus a bias: alpha and beta go into the constants, transA becomes a Transpose
- division by a constant is multiplication by its reciprocal, for which there is an INT8 kernel
- a BatchNormalization folds into the layer before it, or else is a depthwise 1x1 Conv: one scale a channel
- operators that were taken apart are whole again (see `fusions`)
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.fusions import fused
from edgec.quantization.names import Names


def canonical(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A model that computes the same, in the form that placement expects; nodes named in `keep` stay as they are.

    Tensors keep their names, so that statistics gathered on `model` hold for the result.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _name_nodes(result)
    rewriter = _Rewriter(result, keep)
    nodes = [new for node in result.graph.node for new in rewriter.rewritten(node)]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in rewriter.constants.items())
    return fused(result, keep)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name that no other has, taken from what it computes."""
    taken: set[str] = set()
    for node in model.graph.node:
        name = node.name or f"{node.op_type}/{next((output for output in node.output if output), '')}"
        while name in taken:
            name += "'"
        taken.add(name)
        node.name = name


class _Rewriter:
    """Rewrites one node at a time; what it needs in constants is collected."""

    def __init__(self, model: onnx.ModelProto, keep: Collection[str]) -> None:
        self.graph = Graph(model)
        self.names = Names(self.graph)
        self.keep = keep
        self.constants: dict[str, np.ndarray] = {}
        self._rewrites = {"Gemm": self._gemm, "Div": self._div, "BatchNormalization": self._batch_normalization}

    def rewritten(self, node: NodeProto) -> list[NodeProto]:
        """The nodes that take the place of `node`; often itself."""
        rewrite = self._rewrites.get(node.op_type)
        if rewrite is None or node.domain not in ("", "ai.onnx") or node.name in self.keep:
            return [node]
        return rewrite(node) or [node]

    def _constant(self, name: str, value: np.ndarray) -> str:
        name = self.names.fresh(name)
        self.constants[name] = np.asarray(value, np.float32)
        return name

    def _gemm(self, node: NodeProto) -> list[NodeProto] | None:
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        transposed = attribute(node, "transA", 0)
        weights = self.graph.constant(node.input[1])
        has_bias = len(node.input) > 2 and bool(node.input[2])
        bias = self.graph.constant(node.input[2]) if has_bias else None
        if (alpha, beta, transposed) == (1.0, 1.0, 0) or weights is None or weights.dtype != np.float32:
            return None
        if has_bias and bias is None and beta != 1.0:
            return None
        nodes: list[NodeProto] = []
        inputs = list(node.input)
        if transposed:
            inputs[0] = self.names.fresh(f"{node.name}/transposed")
            name = self.names.fresh(f"{node.name}/Transpose")
            nodes.append(helper.make_node("Transpose", [node.input[0]], [inputs[0]], name=name, perm=[1, 0]))
        if alpha != 1.0:
            inputs[1] = self._constant(f"{node.name}/weights", weights * np.float32(alpha))
        if bias is not None and beta != 1.0:
            inputs[2] = self._constant(f"{node.name}/bias", bias * np.float32(beta))
        trans_b = attribute(node, "transB", 0)
        return [*nodes, helper.make_node("Gemm", inputs, list(node.output), name=node.name, transB=trans_b)]

    def _div(self, node: NodeProto) -> list[NodeProto] | None:
        divisor = self.graph.constant(node.input[1])
        if divisor is None or divisor.dtype != np.float32 or self.graph.constant(node.input[0]) is not None:
            return None
        with np.errstate(divide="ignore", over="ignore"):
            factor = np.float32(1) / divisor
        if not np.isfinite(factor).all():
            return None
        operands = [node.input[0], self._constant(f"{node.name}/reciprocal", factor)]
        return [helper.make_node("Mul", operands, list(node.output), name=node.name)]

    def _batch_normalization(self, node: NodeProto) -> list[NodeProto] | None:
        rank = len(self.graph.shape(node.input[0]) or ())
        constants = [self.graph.constant(name) for name in node.input[1:5]]
        if rank < 2 or len([name for name in node.output if name]) != 1 or attribute(node, "training_mode", 0):
            return None
        if any(value is None or value.dtype != np.float32 for value in constants):
            return None
        scale, shift, mean, variance = (value.astype(np.float64) for value in constants if value is not None)
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        offset = shift - mean * factor
        if self._can_take_factors(node.input[0]):  # as two nodes, which the fusions fold into it
            shape = (-1, *[1] * (rank - 2))
            scaled = self.names.fresh(f"{node.name}/scaled")
            by = self._constant(f"{node.name}/factor", factor.reshape(shape))
            plus = self._constant(f"{node.name}/offset", offset.reshape(shape))
            name = self.names.fresh(f"{node.name}/Add")
            return [
                helper.make_node("Mul", [node.input[0], by], [scaled], name=node.name),
                helper.make_node("Add", [scaled, plus], [node.output[0]], name=name),
            ]
        if rank not in (3, 4):
            return None
        weights = self._constant(f"{node.name}/weights", factor.reshape(-1, *[1] * (rank - 1)))
        bias = self._constant(f"{node.name}/bias", offset)
        conv = helper.make_node("Conv", [node.input[0], weights, bias], [node.output[0]], name=node.name)
        conv.attribute.append(helper.make_attribute("group", len(factor)))
        return [conv]

    def _can_take_factors(self, tensor: str) -> bool:
        """Whether a layer with constant weights makes `tensor` for one reader only."""
        producer = self.graph.producer.get(tensor)
        if producer is None or producer.op_type not in ("Conv", "Gemm") or producer.name in self.keep:
            return False
        alone = len(self.graph.consumers.get(tensor, [])) == 1 and tensor not in self.graph.outputs
        plain = attribute(producer, "alpha", 1.0) == attribute(producer, "beta", 1.0) == 1.0
        return alone and plain and all(self.graph.constant(name) is not None for name in producer.input[1:] if name)
