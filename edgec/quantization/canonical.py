"""The few rewrites that let every quantization rule be stated simply. They are exact up to float32 rounding.

- every node has a name
- operators that were taken apart are whole again (see `fusions`)
- Gemm computes x @ W (or x @ W.T) plus a bias: alpha and beta go into the constants, transA becomes a Transpose
- division by a constant is multiplication by its reciprocal, for which there is an INT8 kernel
- a BatchNormalization that could not be folded into a convolution is a depthwise 1x1 Conv: one scale a channel
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.fusions import fused
from edgec.quantization.names import Names

New = tuple[list[NodeProto], dict[str, np.ndarray]]
"""Nodes that replace one node, and the constants they need."""


def canonical(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A model that computes the same, in the form that placement expects; nodes named in `keep` are not fused away.

    Tensors keep their names, so that statistics gathered on `model` hold for the result.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _name_nodes(result)
    fused(result, keep)
    graph = Graph(result)
    names = Names(graph)
    nodes: list[NodeProto] = []
    for node in result.graph.node:
        rewrite = _REWRITES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        new = rewrite(graph, node, names) if rewrite else None
        if new is None:
            nodes.append(node)
            continue
        nodes += new[0]
        result.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in new[1].items())
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name that no other has, taken from what it computes."""
    taken: set[str] = set()
    for node in model.graph.node:
        name = node.name or f"{node.op_type}/{next((output for output in node.output if output), '')}"
        while name in taken:
            name += "'"
        taken.add(name)
        node.name = name


def _gemm(graph: Graph, node: NodeProto, names: Names) -> New | None:
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    trans_a, trans_b = attribute(node, "transA", 0), attribute(node, "transB", 0)
    weights = graph.constant(node.input[1])
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    has_bias = len(node.input) > 2 and bool(node.input[2])
    if (alpha, beta, trans_a) == (1.0, 1.0, 0) or weights is None or weights.dtype != np.float32:
        return None
    if has_bias and bias is None and beta != 1.0:
        return None
    nodes: list[NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    inputs = list(node.input)
    if trans_a:
        inputs[0] = names.fresh(f"{node.name}/transposed")
        name = names.fresh(f"{node.name}/Transpose")
        nodes.append(helper.make_node("Transpose", [node.input[0]], [inputs[0]], name=name, perm=[1, 0]))
    if alpha != 1.0:
        inputs[1] = names.fresh(f"{node.name}/weights")
        constants[inputs[1]] = (weights * np.float32(alpha)).astype(np.float32)
    if has_bias and beta != 1.0:
        assert bias is not None
        inputs[2] = names.fresh(f"{node.name}/bias")
        constants[inputs[2]] = (bias * np.float32(beta)).astype(np.float32)
    nodes.append(helper.make_node("Gemm", inputs, list(node.output), name=node.name, transB=trans_b))
    return nodes, constants


def _div(graph: Graph, node: NodeProto, names: Names) -> New | None:
    divisor = graph.constant(node.input[1])
    if divisor is None or divisor.dtype != np.float32 or graph.constant(node.input[0]) is not None:
        return None
    with np.errstate(divide="ignore", over="ignore"):
        factor = (np.float32(1) / divisor).astype(np.float32)
    if not np.isfinite(factor).all():
        return None
    name = names.fresh(f"{node.name}/reciprocal")
    return [helper.make_node("Mul", [node.input[0], name], list(node.output), name=node.name)], {name: factor}


def _batch_normalization(graph: Graph, node: NodeProto, names: Names) -> New | None:
    rank = len(graph.shape(node.input[0]) or ())
    constants = [graph.constant(name) for name in node.input[1:5]]
    if rank not in (3, 4) or len([name for name in node.output if name]) != 1 or attribute(node, "training_mode", 0):
        return None
    if any(value is None or value.dtype != np.float32 for value in constants):
        return None
    scale, shift, mean, variance = (value.astype(np.float64) for value in constants if value is not None)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    weights = factor.astype(np.float32).reshape(-1, *[1] * (rank - 1))
    bias = (shift - mean * factor).astype(np.float32)
    added = [names.fresh(f"{node.name}/weights"), names.fresh(f"{node.name}/bias")]
    conv = helper.make_node(
        "Conv",
        [node.input[0], *added],
        [node.output[0]],
        name=node.name,
        group=len(factor),
        kernel_shape=[1] * (rank - 2),
    )
    return [conv], dict(zip(added, (weights, bias), strict=True))


_REWRITES: dict[str, Callable[[Graph, NodeProto, Names], New | None]] = {
    "Gemm": _gemm,
    "Div": _div,
    "BatchNormalization": _batch_normalization,
}
