"""Measuring every layer: both models on the same samples, layer by layer.

Of a tensor whose readers saturate, only what they tell apart is measured: a range that was cut there costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgec.contract import Contract
from edgec.diagnosis.causes import Parts
from edgec.diagnosis.layers import Layer, Twins, channel_axis
from edgec.diagnosis.meters import ErrorMeter, RangeMeter, histogram
from edgec.diagnosis.useful import as_read
from edgec.diagnosis.walk import Step, Values, Walker
from edgec.parity.channels import decibels
from edgec.parity.metrics import Comparer, OutputComparison
from edgec.samples import Sample

BINS = 96


@dataclass
class LayerFigures:
    """What was measured of one layer; `isolated` is None where the twin rounds nothing.

    alone_db: what is left of the model's outputs when this layer alone is quantized; None when it was not tried.
    output_range: of what the layer hands on. parts: only for layers that were looked at closely.
    """

    layer: Layer
    accumulated: ErrorMeter
    isolated: ErrorMeter | None
    output_range: RangeMeter
    alone_db: float | None = None
    parts: Parts = field(default_factory=Parts)


@dataclass(frozen=True)
class Measured:
    """Figures by the index of the layer, ranges of all tensors that are rounded, and how the outputs compare."""

    figures: dict[int, LayerFigures]
    ranges: dict[str, RangeMeter]
    outputs: list[OutputComparison]


def measure(
    walker: Walker,
    samples: Iterable[Sample],
    contract: Contract,
    state: Mapping[str, str],
    on_run: Callable[[], None] = lambda: None,
) -> Measured:
    """Accumulated and isolated error of every layer, and the use that the data makes of every grid."""
    figures: dict[int, LayerFigures] = {}
    ranges: dict[str, RangeMeter] = {}
    outputs = Comparer(state=state)
    for sample in samples:
        floats, twin = _zeros(contract, state), _zeros(contract, state)
        for feeds in sample.steps:
            before, after = {}, {}
            for name, value in feeds.items():
                _count_input(walker.twins, ranges, name, value)
            for step in walker.steps({**floats, **feeds}, {**twin, **feeds}):
                _count(walker, figures, ranges, step)
                before.update({n: v for n, v in step.floats.items() if n in walker.twins.floats.outputs})
                after.update({n: v for n, v in step.accumulated.items() if n in walker.twins.floats.outputs})
            outputs.add({n: before[n] for n in walker.twins.floats.outputs if n in before}, after)
            floats = {into: before[source] for source, into in state.items()}
            twin = {into: after[source] for source, into in state.items()}
            on_run()
    return Measured(figures, ranges, outputs.result())


def _zeros(contract: Contract, state: Mapping[str, str]) -> Values:
    return {name: np.zeros(contract.input(name).shape, contract.input(name).dtype) for name in state.values()}


def _count_input(twins: Twins, ranges: dict[str, RangeMeter], name: str, value: np.ndarray) -> None:
    if value.dtype != np.float32:
        return
    if name not in ranges:
        grid = next((layer.grids[name] for layer in twins.readers.get(name, ()) if name in layer.grids), None)
        ranges[name] = RangeMeter(grid, 1 if value.ndim == 4 else None)
    ranges[name].add(value)


def _count(walker: Walker, figures: dict[int, LayerFigures], ranges: dict[str, RangeMeter], step: Step) -> None:
    layer, twins = step.layer, walker.twins
    name = next((name for name, value in step.floats.items() if value.dtype == np.float32), None)
    if name is None or not step.floats[name].size:
        return
    value = as_read(step.floats[name], name, walker.useful)
    if layer.index not in figures:
        axis = channel_axis(layer, value.shape)
        grid = layer.output_grids.get(name)
        if grid is None:
            grid = next((reader.grids[name] for reader in twins.readers.get(name, ()) if name in reader.grids), None)
        ranges[name] = RangeMeter(grid, axis)
        isolated = ErrorMeter(axis) if step.isolated is not None else None
        figures[layer.index] = LayerFigures(layer, ErrorMeter(axis), isolated, ranges[name])
    found = figures[layer.index]
    found.output_range.add(value)
    found.accumulated.add(value, as_read(step.accumulated[name], name, walker.useful))
    if found.isolated is not None and step.isolated is not None:
        found.isolated.add(value, as_read(step.isolated[name], name, walker.useful))


class OutputError:
    """How far the model's outputs are off when some of its layers are quantized, on a few first steps.

    Raises ValueError when there is not one step.
    """

    def __init__(
        self, walker: Walker, samples: Sequence[Sample], contract: Contract, state: Mapping[str, str], most: int
    ) -> None:
        self._walker = walker
        self._feeds: list[Values] = []
        self._expected: list[Values] = []
        for sample in samples[:most]:
            carried = _zeros(contract, state)
            for step in sample.steps[:most]:
                feeds = {**carried, **step}
                expected = walker.outputs(feeds, ())
                self._feeds.append(feeds)
                self._expected.append(expected)
                carried = {into: expected[source] for source, into in state.items()}
        if not self._feeds:
            raise ValueError("no samples")
        self._feeds, self._expected = self._feeds[: 2 * most], self._expected[: 2 * most]

    def db(self, indices: Iterable[int]) -> float:
        """SQNR of the worst output in dB with these layers quantized (states count when there is nothing else)."""
        chosen = frozenset(indices)
        meters: dict[str, ErrorMeter] = {}
        changed: dict[str, list[float]] = {}
        for feeds, expected in zip(self._feeds, self._expected, strict=True):
            actual = self._walker.outputs(feeds, chosen)
            for name, value in expected.items():
                if value.dtype.kind == "f":
                    meters.setdefault(name, ErrorMeter(None)).add(value, actual[name])
                else:
                    changed.setdefault(name, []).append(float((value != actual[name]).mean()))
        if meters:
            return min(meter.overall_db for meter in meters.values())
        return min((decibels(1.0, float(np.mean(shares))) for shares in changed.values()), default=decibels(1.0, 0.0))


@dataclass
class CloseLook:
    """A second look at few layers: which part of each costs what, and histograms of what they hand on."""

    walker: Walker
    figures: Mapping[int, LayerFigures]
    histograms: dict[str, np.ndarray] = field(default_factory=dict)

    def take(
        self,
        samples: Sequence[Sample],
        contract: Contract,
        state: Mapping[str, str],
        indices: Sequence[int],
        on_run: Callable[[], None] = lambda: None,
    ) -> None:
        """Fill in `parts` of the layers with these indices."""
        meters: dict[tuple[int, str], ErrorMeter] = {}
        for sample in samples:
            carried = _zeros(contract, state)
            for feeds in sample.steps[: len(samples)]:
                values = {**carried, **feeds}
                for step in self.walker.steps(values, values):
                    carried.update({i: step.floats[o] for o, i in state.items() if o in step.floats})
                    if step.layer.index in indices:
                        self._look(step, meters)
                on_run()
        for index in indices:
            known = {
                kind: meters[index, kind].db
                for kind in ("weights_db", "inputs_db", "output_db")
                if (index, kind) in meters
            }
            self.figures[index].parts = Parts(**known)

    def _look(self, step: Step, meters: dict[tuple[int, str], ErrorMeter]) -> None:
        layer, figures = step.layer, self.figures[step.layer.index]
        name = next(name for name, value in step.floats.items() if value.dtype == np.float32)
        value = as_read(step.floats[name], name, self.walker.useful)
        made: dict[str, np.ndarray] = {}
        if layer.grids:
            rounded = {n: layer.grids[n].rounded(v) if n in layer.grids else v for n, v in step.reads.items()}
            made["inputs_db"] = self.walker.floats(layer, rounded)[name]
        if name in layer.output_grids:
            made["output_db"] = layer.output_grids[name].rounded(value)
        if has_integer_constants(layer, self.walker.twins):
            made["weights_db"] = self.walker.with_rounded_constants(layer, step.reads)[name]
        for kind, candidate in made.items():
            meters.setdefault((layer.index, kind), ErrorMeter(figures.accumulated.axis)).add(
                value, as_read(candidate, name, self.walker.useful)
            )
        seen = figures.output_range
        if np.isfinite([seen.low, seen.high]).all() and seen.high > seen.low:
            low, high = span(seen)
            counts = histogram(value, low, high, BINS)
            self.histograms[name] = self.histograms.get(name, np.zeros(BINS, np.int64)) + counts


def span(seen: RangeMeter) -> tuple[float, float]:
    """The part of the axis that a histogram shows: the values and the grid."""
    if seen.grid is None:
        return seen.low, seen.high
    return min(seen.low, seen.grid.low), max(seen.high, seen.grid.high)


def has_integer_constants(layer: Layer, twins: Twins) -> bool:
    """Whether the twin holds a constant of this layer as integers."""
    return any(
        node.op_type == "DequantizeLinear" and node.input[0] in twins.quantized.initializers for node in layer.twin
    )
