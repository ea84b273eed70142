"""Softmax in one node, and masks before it that leave its input a range that INT8 can hold."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.no_effect import LAYOUTS
from edgec.onnx_graph.canonicalization.reductions import broadcasts_from, reduction
from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece, constant_operand, instead_of, make
from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.operators import STANDARD

BOUND = -100.0
"""What hides an entry. As long as the scores of a row lie within 70 of each other, a hidden one weighs less than
exp(-30), and even half a million of them add less than 2^-24 to the row's sum, which float32 rounds away."""

_HIDES = -1000.0
"""Constants up to this one are masks. A score is none of that size."""


def softmax(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """exp(z) / sum(exp(z)) as Softmax(z)."""
    if node.domain not in STANDARD or node.op_type not in ("Div", "Mul"):
        return None
    for at in (0,) if node.op_type == "Div" else (0, 1):
        below, members = node.input[1 - at], [node]
        if node.op_type == "Mul":
            inverse = work.made_by(below, "Reciprocal")
            if inverse is None:
                continue
            members.append(inverse)
            below = inverse.input[0]
        power, total = work.made_by(node.input[at], "Exp"), reduction(work, below, "ReduceSum")
        if power is None or total is None or total.source != power.output[0] or len(total.axes) != 1:
            continue
        shape = work.shape(power.input[0])
        if shape is None or not broadcasts_from(work, below, shape, total.axes):
            continue
        members += [*total.members, power]
        if work.closed(members, node):
            new = make("Softmax", [power.input[0]], node.output, node.name, axis=total.axes[0])
            return instead_of(members, node, new)
    return None


def shifted_softmax(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Softmax(x - max(x)) is Softmax(x): the operator subtracts the largest value itself."""
    if node.domain not in STANDARD or node.op_type != "Softmax":
        return None
    shift = work.private(node.input[0], "Sub")
    if shift is None:
        return None
    top = reduction(work, shift.input[1], "ReduceMax")
    shape = work.shape(shift.input[0])
    if top is None or shape is None or top.source != shift.input[0] or len(top.axes) != 1:
        return None
    axis = attribute(node, "axis", -1) % len(shape)
    if top.axes != (axis,) or not broadcasts_from(work, shift.input[1], shape, top.axes):
        return None
    members = [shift, *top.members]
    if not work.closed(members, node):
        members = [shift]
    return instead_of(members, node, make("Softmax", [shift.input[0]], node.output, node.name, axis=axis))


# --- masks ---


def bounded_mask(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """A mask of -10000 or -inf before a Softmax as one of -100.

    A mask is a constant that is added and holds 0 and numbers below -1000 only, a Where between scores and such a
    number, or a factor of such a size times what is added ((1 - m) * -10000).
    """
    if node.domain not in STANDARD or node.op_type != "Softmax":
        return None
    shape = work.shape(node.input[0])
    maker = work.private(_scores(work, node.input[0]), "Add", "Where")
    if maker is None or shape is None:
        return None
    if maker.op_type == "Where":
        return _bounded_where(work, node, maker)
    for at in (0, 1):
        found = _bounded_operand(work, node, maker, at)
        if found is not None:
            return found
    return None


def _scores(work: Workpiece, tensor: str) -> str:
    """A tensor before the nodes that only arrange it, as long as nobody else reads it."""
    while (node := work.private(tensor, *LAYOUTS)) is not None:
        tensor = node.input[0]
    return tensor


def _bounded_where(work: Workpiece, softmax: NodeProto, where: NodeProto) -> Rewrite | None:
    for at in (1, 2):
        value = work.scalar(where.input[at])
        if value is not None and value <= _HIDES and not work.is_constant(where.input[3 - at]):
            return _with_constant(work, softmax, where, at, np.array(BOUND, np.float32))
    return None


def _bounded_operand(work: Workpiece, softmax: NodeProto, add: NodeProto, at: int) -> Rewrite | None:
    constant = work.float_constant(add.input[at])
    if constant is not None:
        hidden = constant <= _HIDES
        if not hidden.any() or not (constant[~hidden] == 0).all():
            return None
        return _with_constant(work, softmax, add, at, np.where(hidden, np.float32(BOUND), constant))
    tensor = add.input[at]
    while (node := work.made_by(tensor, *LAYOUTS, "Expand")) is not None:
        tensor = node.input[0]
    factor = work.made_by(tensor, "Mul", "Where")
    if factor is None or tensor in work.exposed:
        return None
    if not _only_masks(work, factor.output[0]):
        return None
    if factor.op_type == "Where":
        values = [work.scalar(name) for name in factor.input[1:]]
        for place, value in enumerate(values):
            if value is not None and value <= _HIDES and values[1 - place] == 0:
                return _with_constant(work, softmax, factor, place + 1, np.array(BOUND, np.float32))
        return None
    operands = constant_operand(work, factor)
    value = None if operands is None else work.scalar(operands[1])
    if operands is None or value is None or value > _HIDES or not np.isfinite(value):
        return None
    place = list(factor.input).index(operands[1])
    return _with_constant(work, softmax, factor, place, np.array(BOUND, np.float32))


def _only_masks(work: Workpiece, tensor: str) -> bool:
    """Whether a tensor, seen through arrangements, only ever gets added before a Softmax."""
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        if name in work.exposed:
            return False
        for reader in work.readers(name):
            if reader.op_type in (*LAYOUTS, "Expand"):
                waiting.append(reader.output[0])
                continue
            behind = work.only_reader(reader.output[0]) if reader.op_type == "Add" else None
            while behind is not None and behind.op_type in LAYOUTS:
                behind = work.only_reader(behind.output[0])
            if behind is None or behind.op_type != "Softmax":
                return False
    return True


def _with_constant(work: Workpiece, softmax: NodeProto, node: NodeProto, at: int, value: np.ndarray) -> Rewrite:
    new = NodeProto()
    new.CopyFrom(node)
    shape = work.shape(node.input[at]) or ()
    new.input[at] = work.floats(f"{node.name}/mask", np.broadcast_to(value, shape))
    return Rewrite({node.name: (new,)}, softmax.name)
