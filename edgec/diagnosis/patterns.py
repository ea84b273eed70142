"""What a node is a part of: normalizations and activations that an exporter took apart, Concats of unlike tensors."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from edgec.onnx_graph.graph import Graph

_CURVES = {"Sigmoid": "SiLU", "HardSigmoid": "HardSwish", "Clip": "HardSwish", "Erf": "GELU", "Tanh": "GELU"}
_STEPS = frozenset({*_CURVES, "Add", "Sub", "Mul", "Div"})
_DEPTH = 6


def squares(node: NodeProto) -> bool:
    """Whether a node multiplies a tensor by itself."""
    return node.op_type == "Mul" and node.input[0] == node.input[1]


def is_square(graph: Graph, node: NodeProto) -> bool:
    """Whether a node squares a tensor, as Mul or as Pow."""
    if node.op_type == "Pow":
        exponent = graph.constant(node.input[1])
        return exponent is not None and exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2
    return squares(node)


def takes_mean_of_squares(graph: Graph, node: NodeProto) -> bool:
    """Whether a node averages squares."""
    if node.op_type not in ("ReduceMean", "GlobalAveragePool"):
        return False
    source = graph.producer.get(node.input[0])
    return source is not None and is_square(graph, source)


def normalizations(graph: Graph) -> dict[str, str]:
    """The nodes of normalizations in single steps, by name, each with the node that squares: from what the squares are
    of (x - mean) to the last step before the root or the quotient meets x again."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if not takes_mean_of_squares(graph, node):
            continue
        square = graph.producer[node.input[0]]
        members = [square, node]
        tensor = node.output[0]
        for _ in range(_DEPTH):
            readers = graph.consumers.get(tensor, [])
            if len(readers) != 1 or len([n for n in readers[0].input if n and graph.constant(n) is None]) != 1:
                break
            members.append(readers[0])
            tensor = readers[0].output[0]
        centred = graph.producer.get(square.input[0])
        if centred is not None and centred.op_type == "Sub":
            members.append(centred)
        found.update((member.name, square.name) for member in members)
    return found


def decomposed_activations(graph: Graph) -> dict[str, str]:
    """Nodes that together compute x times a curve of x, by name, and what that is called."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type not in ("Mul", "Div") or squares(node):
            continue
        left, right = (_chain(graph, name) for name in node.input[:2])
        common = next((tensor for tensor in right if tensor in left), None)
        if common is None:
            continue
        members = [*_until(left, common), *_until(right, common)]
        curve = next((_CURVES[member.op_type] for member in members if member.op_type in _CURVES), None)
        if curve is not None:
            found.update((member.name, curve) for member in (*members, node))
    return found


def _chain(graph: Graph, tensor: str) -> dict[str, NodeProto | None]:
    """A tensor and those that it was made of one after the other, each with the node that reads it on the way."""
    found: dict[str, NodeProto | None] = {}
    last: NodeProto | None = None
    for _ in range(_DEPTH):
        if graph.constant(tensor) is not None:
            return {}
        found[tensor] = last
        node = graph.producer.get(tensor)
        if node is None or node.op_type not in _STEPS:
            break
        sources = [name for name in node.input if name and graph.constant(name) is None]
        if len(sources) != 1:
            break
        tensor, last = sources[0], node
    return found


def _until(chain: Mapping[str, NodeProto | None], end: str) -> list[NodeProto]:
    members = []
    for tensor, node in chain.items():
        if node is not None:
            members.append(node)
        if tensor == end:
            break
    return members


def joined(node: NodeProto, widths: Mapping[str, float]) -> tuple[str, float, str, str] | None:
    """(node, ratio, wide tensor, narrow tensor) of a Concat, from the widths of its inputs that are known."""
    if node.op_type != "Concat":
        return None
    known = {name: widths[name] for name in node.input if widths.get(name, 0.0) > 0}
    if len(known) < 2:
        return None
    wide, narrow = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    return str(node.name), known[wide] / known[narrow], wide, narrow
