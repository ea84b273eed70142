"""Arithmetic with a constant that needs no rounding of its own.

x + b is made of the same integers as x when b is a whole number of steps: only the zero point moves. x * c with c > 0
is made of the same integers whatever c is: the step grows by c. So the result of such a node gets the grid of its
input, moved or stretched, and each value is rounded once instead of twice. This is for profile strict; in islands,
arithmetic is in float anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgec.onnx_graph.graph import Graph
from edgec.quantization.placement import Kernel, Placement, Slot
from edgec.quantization.qparams import SMALLEST_SCALE, QParams

COARSER = 1.3
"""How much coarser a grid may become for a constant to be a whole number of its steps. At the square root of 2, one
rounding on it would be as bad as two on the grids as they were."""


@dataclass(frozen=True)
class Shift:
    """A node that adds `by` to, or multiplies by `times`, what `source` holds, and whose result `result` holds."""

    source: Slot
    result: Slot
    by: float = 0.0
    times: float = 1.0


def shifts(graph: Graph, placement: Placement, sources: Callable[[list[Slot]], list[Slot]]) -> list[Shift]:
    """Additions of one number and multiplications by one positive number, whose result may take over the grid of their
    input: nothing else brings values into what shares a scale with it. In the graph's order.

    sources: the members of a tied group that bring values in.
    """
    groups = placement.groups()
    found = []
    for kernel in placement.kernels.values():
        shift = _shift(graph, placement, kernel)
        if shift is None:
            continue
        source, result = placement.ties.root(shift.source), placement.ties.root(shift.result)
        if source != result and result not in placement.fixed and sources(groups[result]) == [shift.result]:
            found.append(shift)
    return found


def _shift(graph: Graph, placement: Placement, kernel: Kernel) -> Shift | None:
    node = kernel.anchor
    if placement.profile != "strict" or node.op_type not in ("Add", "Sub", "Mul") or kernel.activation is not None:
        return None
    for at in (0, 1):
        constant = graph.constant(node.input[1 - at])
        source = placement.reads.get((node.name, at))
        if constant is None or constant.size != 1 or source is None or kernel.outputs[0] not in placement.slots:
            continue
        value = float(constant.item())
        if node.op_type == "Mul":
            return Shift(source, kernel.outputs[0], times=value) if value > 0 else None
        if node.op_type == "Add" or at == 0:  # b - x turns its integers around
            return Shift(source, kernel.outputs[0], by=value if node.op_type == "Add" else -value)
    return None


def joined(shift: Shift, source: QParams, result: QParams, alone: bool) -> tuple[QParams, QParams] | None:
    """The grids of a shift's source and result, of the same integers; None where the source's would get too coarse.

    source, result: the grids that each would have by itself. alone: nobody but this node reads the source, so that it
    need not hold more than the result does.
    """
    if source.bits != 8 or result.bits != 8:
        return None
    wanted = (result.low - shift.by) / shift.times, (result.high - shift.by) / shift.times
    low, high = wanted if alone else (source.low, source.high)
    low, high = min(low, 0.0, -shift.by), max(high, 0.0, -shift.by)  # both grids hold their zero
    step = max((high - low) / 255, SMALLEST_SCALE)
    count = 0
    if shift.by:
        count = int(abs(shift.by) / step)
        if count == 0 or abs(shift.by) / count > COARSER * max(step, SMALLEST_SCALE):
            return None
        step = abs(shift.by) / count
    step = float(np.float32(step))
    zero = int(np.clip(np.rint(-128 - low / step), -128, 127))
    moved = zero - count if shift.by > 0 else zero + count
    if not -128 <= moved <= 127:
        return None
    return QParams(step, zero), QParams(float(np.float32(step * shift.times)), moved)


def with_exact_steps(
    graph: Graph,
    placement: Placement,
    slots: Mapping[Slot, QParams],
    sources: Callable[[list[Slot]], list[Slot]],
) -> dict[Slot, QParams]:
    """Scales in which every shift that can be is exact.

    The source of a shift may be the result of the one before: chains are gone through in the graph's order, and a grid
    that was joined is not changed again.
    """
    changed = dict(slots)
    groups = placement.groups()
    settled: set[Slot] = set()
    for shift in shifts(graph, placement, sources):
        source, result = placement.ties.root(shift.source), placement.ties.root(shift.result)
        if source in settled or source in placement.fixed:
            moved = _following(shift, changed[shift.source])
            grids = None if moved is None else (changed[shift.source], moved)
        else:
            readers = [edge for edge, slot in placement.reads.items() if placement.ties.root(slot) == source]
            grids = joined(shift, changed[shift.source], changed[shift.result], alone=len(readers) == 1)
        if grids is None:
            continue
        for root, params in zip((source, result), grids, strict=True):
            changed.update(dict.fromkeys(groups[root], params))
            settled.add(root)
    return changed


def _following(shift: Shift, source: QParams) -> QParams | None:
    """The grid of a result whose source can't change: that of the same integers, if the constant allows it."""
    steps = shift.by / source.scale
    if abs(steps - round(steps)) > 1e-3:
        return None
    moved = source.zero_point - round(steps)
    if not -128 <= moved <= 127:
        return None
    return QParams(float(np.float32(source.scale * shift.times)), moved)
