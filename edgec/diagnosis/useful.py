"""What of a tensor's values its readers tell apart: a HardSwish gives 0 for all below -3, so nothing is lost there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgec.onnx_graph.dependence import captured_names
from edgec.onnx_graph.graph import Graph
from edgec.quantization.placement import Placement
from edgec.quantization.useful_range import Interval, useful_range


def useful_intervals(graph: Graph) -> dict[str, Interval]:
    """The interval beyond which no reader tells values apart, for every tensor that has one."""
    exposed = frozenset({*graph.outputs, *captured_names(graph.nodes)})
    found = {}
    for tensor, readers in graph.consumers.items():
        if not graph.is_float(tensor) or tensor in graph.initializers:
            continue
        edges = [(node.name, i) for node in readers for i, name in enumerate(node.input) if name == tensor]
        placement = Placement(
            "strict", slots={tensor: tensor}, exposed=exposed, reads=dict.fromkeys(edges, tensor), integer={tensor}
        )
        if (interval := useful_range(graph, placement, tensor)) is not None:
            found[tensor] = interval
    return found


def as_read(value: np.ndarray, tensor: str, intervals: Mapping[str, Interval]) -> np.ndarray:
    """A tensor's values as far as they matter to its readers."""
    return np.clip(value, *intervals[tensor]) if tensor in intervals else value
