"""Running statistics of all observed tensors, fed with what the probes find on each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.quantization import probes
from edgec.quantization.observers import Observed
from edgec.quantization.probe_layout import Layout
from edgec.quantization.probes import Findings, Group
from edgec.quantization.statistics import BINS, HistogramBank, TensorStatistics, fold

Floats = npt.NDArray[np.float32]


class Accumulators:
    """Sums, extremes and histograms; their size depends on the model only.

    tensors: all measured ones. groups: what the outputs of the probes hold. per_run: see Layout.
    """

    def __init__(self, tensors: Sequence[Observed], groups: Sequence[Group], per_run: int) -> None:
        self._layout = Layout([tensor for tensor in tensors if tensor.shape is not None], per_run)
        self._dynamic = {tensor.name: _DynamicTensor(per_run) for tensor in tensors if tensor.shape is None}
        self._runs = 0
        self._runs_with_means = 0
        self._minimum = np.full(self._layout.channels, np.inf, np.float32)
        self._maximum = np.full(self._layout.channels, -np.inf, np.float32)
        self._mean_places = self._layout.places(groups, probes.MEAN)
        self._mean_sum = np.zeros(len(self._mean_places))
        self._profiles: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
        self._sample_places = self._layout.places(groups, probes.SAMPLE)
        self._selected = self._layout.selection(groups)
        rows = self._layout.rows(self._sample_places[self._selected])
        self._bank = HistogramBank(len(self._layout.tensors), rows)
        self._drawn = np.empty(len(self._selected), np.float32)
        self._use(groups)

    def add(self, findings: Findings) -> str | None:
        """Take in what one run found.

        Returns None; or the name of a tensor that is not finite, after which the statistics must not be used.
        """
        for position, array in findings.loose.items():
            group = self._groups[position]
            if group.kind == probes.PROFILE:
                self._add_profile(group, array)
            elif not self._dynamic[group.pieces[0].tensor].add(array):
                return group.pieces[0].tensor
        self._runs += 1
        vectors = findings.vectors
        if not all(is_finite(vector) for vector in vectors.values()):
            return self._first_not_finite(vectors)
        if probes.MAXIMUM in vectors:
            np.maximum(self._highest, vectors[probes.MAXIMUM], out=self._highest)
        if probes.MINIMUM in vectors:
            np.minimum(self._lowest, vectors[probes.MINIMUM], out=self._lowest)
        if probes.MEAN in vectors:
            self._mean_sum += vectors[probes.MEAN]
        self._runs_with_means += self._has_means
        if probes.SAMPLE in vectors:
            self._bank.add(np.take(vectors[probes.SAMPLE], self._selected, out=self._drawn, mode="clip"))
        return None

    def settled(self) -> dict[str, set[str]]:
        """For minimum and maximum, the tensors that have reached their bound: it can't change any more."""
        self._absorb()
        minimum, maximum = set(), set()
        for name, tensor in self._layout.tensors.items():
            own = self._layout.own(name)
            if tensor.lower_bound is not None and self._minimum[own].min() <= tensor.lower_bound:
                minimum.add(name)
            if tensor.upper_bound is not None and self._maximum[own].max() >= tensor.upper_bound:
                maximum.add(name)
        return {probes.MINIMUM: minimum, probes.MAXIMUM: maximum}

    def continue_with(self, groups: Sequence[Group]) -> None:
        """From here on the outputs hold `groups`: without extremes of settled tensors, maybe without means."""
        self._absorb()
        self._use(groups)

    def statistics(self) -> dict[str, TensorStatistics]:
        """Statistics of every measured tensor."""
        self._absorb()
        mean = self._mean_per_channel()
        counts, widths = self._bank.counts(), self._bank.widths
        result = {name: dynamic.statistics(self._runs) for name, dynamic in self._dynamic.items()}
        for row, (name, tensor) in enumerate(self._layout.tensors.items()):
            own = self._layout.own(name)
            low, high = self._minimum[own], self._maximum[own]
            has_channels = tensor.channel_axis is not None
            axis_means = self._axis_means(name)
            own_mean = None
            if tensor.is_mac_input and has_channels:
                own_mean = axis_means[0].mean(axis=1) if axis_means else mean[own].astype(np.float32)
            result[name] = TensorStatistics(
                minimum=float(low.min()),
                maximum=float(high.max()),
                count=tensor.elements * self._runs,
                steps=self._runs,
                histogram=counts[row].copy(),
                bin_width=float(widths[row]),
                shape=tensor.shape,
                channel_axis=tensor.channel_axis,
                channel_min=low.copy() if has_channels else None,
                channel_max=high.copy() if has_channels else None,
                mean=own_mean,
                axis_means=axis_means,
            )
        return result

    def _use(self, groups: Sequence[Group]) -> None:
        self._groups = tuple(groups)
        self._has_means = any(group.kind in (probes.MEAN, probes.PROFILE) for group in groups)
        self._maximum_places = self._layout.places(groups, probes.MAXIMUM)
        self._minimum_places = self._layout.places(groups, probes.MINIMUM)
        self._highest = np.full(len(self._maximum_places), -np.inf, np.float32)
        self._lowest = np.full(len(self._minimum_places), np.inf, np.float32)

    def _absorb(self) -> None:
        """Bring the extremes that are kept in the layout of the outputs to one value a channel."""
        np.maximum.at(self._maximum, self._maximum_places, self._highest)
        np.minimum.at(self._minimum, self._minimum_places, self._lowest)

    def _add_profile(self, group: Group, array: Floats) -> None:
        key = (group.pieces[0].tensor, group.pieces[0].axis)
        if key not in self._profiles:
            self._profiles[key] = np.zeros(array.shape)
        self._profiles[key] += array

    def _mean_per_channel(self) -> npt.NDArray[np.float64]:
        """0 where there is none."""
        count = np.maximum(np.bincount(self._mean_places, minlength=self._layout.channels), 1)
        sums = np.bincount(self._mean_places, self._mean_sum, self._layout.channels)
        return sums / count / max(1, self._runs_with_means)

    def _axis_means(self, name: str) -> tuple[Floats, ...]:
        found = []
        for axis in sorted(axis for tensor, axis in self._profiles if tensor == name):
            along = self._profiles[name, axis] / self._runs_with_means
            if along.ndim == 4:  # [N, C, extent, 1] or [N, C, 1, extent]
                along = along.mean(axis=0).reshape(along.shape[1], -1)
            found.append(along.astype(np.float32))
        return tuple(found)

    def _first_not_finite(self, vectors: Mapping[str, Floats]) -> str:
        places = {
            probes.SAMPLE: self._sample_places,
            probes.MAXIMUM: self._maximum_places,
            probes.MINIMUM: self._minimum_places,
            probes.MEAN: self._mean_places,
        }
        bad = [places[kind][~np.isfinite(vector)] for kind, vector in vectors.items()]
        return self._layout.tensor_at(int(np.concatenate(bad).min()))


