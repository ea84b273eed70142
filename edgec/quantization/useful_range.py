"""Where every reader of a tensor saturates, its range may be clipped for free.

A HardSwish gives 0 for everything below -3. Steps spent on [-100, -3] are steps that [-3, 6] does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from onnx import NodeProto

from edgec.onnx_graph.graph import Graph, attribute
from edgec.quantization.placement import Placement, Slot
from edgec.quantization.rules import rule_for

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


def useful_range(graph: Graph, placement: Placement, slot: Slot) -> Interval | None:
    """The interval beyond which no reader of a quantized value tells values apart; None when there is no such limit.

    Looks through nodes that move values. Values that leave the graph, or go into the body of an If or Loop, are read
    by someone unknown.
    """
    found: list[Interval] = []
    pending, seen = [placement.slots[slot]], set[str]()
    readers_of_slot = {edge for edge, read in placement.reads.items() if read == slot}
    first = True
    while pending:
        tensor = pending.pop()
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
                pending += [name for name in node.output if name]
                continue
            interval = _saturation(graph, tensor, node)
            if interval is None:
                return None
            found.append(interval)
        first = False
    if not found:
        return None
    low, high = min(a for a, _ in found), max(b for _, b in found)
    return None if (low, high) == EVERYTHING else (low, high)


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
