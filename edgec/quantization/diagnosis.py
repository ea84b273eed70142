"""Why a layer suffers from INT8, in words: the likely cause, from the graph and the statistics."""

from __future__ import annotations

import numpy as np

from edgec.onnx_graph.graph import Graph
from edgec.quantization.placement import Kernel
from edgec.quantization.rules import Kind
from edgec.quantization.search import Workshop
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.weights import channel_axis, weight_operand

OUTLIER = 15.0
"""One channel this many times wider than the median leaves the others with 17 of 256 steps."""

NEAR_DEAD = 1e-4
MASK = -1e3
FEW_STEPS = 24
LITTLE_DATA = 5000
SPARSE = 30.0


def likely_cause(workshop: Workshop, kernel: Kernel) -> str:
    """One sentence about the most telling property of a kernel's tensors."""
    graph, statistics = workshop.graph, workshop.statistics
    names = [kernel.anchor.input[i] for i in kernel.rule.inputs(kernel.anchor)] + kernel.outputs
    known = [(name, statistics[name]) for name in names if name in statistics]
    causes = [
        _normalization(graph, kernel),
        _mask(known),
        _concat(graph, workshop, kernel),
        _outlier_channel(known),
        _long_tail(known),
        _near_dead_channels(graph, kernel),
        _little_data(known),
    ]
    return next((cause for cause in causes if cause is not None), "no single property of its tensors stands out")


def _normalization(graph: Graph, kernel: Kernel) -> str | None:
    """Squares of activations span twice the decades that the activations do."""
    node = kernel.anchor
    if node.op_type == "Mul" and node.input[0] == node.input[1]:
        return "it squares its input, as in a decomposed LayerNorm: variances do not fit into 256 even steps"
    if node.op_type == "ReduceMean":
        source = graph.producer.get(node.input[0])
        squared = source is not None and (
            source.op_type == "Pow" or (source.op_type == "Mul" and source.input[0] == source.input[1])
        )
        if squared:
            return "it takes a mean of squares, as in a decomposed LayerNorm: variances do not fit into 256 even steps"
    return None


def _mask(known: list[tuple[str, TensorStatistics]]) -> str | None:
    for name, item in known:
        if item.minimum < MASK and item.maximum < -item.minimum / 10:
            return (
                f"a mask constant ({item.minimum:.3g}) shares the tensor {name!r} with values of ordinary size, and "
                "leaves them a step or two"
            )
    return None


def _concat(graph: Graph, workshop: Workshop, kernel: Kernel) -> str | None:
    names = {*kernel.outputs, *kernel.anchor.input}
    for reader in (node for name in names for node in graph.consumers.get(name, []) if node.op_type == "Concat"):
        widths = {n: s.maximum - s.minimum for n in reader.input if (s := workshop.statistics.get(n)) is not None}
        if len(widths) > 1 and max(widths.values()) > 10 * min(widths.values()):
            return f"the Concat {reader.name!r} forces one scale on inputs of unlike ranges"
    return None


def _outlier_channel(known: list[tuple[str, TensorStatistics]]) -> str | None:
    worst: tuple[float, int, str] | None = None
    for name, item in known:
        if item.channel_min is None or item.channel_max is None or len(item.channel_max) < 4:
            continue
        widths = np.maximum(np.abs(item.channel_min), np.abs(item.channel_max))
        ratio = float(widths.max() / max(float(np.median(widths)), 1e-12))
        if ratio > OUTLIER and (worst is None or ratio > worst[0]):
            worst = ratio, int(widths.argmax()), name
    if worst is None:
        return None
    return f"channel {worst[1]} of {worst[2]!r} reaches {_times(worst[0])} the range of the median channel"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio < 1000 else "more than 1000 times"


def _long_tail(known: list[tuple[str, TensorStatistics]]) -> str | None:
    for name, item in known:
        total = int(item.histogram.sum())
        if total == 0:
            continue
        spread = float(np.sqrt((item.histogram * item.bin_centers() ** 2).sum() / total))
        peak = max(abs(item.minimum), abs(item.maximum))
        if spread > 0 and peak > SPARSE * spread:
            return f"a few values of {name!r} reach {peak / spread:.0f} times its standard deviation"
    return None


def _near_dead_channels(graph: Graph, kernel: Kernel) -> str | None:
    if kernel.rule.kind is not Kind.MAC or (operand := weight_operand(graph, kernel)) is None:
        return None
    weights, axis = graph.constant(kernel.anchor.input[operand]), channel_axis(graph, kernel)
    if weights is None or axis is None:
        return None
    largest = np.abs(weights).max(axis=tuple(i for i in range(weights.ndim) if i != axis))
    dead = int((largest < NEAR_DEAD * largest.max(initial=0.0)).sum())
    return f"{dead} of {len(largest)} output channels have next to no weights" if dead else None


def _little_data(known: list[tuple[str, TensorStatistics]]) -> str | None:
    for name, item in known:
        if item.steps < FEW_STEPS and item.count < LITTLE_DATA:
            return f"its range was taken from {item.count} values of {name!r} only: more calibration data may help"
    return None
