"""From statistics to scales: one range for every group of tied tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgec.errors import InternalError
from edgec.onnx_graph.graph import Graph
from edgec.quantization.exact_steps import with_exact_steps
from edgec.quantization.placement import Placement, Slot
from edgec.quantization.qparams import QParams, affine, symmetric16
from edgec.quantization.ranges import Method, choose_range
from edgec.quantization.rules import Kind
from edgec.quantization.statistics import TensorStatistics, merged
from edgec.quantization.useful_range import Interval, useful_range

UNLIKE = 10.0
"""Ratio of ranges from which a shared scale is worth a warning: the narrow tensor is left with 25 of 256 steps."""

HUGE = 1e30
"""A padding value beyond this stands for infinity: it saturates at the end of the range instead of widening it."""


@dataclass(frozen=True)
class Scales:
    """slots: parameters of every quantized value. clipped: tensors whose range was cut where readers saturate."""

    slots: dict[Slot, QParams]
    clipped: tuple[str, ...]


def choose_scales(
    graph: Graph,
    placement: Placement,
    statistics: Mapping[str, TensorStatistics],
    method: Method,
    *,
    clip: bool = True,
    methods: Mapping[str, Method] | None = None,
    int16: Collection[str] = (),
) -> Scales:
    """Scales for all slots of a placement.

    method: how a range is taken from a histogram. clip: leave out what every reader saturates on.
    methods: other methods for single tensors. int16: tensors with 16 bits. Either holds for all that share the scale;
        a scale that a kernel prescribes stays.
    """
    methods = methods or {}
    slots: dict[Slot, QParams] = {}
    clipped: list[str] = []
    constants = _constants_on(graph, placement)
    for root, members in placement.groups().items():
        params = placement.fixed.get(root)
        if params is None:
            sources = sources_of(graph, placement, members)
            tensors = dict.fromkeys(placement.slots[slot] for slot in [*sources, *members])
            own = next((methods[tensor] for tensor in tensors if tensor in methods), method)
            low, high, cut = _range(graph, placement, statistics, sources, own, clip)
            for value in constants.get(root, []):
                low, high = min(low, float(value.min())), max(high, float(value.max()))
            params = symmetric16(low, high) if any(tensor in int16 for tensor in tensors) else affine(low, high)
            if cut:
                clipped += [placement.slots[slot] for slot in sources]
        slots.update((slot, params) for slot in members)
    slots = with_exact_steps(graph, placement, slots, partial(sources_of, graph, placement))
    return Scales({slot: slots[slot] for slot in placement.slots}, tuple(clipped))


def sources_of(graph: Graph, placement: Placement, members: list[Slot]) -> list[Slot]:
    """The members that bring values into a tied group; the others hold only what comes from these."""

    def derived(slot: Slot) -> bool:
        producer = graph.producer.get(placement.slots[slot])
        kernel = placement.kernels.get(producer.name) if producer is not None else None
        return kernel is not None and kernel.rule.kind is Kind.TIED and slot == placement.slots[slot]

    return [slot for slot in members if not derived(slot)]


def _range(
    graph: Graph,
    placement: Placement,
    statistics: Mapping[str, TensorStatistics],
    sources: list[Slot],
    method: Method,
    clip: bool,
) -> tuple[float, float, bool]:
    """The range of a group, and whether clipping made it narrower than the data."""
    if not sources:
        return 0.0, 0.0, False
    known = {slot: _of(statistics, placement.slots[slot]) for slot in sources}
    whole = merged(list(known.values()))
    useful = _hull([useful_range(graph, placement, slot, known[slot]) for slot in sources]) if clip else None
    low, high = choose_range(whole, method, useful)
    cut = useful is not None and (whole.minimum < useful[0] or whole.maximum > useful[1])
    return low, high, cut


def _hull(intervals: list[Interval | None]) -> Interval | None:
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(intervals):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _of(statistics: Mapping[str, TensorStatistics], tensor: str) -> TensorStatistics:
    if tensor not in statistics:
        raise InternalError(
            f"There are no statistics of tensor {tensor!r}",
            "Calibration did not see a tensor that quantization needs the range of.",
            "Please report it with the model. --keep-float with the node that makes it is a way around.",
        )
    return statistics[tensor]


def _constants_on(graph: Graph, placement: Placement) -> dict[Slot, list[np.ndarray]]:
    """Constants that must fit into the range of a group, by the group's root: operands, and values to pad with."""
    found: dict[Slot, list[np.ndarray]] = {}
    for (name, i), grid in placement.constants.items():
        if grid is not None and grid in placement.slots:
            value = graph.constant(placement.kernels[name].anchor.input[i])
            if value is not None and value.size:
                found.setdefault(placement.ties.root(grid), []).append(value)
    for kernel in placement.kernels.values():
        node = kernel.anchor
        if node.op_type == "Pad" and len(node.input) > 2 and node.input[2] and node.output[0] in placement.slots:
            value = graph.constant(node.input[2])
            if value is not None and np.isfinite(value).all() and np.abs(value).max() < HUGE:
                found.setdefault(placement.ties.root(node.output[0]), []).append(value)
    return found


def unlike_ranges(
    graph: Graph, placement: Placement, statistics: Mapping[str, TensorStatistics]
) -> list[tuple[str, str, str, float]]:
    """Concats that force one scale on unlike tensors: (node, widest input, narrowest input, ratio of widths)."""
    found = []
    for kernel in placement.kernels.values():
        if kernel.anchor.op_type != "Concat":
            continue
        names = [n for n in kernel.anchor.input if n in statistics and statistics[n].maximum > statistics[n].minimum]
        widths = {name: statistics[name].maximum - statistics[name].minimum for name in names}
        if len(widths) > 1:
            wide, narrow = max(widths, key=lambda n: widths[n]), min(widths, key=lambda n: widths[n])
            if widths[wide] > UNLIKE * widths[narrow]:
                found.append((kernel.name, wide, narrow, widths[wide] / widths[narrow]))
    return found
