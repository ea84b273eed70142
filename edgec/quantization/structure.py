"""The quantized form of a model without calibration: right in its operations and types, not in its scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import onnx

from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.placement import Placement, place
from edgec.quantization.scales import choose_scales
from edgec.quantization.statistics import BINS, TensorStatistics
from edgec.quantization.weights import WeightGrid

_NEVER_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Sqrt"})
_KEEP_SIGNS = frozenset(
    {
        *("Add", "AveragePool", "Concat", "Flatten", "Gather", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Mul"),
        *("Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""Operators whose results are not negative where none of their operands is. Resize: not with cubic interpolation."""


@dataclasses.dataclass(frozen=True)
class Structure:
    """The quantized model, and the nodes that stay in float with the reason for each."""

    model: onnx.ModelProto
    float_nodes: Mapping[str, str]


def strict_structure(model: onnx.ModelProto, per_tensor: Collection[str] = ()) -> Structure:
    """`model` in INT8, profile strict, with ranges of [-1, 1]; [0, 1] where no value can be negative.

    The sign matters to the structure: integers that stand for nothing negative can be padded with zeros for a maximum.

    per_tensor: operators whose weights get one scale.
    """
    graph = Graph(model)
    placement = place(graph, "strict")
    scales = choose_scales(graph, placement, _statistics(graph, placement), "minmax", clip=False)
    grid = WeightGrid(per_tensor=frozenset(per_tensor))
    return Structure(emit(graph, placement, scales.slots, grid=grid).model, dict(placement.float_nodes))


def _statistics(graph: Graph, placement: Placement) -> dict[str, TensorStatistics]:
    positive = never_negative(graph)
    histogram = np.zeros(BINS, np.int64)
    histogram[BINS // 2] = 1
    return {
        tensor: TensorStatistics(0.0 if tensor in positive else -1.0, 1.0, 1, 1, histogram, 2.0 / BINS)
        for tensor in placement.slots.values()
    }


def never_negative(graph: Graph) -> set[str]:
    """Tensors none of whose values can be negative, as far as signs alone tell."""
    found: set[str] = set()
    for node in graph.nodes:
        if (
            node.op_type in _NEVER_NEGATIVE
            or (node.op_type == "Clip" and _at_least_zero(graph, node.input[1:2]))
            or (
                node.op_type in _KEEP_SIGNS
                and all(name in found or _at_least_zero(graph, [name]) for name in _data(node))
                and not (node.op_type == "Resize" and _mode(node) == "cubic")
            )
        ):
            found.update(node.output)
    return found


def _data(node: onnx.NodeProto) -> list[str]:
    """The operands that values come from, not those that are shapes, axes or indices."""
    if node.op_type in ("Add", "Concat", "Mul"):
        return list(node.input)
    return list(node.input[:1])


def _at_least_zero(graph: Graph, names: Collection[str]) -> bool:
    constants = [graph.constant(name) for name in names if name]
    return bool(constants) and all(value is not None and bool((value >= 0).all()) for value in constants)


def _mode(node: onnx.NodeProto) -> str:
    return next((item.s.decode() for item in node.attribute if item.name == "mode"), "nearest")
