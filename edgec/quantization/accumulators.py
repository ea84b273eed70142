"""Running statistics of all observed tensors, fed with what the probes find on each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgec.quantization import probes
from edgec.quantization.observers import Observed
from edgec.quantization.probe_layout import Layout
from edgec.quantization.probes import Findings, Group
from edgec.quantization.statistics import BINS, HistogramBank, TensorStatistics, fold

Floats = npt.NDArray[np.float32]

_PARTIAL_RUNS = 16  # runs that are summed in single precision, which is four times as fast


class Accumulators:
    """Sums, extremes and histograms; their size depends on the model only.

    tensors: all measured ones. groups: what the outputs of the probes hold. per_run: see Layout.
    """

    def __init__(self, tensors: Sequence[Observed], groups: Sequence[Group], per_run: int) -> None:
        self._layout = Layout([tensor for tensor in tensors if tensor.shape is not None], per_run)
        self._dynamic = {tensor.name: _DynamicTensor(per_run) for tensor in tensors if tensor.shape is None}
        self._runs = 0
        self._probed_fully = 0
        self._is_fully_probed = True
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
        self._sum = np.zeros(len(self._sample_places))
        self._partial_sum = np.zeros(len(self._sample_places), np.float32)
        self._sum_of_fully_probed = self._sum
        self._least = np.full(len(self._sample_places), np.inf, np.float32)
        self._most = np.full(len(self._sample_places), -np.inf, np.float32)
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
        if not all(_is_finite(vector) for vector in vectors.values()):
            return self._first_not_finite(vectors)
        if probes.MAXIMUM in vectors:
            np.maximum(self._highest, vectors[probes.MAXIMUM], out=self._highest)
        if probes.MINIMUM in vectors:
            np.minimum(self._lowest, vectors[probes.MINIMUM], out=self._lowest)
        if self._is_fully_probed:
            self._probed_fully += 1
            if probes.MEAN in vectors:
                self._mean_sum += vectors[probes.MEAN]
        if probes.SAMPLE in vectors:
            self._add_sample(vectors[probes.SAMPLE])
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
        """From here on the outputs hold `groups`: without means, and without extremes of settled tensors."""
        self._absorb()
        self._flush_sum()
        self._sum_of_fully_probed = self._sum.copy()
        self._is_fully_probed = False
        self._use(groups)

    def statistics(self) -> dict[str, TensorStatistics]:
        """Statistics of every measured tensor."""
        self._absorb()
        self._flush_sum()
        mean = self._means()
        counts, widths = self._bank.counts(), self._bank.widths
        result = {name: dynamic.statistics(self._runs) for name, dynamic in self._dynamic.items()}
        for row, (name, tensor) in enumerate(self._layout.tensors.items()):
            own = self._layout.own(name)
            low, high = self._minimum[own], self._maximum[own]
            has_channels = tensor.channel_axis is not None
            own_mean = mean[own].astype(np.float32) if tensor.is_mac_input and has_channels else None
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
                axis_means=() if own_mean is None else self._axis_means(name, own_mean),
            )
        return result

    def _add_sample(self, sample: Floats) -> None:
        self._partial_sum += sample
        if self._runs % _PARTIAL_RUNS == 0:
            self._flush_sum()
        np.minimum(self._least, sample, out=self._least)
        np.maximum(self._most, sample, out=self._most)
        self._bank.add(np.take(sample, self._selected, out=self._drawn, mode="clip"))

    def _flush_sum(self) -> None:
        self._sum += self._partial_sum
        self._partial_sum[:] = 0

    def _use(self, groups: Sequence[Group]) -> None:
        self._groups = tuple(groups)
        self._maximum_places = self._layout.places(groups, probes.MAXIMUM)
        self._minimum_places = self._layout.places(groups, probes.MINIMUM)
        self._highest = np.full(len(self._maximum_places), -np.inf, np.float32)
        self._lowest = np.full(len(self._minimum_places), np.inf, np.float32)

    def _absorb(self) -> None:
        """Bring the extremes that are kept in the layout of the outputs to one value a channel."""
        np.maximum.at(self._maximum, self._maximum_places, self._highest)
        np.minimum.at(self._minimum, self._minimum_places, self._lowest)
        np.minimum.at(self._minimum, self._sample_places, self._least)
        np.maximum.at(self._maximum, self._sample_places, self._most)

    def _add_profile(self, group: Group, array: Floats) -> None:
        piece = group.pieces[0]
        along = array.mean(axis=0).reshape(array.shape[1], -1) if array.ndim == 4 else array
        key = (piece.tensor, piece.axis)
        self._profiles[key] = self._profiles.get(key, np.zeros(along.shape)) + along

    def _means(self) -> npt.NDArray[np.float64]:
        """Means over all runs, one a channel.

        The grid always misses the same elements. So it is asked only how a mean over all runs differs from the mean
        over the fully probed ones, which is known exactly.
        """
        mean = self._per_channel(self._mean_places, self._mean_sum / max(1, self._probed_fully))
        if self._sum_of_fully_probed is not self._sum:
            change = self._sum / self._runs - self._sum_of_fully_probed / max(1, self._probed_fully)
            mean += self._per_channel(self._sample_places, change)
        return mean

    def _per_channel(self, places: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The mean of `values` over the positions of each channel; 0 where it has none."""
        count = np.maximum(np.bincount(places, minlength=self._layout.channels), 1)
        return np.bincount(places, values, self._layout.channels) / count

    def _axis_means(self, name: str, mean: Floats) -> tuple[Floats, ...]:
        found = []
        for axis in sorted(axis for tensor, axis in self._profiles if tensor == name):
            along = self._profiles[name, axis] / self._probed_fully
            along += (mean - along.mean(axis=1))[:, None]  # the mean knows of all runs, the profile of the first ones
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
        if not _is_finite(values):
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


def _is_finite(vector: Floats) -> bool:
    """Whether all values are finite; a sum tells nearly always, and costs least."""
    return bool(np.isfinite(vector.sum())) or bool(np.isfinite(vector).all())
