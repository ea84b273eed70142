"""One way to write what can be written in several: every later pass, and every rule of quantization, knows that one.

- Gemm computes x @ W (or x @ W.T) plus a bias: alpha and beta go into the constants, transA becomes a Transpose
- division by a constant is multiplication by its reciprocal, subtraction of one is addition of its negative
- limits are a Clip, or a Relu where the only one is 0
- a BatchNormalization is a multiplication and an addition where a layer can take them, or else a depthwise 1x1 Conv
"""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto, helper

from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece, instead_of, make
from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.operators import STANDARD

_F = np.float32


def plain_gemm(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Alpha and beta into the constants, transA into a Transpose."""
    if node.op_type != "Gemm" or node.domain not in STANDARD:
        return None
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    transposed = attribute(node, "transA", 0)
    if (alpha, beta, transposed) == (1.0, 1.0, 0):
        return None
    weights = work.float_constant(node.input[1])
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias = work.float_constant(node.input[2]) if has_bias else None
    if weights is None or (has_bias and bias is None and beta != 1.0):
        return None
    nodes: list[NodeProto] = []
    inputs = list(node.input)
    if transposed:
        shape = work.shape(node.input[0])
        swapped = None if shape is None else tuple(reversed(shape))
        inputs[0] = work.tensor(f"{node.name}/transposed", swapped, np.dtype(_F))
        nodes.append(make("Transpose", [node.input[0]], [inputs[0]], work.fresh(f"{node.name}/Transpose"), perm=[1, 0]))
    if alpha != 1.0:
        inputs[1] = work.floats(f"{node.name}/weights", weights * _F(alpha))
    if bias is not None and beta != 1.0:
        inputs[2] = work.floats(f"{node.name}/bias", bias * _F(beta))
    plain = make("Gemm", inputs, node.output, node.name, transB=attribute(node, "transB", 0))
    return instead_of([], node, *nodes, plain)


def plain_arithmetic(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """x / c is x * (1 / c), x - c is x + (-c), for a constant c."""
    if node.op_type not in ("Div", "Sub") or node.domain not in STANDARD or work.is_constant(node.input[0]):
        return None
    value = work.float_constant(node.input[1])
    if value is None:
        return None
    if node.op_type == "Sub":
        constant = work.floats(f"{node.name}/negative", -value)
        return instead_of([], node, make("Add", [node.input[0], constant], node.output, node.name))
    with np.errstate(divide="ignore", over="ignore"):
        factor = _F(1) / value
    if not np.isfinite(factor).all():
        return None
    constant = work.floats(f"{node.name}/reciprocal", factor)
    return instead_of([], node, make("Mul", [node.input[0], constant], node.output, node.name))


def plain_limits(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Min and Max with a constant scalar are a Clip; a Clip of a Clip is one; a Clip at 0 only is a Relu."""
    if node.domain not in STANDARD or not work.is_float(node.output[0]):
        return None
    found = _limits(work, node)
    if found is None:
        return None
    source, low, high, members = found
    inner = work.private(source, "Clip", "Relu", "Min", "Max")
    deeper = _limits(work, inner) if inner is not None else None
    if deeper is not None and inner is not None and deeper[1] <= high and deeper[2] >= low:
        source, low, high = deeper[0], max(low, deeper[1]), min(high, deeper[2])
        members = [*members, *deeper[3]]
    op = "Relu" if (low, high) == (0.0, math.inf) else "Clip"
    if (len(members) == 1 and node.op_type == op) or low > high or (math.isinf(low) and math.isinf(high)):
        return None
    if work.shape(source) != work.shape(node.output[0]):
        return None
    limits = []
    if op == "Clip":
        limits = ["" if math.isinf(value) else work.floats(f"{node.name}/limit", value) for value in (low, high)]
        limits = limits if limits[-1] else limits[:1]
    return instead_of(members, node, make(op, [source, *limits], node.output, node.name))


def _limits(work: Workpiece, node: NodeProto) -> tuple[str, float, float, list[NodeProto]] | None:
    """What a node limits, to which range, and the node."""
    if node.op_type == "Relu":
        return node.input[0], 0.0, math.inf, [node]
    if node.op_type == "Clip":
        limits = [-math.inf, math.inf]
        for at, name in enumerate(node.input[1:3]):
            if name:
                value = work.scalar(name)
                if value is None:
                    return None
                limits[at] = value
        return node.input[0], limits[0], limits[1], [node]
    if node.op_type in ("Min", "Max") and len(node.input) == 2:
        for at in (0, 1):
            value = work.scalar(node.input[at])
            if value is not None and not work.is_constant(node.input[1 - at]) and math.isfinite(value):
                low, high = (value, math.inf) if node.op_type == "Max" else (-math.inf, value)
                return node.input[1 - at], low, high, [node]
    return None


def plain_batch_normalization(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """A BatchNormalization with constant statistics as Mul and Add, or as a depthwise Conv."""
    if node.op_type != "BatchNormalization" or node.domain not in STANDARD:
        return None
    rank = work.rank(node.input[0]) or 0
    if rank < 2 or len([name for name in node.output if name]) != 1 or attribute(node, "training_mode", 0):
        return None
    constants = [work.float_constant(name) for name in node.input[1:5]]
    if any(value is None for value in constants):
        return None
    scale, shift, mean, variance = (value.astype(np.float64) for value in constants if value is not None)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    offset = shift - mean * factor
    producer = work.private(node.input[0], "Conv", "ConvTranspose", "Gemm")
    if (producer is not None and work.is_constant(producer.input[1])) or rank not in (3, 4):
        shape = (-1, *[1] * (rank - 2))
        scaled = work.tensor(f"{node.name}/scaled", work.shape(node.input[0]), np.dtype(_F))
        by = work.floats(f"{node.name}/factor", factor.reshape(shape))
        plus = work.floats(f"{node.name}/offset", offset.reshape(shape))
        return instead_of(
            [],
            node,
            make("Mul", [node.input[0], by], [scaled], node.name),
            make("Add", [scaled, plus], [node.output[0]], work.fresh(f"{node.name}/Add")),
        )
    weights = work.floats(f"{node.name}/weights", factor.reshape(-1, *[1] * (rank - 1)))
    bias = work.floats(f"{node.name}/bias", offset)
    conv = make("Conv", [node.input[0], weights, bias], [node.output[0]], node.name)
    conv.attribute.append(helper.make_attribute("group", len(factor)))
    return instead_of([], node, conv)
