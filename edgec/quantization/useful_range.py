"""Where every reader of a tensor saturates, its range may be clipped for free.

A HardSwish gives 0 for everything below -3. Steps spent on [-100, -3] are steps that [-3, 6] does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.placement import Placement, Slot
from edgec.quantization.rules import rule_for
from edgec.quantization.statistics import TensorStatistics

Interval = tuple[float, float]
"""Outside of it the reader's output does not change, to within half a step of an int8 output."""

EVERYTHING: Interval = (-math.inf, math.inf)


def _clip(graph: Graph, node: NodeProto) -> Interval:
    limits = [graph.constant(name) if name else None for name in node.input[1:3]]
    if any(name and limit is None for name, limit in zip(node.input[1:3], limits, strict=True)):
        return EVERYTHING
    low, high = [*limits, None, None][:2]
    return (-math.inf if low is None else float(low.item()), math.inf if high is None else float(high.item()))


def _hard_sigmoid(_: Graph, node: NodeProto) -> Interval:
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else EVERYTHING


_SATURATES: dict[str, Callable[[Graph, NodeProto], Interval]] = {
    "Relu": lambda *_: (0.0, math.inf),
    "Clip": _clip,
    "HardSwish": lambda *_: (-3.0, math.inf),
    "HardSigmoid": _hard_sigmoid,
    "Sigmoid": lambda *_: (-7.0, 7.0),  # sigmoid(-7) = 0.0009, half a step is 0.0020
    "Tanh": lambda *_: (-4.0, 4.0),  # 1 - tanh(4) = 0.0007, half a step is 0.0039
    "Gelu": lambda *_: (-3.5, math.inf),  # gelu(-3.5) = -0.0008
}

_GATE_FLOOR: dict[str, Callable[[Graph, NodeProto], float]] = {
    "Sigmoid": lambda *_: -9.0,  # x * sigmoid(x) at -9 is -0.0011
    "HardSigmoid": lambda graph, node: _hard_sigmoid(graph, node)[0],
}
"""x * gate(x) vanishes below this; SiLU and a HardSwish in two nodes are written so."""


@dataclass(frozen=True)
class _Factors:
    """What a float Mul multiplies the channels of a tensor by: float64 [C], all above 0; or [1], one for all, which any
    axis has."""

    axis: int = 0
    values: npt.NDArray[np.float64] = field(default_factory=lambda: np.ones(1))


def useful_range(
    graph: Graph, placement: Placement, slot: Slot, statistics: TensorStatistics | None = None
) -> Interval | None:
    """The interval beyond which no reader of a quantized value tells values apart; None when there is no such limit.

    Looks through nodes that move values, and through a Mul by constants. Values that leave the graph, or go into the
    body of an If or Loop, are read by someone unknown.

    statistics: of the tensor. Where its channels are multiplied by factors, each has an interval of its own, which
        counts as far as the channel reaches: one that stays within (-0.1, 0.1) needs no room down to -3.
    """
    found: list[tuple[Interval, _Factors]] = []
    pending, seen = [(placement.slots[slot], _Factors())], set[str]()
    readers_of_slot = {edge for edge, read in placement.reads.items() if read == slot}
    first = True
    while pending:
        tensor, factors = pending.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor in placement.exposed and (not first or tensor in placement.integer):
            return None
        for node in graph.consumers.get(tensor, []):
            positions = [i for i, name in enumerate(node.input) if name == tensor]
            if first and not any((node.name, i) in readers_of_slot for i in positions):
                continue  # reads the float value
            rule = rule_for(node)
            if rule is not None and rule.moves and node.op_type not in ("Max", "Min", "ReduceMin"):
                pending += [(name, factors) for name in node.output if name]
                continue
            if first and node.name not in placement.kernels and (by := _multiplied(graph, tensor, node)) is not None:
                pending.append((node.output[0], by))
                continue
            interval = _saturation(graph, tensor, node)
            if interval is None:
                return None
            found.append((interval, factors))
        first = False
    if not found:
        return None
    low, high = zip(*(_undone(interval, factors, statistics) for interval, factors in found), strict=True)
    return None if (min(low), max(high)) == EVERYTHING else (min(low), max(high))


def _multiplied(graph: Graph, tensor: str, node: NodeProto) -> _Factors | None:
    """The constants that a node multiplies the channels of a tensor by; None where it does anything else."""
    if node.op_type != "Mul" or node.domain not in ("", "ai.onnx") or tensor not in node.input:
        return None
    by = graph.constant(node.input[1] if node.input[0] == tensor else node.input[0])
    shape = graph.shape(tensor)
    if by is None or shape is None or by.ndim > len(shape) or not ((by > 0) & np.isfinite(by)).all():
        return None
    axes = [len(shape) - by.ndim + i for i, size in enumerate(by.shape) if size > 1]
    if len(axes) > 1 or any(shape[axis] != by.size for axis in axes):
        return None
    return _Factors(axes[0] if axes else 0, by.astype(np.float64).reshape(-1))


def _undone(interval: Interval, factors: _Factors, statistics: TensorStatistics | None) -> Interval:
    """An interval of values that were multiplied by factors, as one of the values before."""
    low, high = (limit / factors.values for limit in interval)
    of_channels = statistics is not None and len(low) > 1 and statistics.channel_axis == factors.axis
    if of_channels and statistics is not None and statistics.channel_min is not None:
        assert statistics.channel_max is not None
        low, high = (
            low if math.isinf(interval[0]) else np.clip(statistics.channel_min, low, high),
            high if math.isinf(interval[1]) else np.clip(statistics.channel_max, low, high),
        )
    return float(low.min()), float(high.max())


def _saturation(graph: Graph, tensor: str, node: NodeProto) -> Interval | None:
    """Outside which interval of its input `tensor` a node's output is constant; None when it is not."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _SATURATES:
        interval = _SATURATES[node.op_type](graph, node)
        return None if interval == EVERYTHING or list(node.input).count(tensor) > 1 else interval
    if node.op_type == "Mul" and len(node.input) == 2 and tensor in node.input:
        gate = graph.producer.get(node.input[1] if node.input[0] == tensor else node.input[0])
        if gate is not None and gate.op_type in _GATE_FLOOR and gate.input[0] == tensor:
            return (_GATE_FLOOR[gate.op_type](graph, gate), math.inf)
    return None
