"""What calibration knows about a tensor, and what can be worked out from it.

Histograms have bins of a power-of-two width around 0. A histogram that has become too narrow doubles its bin width by
adding neighbouring bins, which is exact: the result does not depend on the order of the values, nor on how they were
split over histograms that are merged later.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.errors import ArtifactError

BINS = 4096
_NARROWEST = 2.0**-120
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first moment: equal statistics give equal bytes
_FORMAT = 1


@dataclass(frozen=True)
class TensorStatistics:
    """Statistics of one tensor over all calibration samples.

    minimum, maximum: exact, over every element of every run.
    count: elements that `minimum` and `maximum` were taken over; steps: runs of the model.
    histogram: int64 [BINS]; bin i holds the sampled values x with floor(x / bin_width) == i - BINS / 2. Small tensors
        are sampled in full, others on a fixed grid.
    bin_width: a power of two.
    shape: of one run; None when dynamic, or after merging tensors.
    channel_axis: the axis of `channel_*` and `mean`; None when there are no channels.
    channel_min, channel_max: float32 [C]. Exact, save where the tensor as a whole has reached the bound of its Relu or
        Clip: its channels are not followed any further then.
    mean: float32 [C], for inputs of Conv, Gemm, MatMul with constant weights, over the first runs (all elements).
    axis_means: for inputs of a Conv with a window, one float32 [C, extent] a spatial axis: means over the rest.
    """

    minimum: float
    maximum: float
    count: int
    steps: int
    histogram: npt.NDArray[np.int64]
    bin_width: float
    shape: tuple[int, ...] | None = None
    channel_axis: int | None = None
    channel_min: npt.NDArray[np.float32] | None = None
    channel_max: npt.NDArray[np.float32] | None = None
    mean: npt.NDArray[np.float32] | None = None
    axis_means: tuple[npt.NDArray[np.float32], ...] = ()

    def bin_centers(self) -> npt.NDArray[np.float64]:
        """The value that stands for each bin: its centre, and 0 for the bin that begins at 0."""
        centers = np.arange(-BINS / 2 + 0.5, BINS / 2, dtype=np.float64) * self.bin_width
        centers[BINS // 2] = 0.0
        return centers


def fold(histograms: npt.NDArray[np.int64], doublings: int) -> npt.NDArray[np.int64]:
    """Histograms [..., BINS] after `doublings` of their bin width."""
    for _ in range(min(doublings, BINS.bit_length())):  # then all is in the two bins beside 0
        halved = histograms.reshape(*histograms.shape[:-1], BINS // 2, 2).sum(axis=-1)
        histograms = np.zeros_like(histograms)
        histograms[..., BINS // 4 : BINS // 4 + BINS // 2] = halved
    return histograms


class HistogramBank:
    """Histograms of many tensors, filled together: what arrives is one vector that holds values of all of them.

    row_of: int64 [values], the histogram that each position of the vector belongs to.
    """

    _PENDING = 16  # runs that are counted at once: one pass over all bins for each is then affordable

    def __init__(self, rows: int, row_of: npt.NDArray[np.int64]) -> None:
        self._counts = np.zeros((rows, BINS), np.int64)
        self._widths = np.full(rows, _NARROWEST)
        self._row_of = row_of
        self._offsets = row_of * BINS + BINS // 2
        self._pending = np.empty((self._PENDING, len(row_of)), np.float32)
        self._filled = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count one vector of finite values."""
        self._pending[self._filled] = values
        self._filled += 1
        if self._filled == self._PENDING:
            self._flush()

    def counts(self) -> npt.NDArray[np.int64]:
        """int64 [rows, BINS]."""
        self._flush()
        return self._counts

    @property
    def widths(self) -> npt.NDArray[np.float64]:
        """The bin width of each row."""
        self._flush()
        return self._widths

    def _flush(self) -> None:
        """Count what is pending. Raises ValueError when a value is not finite."""
        if not self._filled or not self._pending.size:
            return
        pending = self._pending[: self._filled]
        self._filled = 0
        peaks = np.zeros(len(self._widths), np.float32)
        with np.errstate(invalid="ignore"):  # NaN goes on to the check below
            np.maximum.at(peaks, self._row_of, np.maximum(pending.max(axis=0), -pending.min(axis=0)))
        if not np.isfinite(peaks).all():
            raise ValueError("a value is not finite")
        for row in np.flatnonzero(peaks >= self._widths * (BINS / 2)):
            width = width_for(float(peaks[row]))
            self._counts[row] = fold(self._counts[row], round(math.log2(width / self._widths[row])))
            self._widths[row] = width
        pending *= np.take(1.0 / self._widths.astype(np.float32), self._row_of)
        indices = np.floor(pending, out=pending).astype(np.int64)
        indices += self._offsets
        self._counts += np.bincount(indices.reshape(-1), minlength=self._counts.size).reshape(self._counts.shape)