class _DynamicTensor:
    """Statistics of a tensor whose shape is not known before it is there; its values arrive whole."""

    def __init__(self, per_run: int) -> None:
        self._per_run = per_run
        self._minimum, self._maximum = math.inf, -math.inf
        self._count = 0
        self._histogram = np.zeros(BINS, np.int64)
        self._width = 0.0

    def add(self, values: Floats) -> bool:
        """Take in one run; False when a value is not finite."""
        if not values.size:
            return True
        if not is_finite(values):
            return False
        self._minimum = min(self._minimum, float(values.min()))
        self._maximum = max(self._maximum, float(values.max()))
        self._count += values.size
        sample = values[:: probes.flat_step(values.size, self._per_run)]
        bank = HistogramBank(1, np.zeros(len(sample), np.int64))
        bank.add(sample)
        width = max(self._width, float(bank.widths[0]))
        mine = fold(self._histogram, round(math.log2(width / (self._width or width))))
        self._histogram = mine + fold(bank.counts()[0], round(math.log2(width / bank.widths[0])))
        self._width = width
        return True

    def statistics(self, runs: int) -> TensorStatistics:
        """The statistics; those of a tensor that was always empty say that it is 0."""
        empty = self._count == 0
        return TensorStatistics(
            minimum=0.0 if empty else self._minimum,
            maximum=0.0 if empty else self._maximum,
            count=self._count,
            steps=runs,
            histogram=self._histogram,
            bin_width=self._width or 1.0,
        )


def is_finite(values: npt.NDArray[Any]) -> bool:
    """Whether all values are finite (integers are); a sum tells nearly always, and costs least."""
    if values.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())
