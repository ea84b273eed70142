"""Nodes that compute the same from the same are one."""

from __future__ import annotations

from onnx import NodeProto

from edgec.onnx_graph.canonicalization.workpiece import Rewrite, Workpiece

_MOST_BYTES = 1 << 20
"""Of two constants that are compared by their values, not by their names."""


def equal_nodes(work: Workpiece, node: NodeProto) -> Rewrite | None:
    """Let the readers of a node read an earlier one that computes the same."""
    tensor = next((name for name in node.input if name and not work.is_constant(name)), None)
    if tensor is None or any(name in work.exposed for name in node.output):
        return None
    twins = [other for other in work.readers(tensor) if other.name != node.name and _alike(work, node, other)]
    if not twins:
        return None
    places = {item.name: place for place, item in enumerate(work.nodes)}
    first = min(twins, key=lambda other: places[other.name])
    if places[first.name] > places[node.name]:
        return None
    redirected = {old: new for old, new in zip(node.output, first.output, strict=True) if old}
    return Rewrite({node.name: ()}, first.name, redirected)


def _alike(work: Workpiece, one: NodeProto, other: NodeProto) -> bool:
    if (one.op_type, one.domain, len(one.input)) != (other.op_type, other.domain, len(other.input)):
        return False
    if [bool(name) for name in one.output] != [bool(name) for name in other.output]:
        return False
    attributes = [sorted(item.SerializeToString() for item in node.attribute) for node in (one, other)]
    if attributes[0] != attributes[1]:
        return False
    if any(item.HasField("g") or item.graphs for item in one.attribute):
        return False
    return all(_same_value(work, left, right) for left, right in zip(one.input, other.input, strict=True))


def _same_value(work: Workpiece, left: str, right: str) -> bool:
    if left == right:
        return True
    one, other = work.initializers.get(left), work.initializers.get(right)
    if one is None or other is None or one.data_type != other.data_type or list(one.dims) != list(other.dims):
        return False
    values = work.constant(left), work.constant(right)
    assert values[0] is not None and values[1] is not None
    return values[0].nbytes <= _MOST_BYTES and values[0].tobytes() == values[1].tobytes()
