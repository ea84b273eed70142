"""Values of tensors, with the channel that each belongs to: what the statistics of a rescaled tensor are made from."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.statistics import BINS, TensorStatistics, width_for

PER_TENSOR = 1 << 16
"""Values of each tensor that are kept, over all runs: as many as a histogram of calibration sees."""

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ChannelSamples:
    """Of one tensor, over all runs.

    axis: that of the channels. low, high: float32 [C], the extremes of each channel, over all elements. values: a
    sample of the tensor; channels: int64, the channel of each of them.
    """

    axis: int
    low: Values
    high: Values
    values: Values
    channels: npt.NDArray[np.int64]

    def divided(self, factors: npt.NDArray[np.float64], known: TensorStatistics) -> TensorStatistics:
        """Statistics of the tensor after each channel was divided by its factor [C], above 0.

        known: its statistics before. Extremes and means follow exactly; the histogram is that of the values here.
        """
        own = known if known.channel_axis == self.axis else replace(known, channel_min=None, channel_max=None)
        low, high = self.extremes(own)
        low, high = low / factors, high / factors
        values = self.values / factors.astype(np.float32)[self.channels]
        width = width_for(float(np.abs(values).max(initial=0.0)))
        bins = np.floor(values / width).astype(np.int64) + BINS // 2
        by_channel = known.mean is not None and len(known.mean) == len(factors)
        return replace(
            known,
            minimum=float(low.min()),
            maximum=float(high.max()),
            histogram=np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS),
            bin_width=width,
            channel_axis=self.axis,
            channel_min=low.astype(np.float32),
            channel_max=high.astype(np.float32),
            mean=(known.mean / factors).astype(np.float32) if by_channel and known.mean is not None else None,
            axis_means=tuple((means / factors[:, None]).astype(np.float32) for means in known.axis_means)
            if by_channel
            else (),
        )

    def extremes(self, known: TensorStatistics) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The extremes of each channel in these runs and in those that gave the statistics of the tensor."""
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        if known.channel_axis == self.axis and known.channel_min is not None and known.channel_max is not None:
            low, high = np.minimum(low, known.channel_min), np.maximum(high, known.channel_max)
        return low, high


def sampled(runs: CalibrationRuns, axes: Mapping[str, int]) -> dict[str, ChannelSamples]:
    """Samples of tensors, given with the axis of their channels, by name."""
    if not axes:
        return {}
    low: dict[str, Values] = {}
    high: dict[str, Values] = {}
    kept: dict[str, list[tuple[Values, npt.NDArray[np.int64]]]] = {name: [] for name in axes}
    for run, found in enumerate(runs.values(list(axes))):
        for name, axis in axes.items():
            x = found[name]
            others = tuple(i for i in range(x.ndim) if i != axis)
            least, most = x.min(axis=others), x.max(axis=others)
            low[name] = np.minimum(low.get(name, least), least)
            high[name] = np.maximum(high.get(name, most), most)
            places = _places(x.size, -(-PER_TENSOR // len(runs)), run)
            channels = places // math.prod(x.shape[axis + 1 :]) % x.shape[axis]
            kept[name].append((x.reshape(-1)[places], channels))
    return {
        name: ChannelSamples(
            axis,
            low[name],
            high[name],
            np.concatenate([values for values, _ in kept[name]]),
            np.concatenate([channels for _, channels in kept[name]]),
        )
        for name, axis in axes.items()
    }


def _places(size: int, count: int, run: int) -> npt.NDArray[np.int64]:
    """At most `count` of `size` places, drawn by chance, the same every time."""
    if size <= count:
        return np.arange(size)
    return np.array(sorted(random.Random(run).sample(range(size), count)), np.int64)
