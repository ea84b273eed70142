"""Which tensors ONNX Runtime holds in its blocked NCHWc layout on x86.

Convolutions put their result into it, and a few more operators keep it. Probes must know: a pooling operator over such
a tensor costs one pass, over any other tensor it costs a conversion first, and the other way round for reductions. A
wrong guess costs time, never correctness.
"""

from __future__ import annotations

from onnx import NodeProto

from edgec.onnx_graph.graph import Graph, attribute

_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh"})
_ACTIVATIONS_IF_FUSED = frozenset({"Clip", "LeakyRelu", "HardSigmoid"})
_POOLING = frozenset({"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "BatchNormalization"})
_ELEMENTWISE = frozenset({"Add", "Sum", "Mul"})
_BLOCK = 16


def blocked_tensors(graph: Graph) -> set[str]:
    """The names of these tensors, all of rank 4."""
    blocked: set[str] = set()
    for node in graph.nodes:
        if _gives_blocked(graph, node, blocked):
            blocked.add(node.output[0])
    return blocked


def _gives_blocked(graph: Graph, node: NodeProto, blocked: set[str]) -> bool:
    op = node.op_type
    shape = graph.shape(node.output[0]) if node.output else None
    if shape is None or len(shape) != 4 or shape[0] == 0:
        return False
    if op == "Conv":
        weights = graph.initializers.get(node.input[1])
        groups = attribute(node, "group", 1)
        return weights is not None and (groups == 1 or (weights.dims[1] == 1 and shape[1] % _BLOCK == 0))
    if op in _ELEMENTWISE:
        return all(name in blocked and graph.shape(name) == shape for name in node.input)
    if op == "Concat":
        return attribute(node, "axis") == 1 and all(
            name in blocked and (graph.shape(name) or (0, 1))[1] % _BLOCK == 0 for name in node.input
        )
    if op in _ACTIVATIONS_IF_FUSED:
        maker = graph.producer.get(node.input[0])
        alone = len(graph.consumers.get(node.input[0], [])) == 1
        return maker is not None and maker.op_type == "Conv" and alone and node.input[0] in blocked
    return op in _ACTIVATIONS | _POOLING and node.input[0] in blocked
