"""Normalizations that exporters took apart: their variances do not fit into 256 even steps, and belong inside one node.

- LayerNormalization: (x - mean) / sqrt(variance + epsilon), the variance as a mean of squares, or as the mean of the
  squares less the square of the mean; along an axis that is not the last one between two Transposes
- RMSNormalization: x / sqrt(mean of squares + epsilon); an op since opset 23
- what follows as gain and shift goes into the node
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.expressions import product
from edgec.onnx_graph.canonicalization.no_effect import RESHAPES
from edgec.onnx_graph.canonicalization.reductions import broadcasts_from, mean
from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece, constant_operand, instead_of, make
from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.operators import STANDARD

_F = np.dtype(np.float32)
_RMS_OPSET = 23


@dataclass(frozen=True)
class _Quotient:
    """numerator * gain / sqrt(variance + epsilon), and the nodes that compute it. gain: a constant's name, or ""."""

    numerator: str
    root: str
    variance: str
    epsilon: float
    gain: str
    factor: float
    members: tuple[NodeProto, ...]


def layer_normalization(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """The whole of it, or of an RMSNormalization, as one node (and what gain is not along its axes, as a Mul)."""
    for found in _quotients(work, node):
        done = _normalized(work, node, found)
        if done is not None:
            return done
    return None


def _normalized(work: Workpiece, node: NodeProto, found: _Quotient) -> Rewrite | None:
    centred = work.made_by(found.numerator, "Sub")
    spread = _variance(work, found, centred)
    if spread is None:
        return None
    source, axes, op, inner = spread
    shape = work.shape(source)
    if shape is None or work.shape(node.output[0]) != shape or not work.is_float(source):
        return None
    if not broadcasts_from(work, found.root, shape, axes):
        return None
    members = [*found.members, *inner]
    if not work.closed(members, node) or (op == "RMSNormalization" and not work.at_least_opset(_RMS_OPSET)):
        return None
    return instead_of(members, node, *_written(work, node, op, source, axes, found))


def _written(
    work: Workpiece, node: NodeProto, op: str, source: str, axes: Sequence[int], found: _Quotient
) -> list[NodeProto]:
    """The nodes for it: with Transposes around where the axes are not the last ones."""
    shape = work.shape(source)
    assert shape is not None
    rank, name, result = len(shape), node.name, node.output[0]
    others = [axis for axis in range(rank) if axis not in axes]
    perm = [*others, *axes]
    turned = [shape[axis] for axis in perm]
    scale = np.full([shape[axis] for axis in axes], found.factor, np.float32)
    nodes: list[NodeProto] = []
    at = source
    if perm != list(range(rank)):
        at = work.tensor(f"{name}/transposed", turned, _F)
        nodes.append(make("Transpose", [source], [at], work.fresh(f"{name}/Transpose"), perm=perm))
    out = result if not found.gain and at == source else work.tensor(f"{name}/normalized", turned, _F)
    inputs = [at, work.floats(f"{name}/scale", scale)]
    nodes.append(make(op, inputs, [out], name, axis=len(others) - rank, epsilon=found.epsilon))
    if at != source:
        back = [perm.index(axis) for axis in range(rank)]
        last = work.tensor(f"{name}/back", shape, _F) if found.gain else result
        nodes.append(make("Transpose", [out], [last], work.fresh(f"{name}/Transpose"), perm=back))
        out = last
    if found.gain:
        nodes.append(make("Mul", [out, found.gain], [result], work.fresh(f"{name}/Mul")))
    return nodes


def _quotients(work: Workpiece, node: NodeProto) -> list[_Quotient]:
    """Every way to read a node as a quotient by a root."""
    if node.domain not in STANDARD or node.op_type not in ("Div", "Mul"):
        return []
    if node.op_type == "Div":
        root = _root(work, node.input[1], inverse=False)
        return [] if root is None else [_Quotient(node.input[0], node.input[1], *root[:2], "", 1.0, (*root[2], node))]
    factors = product(work, node)
    varying = [name for name in factors.tensors if not work.is_constant(name)]
    constants = [name for name in factors.tensors if work.is_constant(name)]
    if len(varying) != 2 or len(constants) > 1 or any(not work.is_float(name) for name in constants):
        return []
    found = []
    for numerator, root_name in (varying, varying[::-1]):
        root = _root(work, root_name, inverse=True)
        if root is not None:
            gain = constants[0] if constants else ""
            members = (*root[2], *factors.members)
            found.append(_Quotient(numerator, root_name, *root[:2], gain, factors.factor, members))
    return found


def _bare(work: Workpiece, tensor: str) -> tuple[str, list[NodeProto]]:
    """A tensor before reshapes, and those."""
    members = []
    while (node := work.made_by(tensor, *RESHAPES)) is not None:
        members.append(node)
        tensor = node.input[0]
    return tensor, members


def _root(work: Workpiece, tensor: str, *, inverse: bool) -> tuple[str, float, list[NodeProto]] | None:
    """The variance and the epsilon of sqrt(variance + epsilon), or of one over it."""
    at, members = _bare(work, tensor)
    node = work.made_by(at, "Pow")
    if node is not None and work.scalar(node.input[1]) == (-0.5 if inverse else 0.5):
        members.append(node)
        at = node.input[0]
    else:
        if inverse:
            node = work.made_by(at, "Reciprocal", "Div")
            if node is None or (node.op_type == "Div" and work.scalar(node.input[0]) != 1):
                return None
            members.append(node)
            at, more = _bare(work, node.input[-1])
            members += more
        node = work.made_by(at, "Sqrt")
        if node is None:
            return None
        members.append(node)
        at = node.input[0]
    at, more = _bare(work, at)
    add = work.made_by(at, "Add")
    operands = None if add is None else constant_operand(work, add)
    epsilon = None if operands is None else work.scalar(operands[1])
    if add is None or operands is None or epsilon is None or epsilon < 0:
        return None
    return operands[0], epsilon, [*members, *more, add]


def _variance(
    work: Workpiece, found: _Quotient, centred: NodeProto | None
) -> tuple[str, tuple[int, ...], str, list[NodeProto]] | None:
    """What is normalized, along which axes, by which op, and the nodes of mean and variance."""
    at, members = _bare(work, found.variance)
    limited = work.made_by(at, "Relu")
    if limited is not None:
        members.append(limited)
        at, more = _bare(work, limited.input[0])
        members += more
    squares = mean(work, at)
    middle = None if centred is None else mean(work, centred.input[1])
    if squares is not None:
        square = _square(work, squares.source)
        if square is None or square.input[0] != found.numerator:
            return None
        members += [*squares.members, square]
        if centred is None or middle is None or middle.source != centred.input[0] or middle.axes != squares.axes:
            return found.numerator, squares.axes, "RMSNormalization", members
        if not broadcasts_from(work, centred.input[1], work.shape(centred.input[0]) or (), middle.axes):
            return None
        return centred.input[0], squares.axes, "LayerNormalization", [*members, *middle.members, centred]
    difference = work.made_by(at, "Sub")
    if difference is None or centred is None or middle is None:
        return None
    squares = mean(work, difference.input[0])
    squared, more = _bare(work, difference.input[1])
    power = _square(work, squared)
    inner = None if power is None else mean(work, power.input[0])
    if squares is None or power is None or inner is None:
        return None
    square = _square(work, squares.source)
    if square is None or {square.input[0], middle.source, inner.source} != {centred.input[0]}:
        return None
    if not squares.axes == middle.axes == inner.axes:
        return None
    shapes = {work.shape(name) for name in (*difference.input, *difference.output)}
    if len(shapes) != 1 or not broadcasts_from(work, centred.input[1], work.shape(centred.input[0]) or (), middle.axes):
        return None
    members += [difference, *squares.members, square, *more, power, *inner.members, *middle.members, centred]
    return centred.input[0], squares.axes, "LayerNormalization", members


def _square(work: Workpiece, tensor: str) -> NodeProto | None:
    """The node that squares its first input."""
    node = work.made_by(tensor, "Mul", "Pow")
    if node is None:
        return None
    squares = node.input[0] == node.input[1] if node.op_type == "Mul" else work.scalar(node.input[1]) == 2
    return node if squares else None


# --- gain and shift ---


def gain_and_shift(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """A constant behind a LayerNormalization (or RMSNormalization) that varies along its axes only, into it."""
    operands = constant_operand(work, node)
    if node.op_type not in ("Mul", "Add") or node.domain not in STANDARD or operands is None:
        return None
    tensor, constant = operands
    turn = work.private(tensor, "Transpose")
    norm = work.private(turn.input[0] if turn is not None else tensor, "LayerNormalization", "RMSNormalization")
    shape = work.shape(tensor)
    if norm is None or shape is None or work.shape(node.output[0]) != shape or len([n for n in norm.output if n]) > 1:
        return None
    if norm.op_type == "RMSNormalization" and node.op_type == "Add":
        return None
    value = work.constant(constant)
    assert value is not None
    if value.ndim > len(shape):
        return None
    value = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if turn is not None:
        value = value.transpose(np.argsort(attribute(turn, "perm", list(reversed(range(len(shape)))))))
    inside = work.shape(norm.input[0])
    scale = work.float_constant(norm.input[1])
    shift = work.float_constant(norm.input[2]) if len(norm.input) > 2 and norm.input[2] else None
    if inside is None or scale is None or (len(norm.input) > 2 and norm.input[2] and shift is None):
        return None
    axis = attribute(norm, "axis", -1) % len(inside)
    if any(size != 1 for size in value.shape[:axis]):
        return None
    along = inside[axis:]
    value = np.broadcast_to(value.reshape(value.shape[axis:]), along)
    scale = np.broadcast_to(scale, along)
    old = np.zeros(along, np.float32) if shift is None else np.broadcast_to(shift, along)
    if node.op_type == "Mul":
        scale, new = scale * value, old * value
    else:
        new = old + value
    inputs = [norm.input[0], work.floats(f"{norm.name}/scale", scale)]
    if shift is not None or node.op_type == "Add":
        inputs.append(work.floats(f"{norm.name}/shift", new))
    kept = {name: attribute(norm, name) for name in ("axis", "epsilon") if attribute(norm, name) is not None}
    if turn is None:
        return instead_of([norm], node, make(norm.op_type, inputs, node.output, norm.name, **kept))
    out = norm.output[0]
    return Rewrite(
        {
            norm.name: (make(norm.op_type, inputs, [out], norm.name, **kept),),
            turn.name: (),
            node.name: (make("Transpose", [out], node.output, turn.name, perm=list(attribute(turn, "perm"))),),
        },
        norm.name,
    )
