"""Names for what a rewrite adds to a graph: after what they belong to, never one that is taken."""

from __future__ import annotations

from edgec.onnx_graph.graph import Graph


class Names:
    """All tensor and node names of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._taken = {*graph.inputs, *graph.outputs, *graph.initializers}
        for node in graph.nodes:
            self._taken.update((node.name, *node.input, *node.output))

    def fresh(self, wanted: str) -> str:
        """`wanted`, or with the first number that makes it new. Taken from then on."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name
