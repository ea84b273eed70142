"""Activations that exporters wrote as several nodes. Each node less is one rounding to int8 less.

- HardSigmoid: Clip(a x + b, 0, 1), also scaled
- HardSwish: x times HardSigmoid of slope 1/6
- Sigmoid: 1 / (1 + exp(-x)), (tanh(x / 2) + 1) / 2; SiLU is x * Sigmoid(x), for which ONNX has no op before opset 24
- Softplus: log(1 + exp(x))
- Gelu: x (1 + erf(x / sqrt 2)) / 2, and its approximation by tanh; an op since opset 20
"""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.expressions import affine, near, polynomial, product
from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece, instead_of, make
from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.operators import STANDARD

_GELU_OPSET = 20
_ERF = (0.0, math.sqrt(0.5))
_TANH = (0.0, math.sqrt(2 / math.pi), 0.0, 0.044715 * math.sqrt(2 / math.pi))


def hard_sigmoid(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Clip(a x + b, 0, c) / c as HardSigmoid(x) with slope a / c and offset b / c."""
    if node.domain not in STANDARD or node.op_type not in ("Clip", "Mul"):
        return None
    clip, factor = node, 1.0
    if node.op_type == "Mul":
        found = product(work, node)
        inner = work.private(found.tensors[0], "Clip") if len(found.tensors) == 1 else None
        if inner is None or len(found.members) != 1:
            return None
        clip, factor = inner, found.factor
    limits = [work.scalar(name) if name else None for name in clip.input[1:]]
    if len(limits) != 2 or limits[0] != 0 or limits[1] is None or not near(limits[1] * factor, 1.0):
        return None
    inside = affine(work, clip.input[0])
    if not inside.members or inside.scale <= 0 or not work.is_float(inside.source):
        return None
    slope, offset = inside.scale / limits[1], inside.offset / limits[1]
    gate = make("HardSigmoid", [inside.source], node.output, node.name, alpha=slope, beta=offset)
    return instead_of([*inside.members, clip], node, gate)


def hard_swish(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """x * HardSigmoid(x) with slope 1/6, in any order of factors."""
    if node.domain not in STANDARD or node.op_type != "Mul":
        return None
    found = product(work, node)
    if len(found.tensors) != 2:
        return None
    for source, gate in (found.tensors, found.tensors[::-1]):
        members = _sixth_gate(work, gate, source, found.factor)
        if members is not None:
            everything = [*members, *found.members]
            if work.closed(everything, node):
                return instead_of(everything, node, make("HardSwish", [source], node.output, node.name))
    return None


def _sixth_gate(work: Workpiece, gate: str, source: str, factor: float) -> list[NodeProto] | None:
    """The nodes of a gate that is, times `factor`, Clip(source + 3, 0, 6) / 6."""
    node = work.made_by(gate, "HardSigmoid", "Clip")
    if node is None:
        return None
    if node.op_type == "HardSigmoid":
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        fits = near(alpha, 1 / 6) and near(beta, 0.5) and near(factor, 1.0)
        return [node] if fits and node.input[0] == source else None
    limits = [work.scalar(name) if name else None for name in node.input[1:]]
    if len(limits) != 2 or limits[0] != 0 or limits[1] is None:
        return None
    inside = polynomial(work, node.input[0], source)
    scale = limits[1] / 6
    if inside is None or not scale or not near(factor * limits[1], 1.0) or not inside.is_near((3 * scale, scale)):
        return None
    return [node, *inside.members]


def sigmoid(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """1 / (1 + exp(-x)), y / (1 + exp(-x)), and (tanh(x / 2) + 1) / 2."""
    if node.domain not in STANDARD or not node.output or not work.is_float(node.output[0]):
        return None
    if node.op_type in ("Div", "Reciprocal"):
        return _logistic(work, node)
    return _from_tanh(work, node) if node.op_type in ("Mul", "Add") else None


def _logistic(work: Workpiece, node: NodeProto) -> Rewrite | None:
    below = affine(work, node.input[-1])
    power = work.private(below.source, "Exp")
    if power is None or not below.members or not (near(below.scale, 1.0) and near(below.offset, 1.0)):
        return None
    minus = affine(work, power.input[0])
    if minus.offset != 0 or not near(minus.scale, -1.0):
        return None
    members = [*below.members, power, *minus.members, node]
    source, result = minus.source, node.output[0]
    if node.op_type == "Reciprocal" or work.scalar(node.input[0]) == 1:
        if work.shape(source) != work.shape(result):
            return None
        return instead_of(members, node, make("Sigmoid", [source], [result], node.name))
    if work.is_constant(node.input[0]):
        return None
    gate = work.tensor(f"{node.name}/gate", work.shape(source), np.dtype(np.float32))
    return instead_of(
        members,
        node,
        make("Sigmoid", [source], [gate], work.fresh(f"{node.name}/Sigmoid")),
        make("Mul", [node.input[0], gate], [result], node.name),
    )


def _from_tanh(work: Workpiece, node: NodeProto) -> Rewrite | None:
    last = work.only_reader(node.output[0])
    if last is not None and last.op_type in ("Mul", "Add") and affine(work, node.output[0]).members:
        followed = affine(work, last.output[0])
        if any(item.name == node.name for item in followed.members):
            return None  # the formula goes on
    members, source = [node], None
    for at in (0, 1):
        if work.scalar(node.input[at]) is not None:
            source = node.input[1 - at]
    if source is None:
        return None
    inside = affine(work, source)
    tanh = work.private(inside.source, "Tanh")
    found = polynomial(work, node.output[0], inside.source)
    if tanh is None or found is None or not found.is_near((0.5, 0.5)):
        return None
    half = affine(work, tanh.input[0])
    if not half.members or half.offset != 0 or not near(half.scale, 0.5):
        return None
    members += [*inside.members, tanh, *half.members]
    return instead_of(members, node, make("Sigmoid", [half.source], node.output, node.name))


def softplus(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """log(1 + exp(x))."""
    if node.domain not in STANDARD or node.op_type != "Log":
        return None
    inside = affine(work, node.input[0])
    power = work.private(inside.source, "Exp")
    if power is None or not (near(inside.scale, 1.0) and near(inside.offset, 1.0)):
        return None
    members = [*inside.members, power, node]
    return instead_of(members, node, make("Softplus", [power.input[0]], node.output, node.name))


def gelu(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """x (1 + erf(x / sqrt 2)) / 2, and x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    if node.domain not in STANDARD or node.op_type != "Mul" or not work.is_float(node.output[0]):
        return None
    found = product(work, node)
    if len(found.tensors) != 2:
        return None
    for source, gate in (found.tensors, found.tensors[::-1]):
        outside = affine(work, gate)
        bend = work.made_by(outside.source, "Erf", "Tanh")
        if bend is None or not outside.members or not near(outside.scale, outside.offset):
            continue
        if not near(outside.scale * found.factor, 0.5):
            continue
        inside = polynomial(work, bend.input[0], source)
        if inside is None or not inside.is_near(_ERF if bend.op_type == "Erf" else _TANH):
            continue
        members = [*found.members, *outside.members, bend, *inside.members]
        if not work.closed(members, node) or not work.at_least_opset(_GELU_OPSET):
            continue
        form = {} if bend.op_type == "Erf" else {"approximate": "tanh"}
        return instead_of(members, node, make("Gelu", [source], node.output, node.name, **form))
    return None
