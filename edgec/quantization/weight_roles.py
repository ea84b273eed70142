"""What a weight is to the layers that read it: decided from the graph alone, before any number is looked at."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


@dataclass(frozen=True)
class Role:
    """The first layer that multiplies with a weight, and the axis of its output channels.

    op, node: that layer. axis: each index along it has a scale of its own.
    """

    op: str
    node: str
    axis: int


def roles(graph: Graph) -> dict[str, Role]:
    """The role of every float32 initializer that some layer of the main graph multiplies with, or looks rows up in.

    Tensors are in the model's order. A weight that several layers share has one role, that of the first product: it is
    stored once. An output of the graph has none: others want its value.
    """
    found = {}
    for name in graph.initializers:
        if not graph.is_float(name) or name in graph.outputs:
            continue
        uses = [role for node in graph.consumers.get(name, []) if (role := _role(graph, node, name)) is not None]
        products = [role for role in uses if role.op != "Gather"]
        if uses:
            found[name] = (products or uses)[0]
    return found


def _role(graph: Graph, node: NodeProto, name: str) -> Role | None:
    rank = len(graph.initializers[name].dims)
    position = list(node.input).index(name)
    axis: int | None = None
    if node.op_type in MAC_OPS and position < 2:
        axis = _product_axis(node, position, rank)
    elif node.op_type in RECURRENT and position in (1, 2) and rank == 3:
        axis = 1  # [directions, gates * hidden, inputs]: one scale for each gate of each unit
    elif node.op_type == "Gather" and position == 0 and rank == 2 and attribute(node, "axis", 0) == 0:
        axis = 0  # a row for each token
    return None if axis is None else Role(str(node.op_type), str(node.name), axis)


def _product_axis(node: NodeProto, position: int, rank: int) -> int | None:
    """The axis of the output's channels; None where there is none to share."""
    if node.op_type == "Conv":
        return 0 if position == 1 else None
    if node.op_type == "ConvTranspose":
        return 1 if position == 1 else None
    if node.op_type == "Gemm":
        flipped = bool(attribute(node, ("transA", "transB")[position], 0))
        return 1 if (position == 1) != flipped else 0
    if rank < 2:
        return None
    return rank - 1 if position == 1 else rank - 2
