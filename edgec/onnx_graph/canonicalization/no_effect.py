"""Nodes that change nothing, and chains of nodes that only arrange values anew."""

from __future__ import annotations

import math

import numpy as np
from onnx import NodeProto

from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece, instead_of, make
from edgec.onnx_graph.graph import attribute
from edgec.onnx_graph.operators import STANDARD

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
LAYOUTS = frozenset({*RESHAPES, "Transpose"})

MOST_INDICES = 1 << 22
"""Elements of a tensor whose order is followed through a chain by moving the numbers of its elements."""

_MEANS_NOTHING = {"Mul": 1.0, "Div": 1.0, "Pow": 1.0, "Add": 0.0, "Sub": 0.0, "Max": -math.inf, "Min": math.inf}
_CONSTANT_FIRST = frozenset({"Mul", "Add", "Max", "Min"})


def without_effect(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Drop a node whose output is its input."""
    if node.domain not in STANDARD or not node.output or not node.input:
        return None
    source = _passed_on(work, node)
    return None if source is None else _dropped(work, node, source)


def _passed_on(work: Workpiece, node: NodeProto) -> str | None:
    """The input that a node passes on as it is."""
    source: str = node.input[0]
    result = node.output[0]
    if node.op_type == "Identity":
        return source
    if node.op_type == "Dropout":
        unread = all(not name or (not work.readers(name) and name not in work.exposed) for name in node.output[1:])
        trains = len(node.input) > 2 and node.input[2] and work.scalar_bool(node.input[2]) is not False
        return source if unread and not trains else None
    same = work.shape(source) is not None and work.shape(source) == work.shape(result)
    if node.op_type in _MEANS_NOTHING:
        return _neutral(work, node)
    if node.op_type == "Cast":
        return source if same and work.dtype(source) is not None and work.dtype(source) == work.dtype(result) else None
    if not same:
        return None
    if node.op_type in (*RESHAPES, "Expand", "Tile"):
        return source
    if node.op_type == "Transpose":
        return source if _stays(work.shape(source) or (), _perm(work, node)) else None
    if node.op_type == "Slice":
        steps = work.integers(node.input[4]) if len(node.input) > 4 and node.input[4] else [1]
        return source if steps is not None and all(step > 0 for step in steps) else None
    if node.op_type == "Pad":
        pads = work.integers(node.input[1])
        return source if pads is not None and not any(pads) else None
    if node.op_type == "Concat":
        return source if len(node.input) == 1 else None
    if node.op_type == "Clip":
        return source if not any(node.input[1:]) else None
    return None


def _neutral(work: Workpiece, node: NodeProto) -> str | None:
    if len(node.input) != 2:
        return None
    for at in (1, 0) if node.op_type in _CONSTANT_FIRST else (1,):
        source: str = node.input[1 - at]
        value = work.scalar(node.input[at])
        same = work.shape(source) is not None and work.shape(source) == work.shape(node.output[0])
        if value == _MEANS_NOTHING[node.op_type] and same and not work.is_constant(source):
            return source
    return None


def _dropped(work: Workpiece, node: NodeProto, source: str) -> Rewrite | None:
    result = node.output[0]
    maker = work.producer.get(source)
    if result not in work.exposed:
        into = maker.name if maker is not None else _first_reader(work, result)
        return None if into is None else Rewrite({node.name: ()}, into, {result: source})
    if maker is None or source in work.exposed or result in work.captured:
        return None
    renamed = NodeProto()
    renamed.CopyFrom(maker)
    renamed.output[list(maker.output).index(source)] = result
    return Rewrite({maker.name: (renamed,), node.name: ()}, maker.name, {source: result})


def _first_reader(work: Workpiece, tensor: str) -> str | None:
    readers = {node.name for node in work.readers(tensor)}
    return next((str(node.name) for node in work.nodes if node.name in readers), None)


# --- chains that arrange values anew ---


def arranged(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Make one Reshape, or one Transpose, of a chain of nodes that arrange values."""
    if node.op_type not in LAYOUTS or node.domain not in STANDARD:
        return None
    chain = [node]
    while (maker := work.private(chain[0].input[0], *LAYOUTS)) is not None:
        chain.insert(0, maker)
    for start in range(len(chain) - 1):
        part = chain[start:]
        source, result = part[0].input[0], node.output[0]
        before, after = work.shape(source), work.shape(result)
        if before is None or after is None or 0 in before:
            return None
        if all(item.op_type == "Transpose" for item in part):
            perm = list(range(len(before)))
            for item in part:
                perm = [perm[axis] for axis in _perm(work, item)]
            return instead_of(part, node, make("Transpose", [source], [result], node.name, perm=perm))
        if _keeps_order(work, part):
            shape = work.new_constant(f"{node.name}/shape", np.array(after, np.int64))
            return instead_of(part, node, make("Reshape", [source, shape], [result], node.name))
    return None


def order_only(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """A Transpose that moves axes of size 1 only is a Reshape."""
    if node.op_type != "Transpose" or node.domain not in STANDARD:
        return None
    before, after = work.shape(node.input[0]), work.shape(node.output[0])
    if before is None or after is None or not _stays(before, _perm(work, node)):
        return None
    shape = work.new_constant(f"{node.name}/shape", np.array(after, np.int64))
    return instead_of([], node, make("Reshape", [node.input[0], shape], list(node.output), node.name))


def _keeps_order(work: Workpiece, chain: list[NodeProto]) -> bool:
    """Whether the values leave a chain in the order in which they came."""
    shape = work.shape(chain[0].input[0])
    assert shape is not None
    if all(node.op_type in RESHAPES for node in chain):
        return True
    if math.prod(shape) > MOST_INDICES:
        return False
    numbers = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    for node in chain:
        after = work.shape(node.output[0])
        if after is None:
            return False
        numbers = numbers.transpose(_perm(work, node)) if node.op_type == "Transpose" else numbers.reshape(after)
    return bool((np.diff(numbers.ravel()) == 1).all())


def _perm(work: Workpiece, node: NodeProto) -> list[int]:
    rank = work.rank(node.input[0]) or 0
    return list(attribute(node, "perm", list(reversed(range(rank)))))


def _stays(shape: tuple[int, ...], perm: list[int]) -> bool:
    """Whether a permutation leaves all axes longer than 1 in their order."""
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)