def width_for(peak: float) -> float:
    """The least bin width whose histogram holds values of magnitude `peak`."""
    _, exponent = math.frexp(peak / (BINS / 2))  # peak < 2 ** exponent * BINS / 2
    return max(_NARROWEST, math.ldexp(1.0, exponent))


def merged(statistics: Sequence[TensorStatistics]) -> TensorStatistics:
    """Statistics of tensors that share a scale. Nothing per channel is left of it, nor a shape.

    A tensor weighs by the number of its elements, not by how densely it was sampled.
    """
    if not statistics:
        raise ValueError("nothing to merge")
    if len(statistics) == 1:
        return statistics[0]
    width = max(item.bin_width for item in statistics)
    densest = max(_density(item) for item in statistics)
    histogram = np.zeros(BINS, np.int64)
    for item in statistics:
        folded = fold(item.histogram, round(math.log2(width / item.bin_width)))
        weight = densest / _density(item)
        histogram += folded if math.isclose(weight, 1.0) else np.rint(folded * weight).astype(np.int64)
    return TensorStatistics(
        minimum=min(item.minimum for item in statistics),
        maximum=max(item.maximum for item in statistics),
        count=sum(item.count for item in statistics),
        steps=max(item.steps for item in statistics),
        histogram=histogram,
        bin_width=width,
    )


def _density(statistics: TensorStatistics) -> float:
    """Sampled values per element."""
    return max(1, int(statistics.histogram.sum())) / statistics.count


def save(path: Path, statistics: dict[str, TensorStatistics]) -> None:
    """Write all statistics to one .npz whose bytes depend on nothing but them."""
    index, ranges, histograms = [], [], []
    values: list[npt.NDArray[np.float32]] = []
    for name, item in statistics.items():
        arrays = {"channel_min": item.channel_min, "channel_max": item.channel_max, "mean": item.mean}
        arrays.update({f"axis{i}": array for i, array in enumerate(item.axis_means)})
        present = {key: array for key, array in arrays.items() if array is not None}
        index.append(
            {
                "name": name,
                "count": item.count,
                "steps": item.steps,
                "shape": item.shape,
                "channel_axis": item.channel_axis,
                "arrays": {key: array.shape for key, array in present.items()},
            }
        )
        ranges.append((item.minimum, item.maximum, item.bin_width))
        histograms.append(item.histogram)
        values.extend(np.asarray(array, np.float32).reshape(-1) for array in present.values())
    text = json.dumps({"format": _FORMAT, "tensors": index}, ensure_ascii=False).encode()
    members: dict[str, npt.NDArray[Any]] = {
        "index": np.frombuffer(text, np.uint8),
        "ranges": np.array(ranges, np.float64).reshape(-1, 3),
        "histograms": np.array(histograms, np.int64).reshape(-1, BINS),
        "values": np.concatenate(values) if values else np.empty(0, np.float32),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            if name != "values":  # floating-point numbers take long to deflate, and do not get smaller
                info.compress_type = zipfile.ZIP_DEFLATED
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(info, buffer.getvalue(), compresslevel=1)


def load(path: Path) -> dict[str, TensorStatistics]:
    """Read what `save` wrote. Raises ArtifactError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            document = json.loads(archive["index"].tobytes())
            ranges, histograms, values = archive["ranges"], archive["histograms"], archive["values"]
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']}, expected {_FORMAT}")
        found, at = {}, 0
        for row, entry in enumerate(document["tensors"]):
            arrays: dict[str, npt.NDArray[np.float32]] = {}
            for key, shape in entry["arrays"].items():
                size = math.prod(shape)
                arrays[key] = values[at : at + size].reshape(shape)
                at += size
            low, high, width = (float(value) for value in ranges[row])
            found[entry["name"]] = TensorStatistics(
                minimum=low,
                maximum=high,
                count=entry["count"],
                steps=entry["steps"],
                histogram=histograms[row],
                bin_width=width,
                shape=None if entry["shape"] is None else tuple(entry["shape"]),
                channel_axis=entry["channel_axis"],
                channel_min=arrays.get("channel_min"),
                channel_max=arrays.get("channel_max"),
                mean=arrays.get("mean"),
                axis_means=tuple(array for key, array in arrays.items() if key.startswith("axis")),
            )
        return found
    except (KeyError, ValueError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"The calibration statistics in {path} can't be read",
            f"{type(error).__name__}: {error}",
            "Run the build again; `edgec cache gc` removes damaged results.",
        ) from error
