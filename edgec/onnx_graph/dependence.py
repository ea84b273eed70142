"""What depends on what, the bodies of If, Loop and Scan included: these read tensors around them without naming them as
inputs of their node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, NodeProto

_OF_SHAPES = frozenset({"Shape", "Size", "ConstantOfShape"})
"""Operators whose results follow from static shapes, whatever the values are that they read."""


def reads(node: NodeProto) -> Iterator[str]:
    """Names that a node reads. A superset: names of tensors inside its bodies are among them."""
    yield from filter(None, node.input)
    yield from captured_names([node])


def captured_names(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Names that bodies of these nodes mention: they may be tensors of the graph that the nodes are in."""
    for node in nodes:
        for item in node.attribute:
            for body in [*([item.g] if item.HasField("g") else []), *item.graphs]:
                for inner in body.node:
                    yield from reads(inner)
                yield from (output.name for output in body.output)


def varying(graph: GraphProto) -> set[str]:
    """The tensors of a graph (of static shapes, in topological order) whose values depend on those of its inputs."""
    constants = {item.name for item in graph.initializer}
    found = {item.name for item in graph.input} - constants
    for node in graph.node:
        if node.op_type not in _OF_SHAPES and not found.isdisjoint(reads(node)):
            found.update(filter(None, node.output))
    return found
