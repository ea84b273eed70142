"""How drift looks at a tensor: at some of its elements, and at a few numbers that sum up one run.

The build that writes profile.json and the device that compares with it look with this same code.

Elements of one image resemble each other, so a histogram of elements alone says little about how surprising it is. The
numbers that sum up a run are one observation each: of them, a test for independent observations is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

SAMPLED = 2048
"""Elements of a tensor that are looked at in a run, at most."""

BINS = 16

_TINY = 1e-30  # below the deviation of anything but a constant
_LONG = 8  # entries of an axis along which neighbours are compared
_CHANNELS = (2, 3, 4)
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class View:
    """One input or output. dtype: numpy's name."""

    name: str
    role: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """ "numbers", where larger means more; "ids" for integers that are names: tokens, classes, flags. Bytes are
        numbers: pixels."""
        return (
            "ids"
            if np.dtype(self.dtype).kind in "iub" and np.dtype(self.dtype).itemsize > 1
            else ("ids" if self.dtype == "bool" else "numbers")
        )

    @cached_property
    def statistics(self) -> tuple[str, ...]:
        """The names of the numbers that sum up a run, in the order of `summary`."""
        if self.kind == "ids":
            return ("zeros",)
        if self.elements == 1:
            return ("mean",)
        if self.role == "output":
            return ("mean", "spread", "peak")
        rough = ("roughness",) if self._along is not None else ()
        return ("mean", "spread", *rough, *(f"channel {index}" for index in range(self._channels[1])))

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def look(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The elements that are looked at, float32[n] or, of ids, their bins int64[n]; and the numbers that sum up the
        run, float64[statistics]. Numbers are of the finite elements; NaN where there is none."""
        flat = array.reshape(-1)
        picked = flat if self._positions is None else flat[self._positions]
        if self.kind == "ids":
            return hashed(picked), np.array([np.count_nonzero(picked == 0) / max(1, picked.size)])
        values = picked.astype(np.float32, copy=False)
        return values, self._summary(values, flat)

    def _summary(self, values: np.ndarray, flat: np.ndarray) -> np.ndarray:
        exact = values.astype(np.float64)
        finite = bool(np.isfinite(exact.sum()))  # a NaN or an infinity anywhere shows in the sum
        known = exact if finite else exact[np.isfinite(exact)]
        if not known.size:
            return np.full(len(self.statistics), np.nan)
        mean = float(known.mean())
        numbers = [mean]
        if len(self.statistics) > 1:
            centred = known - mean
            numbers.append(_log(math.sqrt(float(centred @ centred) / known.size)))
        if "peak" in self.statistics:
            numbers.append(float(known.max()))
        if "roughness" in self.statistics:
            steps = np.abs(exact - flat[self._neighbours].astype(np.float64))
            numbers.append(_log(float(steps.mean() if finite else steps[np.isfinite(steps)].mean())))
        if count := self._channels[1]:
            usable = self._owner if finite else self._owner[np.isfinite(exact)]
            sums = np.bincount(usable, weights=known, minlength=count)
            held = np.bincount(usable, minlength=count)
            numbers.extend((sums / np.maximum(held, 1) - mean).tolist())
        return np.array(numbers)

    @cached_property
    def _positions(self) -> np.ndarray | None:
        """Which elements are looked at: int64[n], always the same ones; None for all.

        Multiples of the golden ratio, modulo one, are spread evenly over any range, and never fall into step with the
        rows of an image, as every n-th element may (Knuth, The Art of Computer Programming 3, 6.4).
        """
        if self.elements <= SAMPLED:
            return None
        places: np.ndarray = (np.arange(SAMPLED) * _GOLDEN % 1.0 * self.elements).astype(np.int64)
        return np.unique(places)

    @cached_property
    def _picked(self) -> np.ndarray:
        return np.arange(self.elements) if self._positions is None else self._positions

    @cached_property
    def _along(self) -> int | None:
        """The longest axis, of equal ones the last: where neighbours are compared."""
        longest = max(range(len(self.shape)), key=lambda axis: (self.shape[axis], axis), default=None)
        return longest if longest is not None and self.shape[longest] >= _LONG else None

    @cached_property
    def _neighbours(self) -> np.ndarray:
        """For each position that of the next element along the axis; at its end, of the one before."""
        assert self._along is not None
        stride, extent = math.prod(self.shape[self._along + 1 :]), self.shape[self._along]
        last = self._picked // stride % extent == extent - 1
        neighbours: np.ndarray = self._picked + np.where(last, -stride, stride)
        return neighbours

    @cached_property
    def _channels(self) -> tuple[int, int]:
        """The stride and the number of channels, where the tensor looks like an image in colour; else (1, 0)."""
        for axis in (1, len(self.shape) - 1):
            if self.role == "input" and len(self.shape) >= 3 and self.shape[axis] in _CHANNELS:
                return math.prod(self.shape[axis + 1 :]), self.shape[axis]
        return 1, 0

    @cached_property
    def _owner(self) -> np.ndarray:
        """The channel of each position."""
        stride, count = self._channels
        owner: np.ndarray = self._picked // stride % count
        return owner


def _log(value: float) -> float:
    """Scales are compared as logarithms: half as much is as far as twice as much, and nothing at all is far off."""
    return math.log(max(value, _TINY))


def hashed(ids: np.ndarray) -> np.ndarray:
    """A bin for each id, int64[n]: its multiplicative hash (Knuth, The Art of Computer Programming 3, 6.4)."""
    mixed = ids.astype(np.uint32) * np.uint32(2654435769)
    return (mixed >> np.uint32(28)).astype(np.int64)


def binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values are in each bin: int64[len(edges) + 1]; a bin begins with its edge. NaN is to be left out.

    Edges are compared in the values' own precision: one that was a float32 is equal to it again.
    """
    return np.bincount(np.searchsorted(edges.astype(values.dtype), values, side="right"), minlength=len(edges) + 1)


@dataclass(frozen=True)
class Spread:
    """How numbers were distributed: bins of about equal mass, cut by `edges`; counts int64[len(edges) + 1].

    minimum, maximum: of all. edges are float64 and ascend; none where all were equal.
    """

    edges: np.ndarray
    counts: np.ndarray
    minimum: float
    maximum: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Spread:
        edges, counts = np.asarray(document["edges"], np.float64), np.asarray(document["counts"], np.int64)
        extremes = float(document["minimum"]), float(document["maximum"])
        whole = edges.ndim == 1 and counts.shape == (len(edges) + 1,) and counts.min() >= 0 and counts.sum() > 0
        if not whole or not np.isfinite([*edges, *extremes]).all() or (np.diff(edges) <= 0).any():
            raise ValueError("edges and counts of a distribution do not fit")
        return cls(edges, counts, *extremes)

    def to_json(self) -> dict[str, Any]:
        numbers = {"edges": self.edges.tolist(), "counts": self.counts.tolist()}
        return {**numbers, "minimum": self.minimum, "maximum": self.maximum}


def spread_of(values: np.ndarray, digits: int) -> Spread:
    """The distribution of finite values float64[n], n > 0. digits: significant ones that edges are rounded to."""
    cuts = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    least, most = float(values.min()), float(values.max())
    edges = np.unique([_rounded(cut, digits) for cut in cuts.tolist()])
    edges = edges[edges.astype(values.dtype) > values.min()]
    return Spread(edges, binned(values, edges), _rounded(least, digits), _rounded(most, digits))


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def views_of(manifest: Mapping[str, Any]) -> Sequence[View]:
    """The inputs and outputs of an artifact that drift may look at: not what a recurrent model hands to itself, nor
    what is empty or no number."""
    state = dict(manifest["state"])
    own = {"input": set(state.values()), "output": set(state)}
    return [
        View(item["name"], role, item["dtype"], tuple(item["shape"]))
        for role in own
        for item in manifest[f"{role}s"]
        if item["name"] not in own[role] and math.prod(item["shape"])
    ]
