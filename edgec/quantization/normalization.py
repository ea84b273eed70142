"""Normalizations that exporters took apart: x - mean, times 1 / sqrt(variance), times a gain, plus a shift.

Variances span twice as many decades as the values do, and do not fit into 256 even steps. The root or the quotient has
no INT8 kernel anyway, so the graph is hardly poorer when what is around it computes in float, too.
"""

from __future__ import annotations

from edgec.onnx_graph.graph import MAC_OPS, Graph
from edgec.quantization.placement import Placement
from edgec.quantization.rules import Kind

REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "GlobalAveragePool"})
ROOTS = frozenset({"Sqrt", "Pow", "Reciprocal", "Div"})


def squares(placement: Placement) -> frozenset[str]:
    """The nodes that square an activation in INT8, in a model with other float nodes."""
    anchors = [kernel.anchor for kernel in placement.kernels.values() if kernel.anchor.op_type == "Mul"]
    found = {node.name for node in anchors if node.input[0] == node.input[1]}
    return frozenset(found) if placement.float_nodes else frozenset()


def normalizations(graph: Graph, placement: Placement) -> frozenset[str]:
    """All arithmetic in INT8 between a mean, over the root of a variance, and the next layer that multiplies and
    accumulates; and the squares that the means are of."""
    found = set(squares(placement))
    for node in graph.nodes:
        if node.op_type not in REDUCTIONS:
            continue
        behind = _behind(graph, node.output[0])
        if any(graph.nodes[i].op_type in ROOTS and graph.nodes[i].name in placement.float_nodes for i in behind):
            found.update(graph.nodes[i].name for i in behind)
            found.add(node.name)
    arithmetic = {
        member.name
        for kernel in placement.kernels.values()
        for member in kernel.nodes
        if kernel.rule.kind is Kind.ARITHMETIC
    }
    return frozenset(found & arithmetic)


def _behind(graph: Graph, tensor: str) -> list[int]:
    """Positions of the nodes that `tensor` reaches without passing one that multiplies and accumulates."""
    reached = {tensor}
    found = []
    for i, node in enumerate(graph.nodes):
        if node.op_type not in MAC_OPS and reached.intersection(node.input):
            found.append(i)
            reached.update(node.output)
    return found
