"""Second moments of what weights are multiplied by: E[x x^T] over the patches that a kernel sees.

They say what a change of the weights does to the outputs: rows W of a kernel that become W + E change its output by
E . x, whose mean square is E H E^T with H = E[x x^T], and whose variance is the same with the covariance of x.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgec.onnx_graph.graph import Graph
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.patches import Patches
from edgec.quantization.placement import Kernel
from edgec.quantization.weights import weight_operand

Array = npt.NDArray[np.float64]

MOST_INPUTS = 4608
"""Largest K: a 3x3 convolution of 512 channels. Its matrix takes 170 MB, and K^3 / 3 multiplications to factorize."""

PATCHES = 4096
"""Patches of each kernel, over all runs: as many as there are, where a run has few positions."""

_MOST_BYTES = 384 * 2**20  # of matrices, and of tensors of one run, that are in memory at once
_ROWS = 512  # patches that are multiplied at once: adding up K x K numbers more often would take longer than that


@dataclass(frozen=True)
class SecondMoments:
    """Moments of the patches of a kernel's input.

    covariance: float64 [G, K, K], of the elements of a patch. mean: float64 [G, K], E[x]. count: patches that they were
    taken over, from so many runs of the model. window: elements of a patch that belong to one input channel.
    """

    covariance: Array
    mean: Array
    count: int
    runs: int
    window: int = 1

    def products(self) -> Array:
        """float64 [G, K, K]: E[x x^T]. The covariance is what is left of it when a bias makes up for the mean."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]

    def rescaled(self, factors: npt.NDArray[np.floating]) -> SecondMoments:
        """The moments after each input channel was divided by its factor [C]. Exact."""
        groups, length = self.mean.shape
        inverse = np.repeat(1 / np.asarray(factors, np.float64), self.window).reshape(groups, length)
        covariance = self.covariance * inverse[:, :, None]
        covariance *= inverse[:, None, :]
        return replace(self, covariance=covariance, mean=self.mean * inverse)


def objection(graph: Graph, kernel: Kernel) -> str | None:
    """Why there can be no second moments for a kernel, in words for the user; None when there can."""
    found = _patches(graph, kernel)
    return found if isinstance(found, str) else None


def gather(graph: Graph, kernels: Iterable[Kernel], runs: CalibrationRuns) -> Iterator[tuple[list[str], SecondMoments]]:
    """The moments of kernels that multiply by constant weights; kernels with an `objection` are left out.

    Yields them with the names of all kernels that share them (the same patches of the same tensor). A caller that
    drops what it got before it asks for more never has more than a few of them in memory.
    """
    shared: dict[tuple[str, object], _Sums] = {}
    for kernel in kernels:
        patches = _patches(graph, kernel)
        if isinstance(patches, str):
            continue
        tensor = _input(graph, kernel)
        sums = shared.setdefault((tensor, patches.key), _Sums(tensor, patches))
        sums.kernels.append(kernel.name)
    for batch in _batches(graph, list(shared.values())):
        tensors = list(dict.fromkeys(sums.tensor for sums in batch))
        for run, values in enumerate(runs.values(tensors)):
            for sums in batch:
                sums.add(values[sums.tensor], run, -(-PATCHES // len(runs)))
        while batch:
            sums = batch.pop(0)
            if sums.count + sums.waiting:
                yield sums.kernels, sums.finished(len(runs))


def _input(graph: Graph, kernel: Kernel) -> str:
    operand = weight_operand(graph, kernel)
    assert operand is not None
    return str(kernel.anchor.input[1 - operand])


def _patches(graph: Graph, kernel: Kernel) -> Patches | str:
    operand = weight_operand(graph, kernel)
    if operand is None:
        return "it multiplies two activations"
    weights, shape = graph.shape(kernel.anchor.input[operand]), graph.shape(_input(graph, kernel))
    if weights is None or shape is None:
        return "the shape of its input is not known"
    try:
        patches = Patches.of(kernel.anchor, operand, weights, shape)
    except ValueError as error:
        return str(error)
    if patches.length > MOST_INPUTS:
        return f"each output is a sum of {patches.length} products, and more than {MOST_INPUTS} take too long"
    return patches


def _batches(graph: Graph, left: list[_Sums]) -> Iterator[list[_Sums]]:
    """The same in the same order, in parts that fit into memory."""
    batch: list[_Sums] = []
    tensors: set[str] = set()
    used = 0
    for sums in left:
        size = sums.bytes + (0 if sums.tensor in tensors else 4 * int(np.prod(graph.shape(sums.tensor) or (0,))))
        if batch and used + size > _MOST_BYTES:
            yield batch
            batch, tensors, used = [], set(), 0
        batch.append(sums)
        tensors.add(sums.tensor)
        used += size
    if batch:
        yield batch


class _Sums:
    """Sums of products in the making: products in float32, their sums in float64."""

    def __init__(self, tensor: str, patches: Patches) -> None:
        self.tensor = tensor
        self.patches = patches
        self.kernels: list[str] = []
        self.count = 0
        self.waiting = 0
        self._pending: list[npt.NDArray[np.float32]] = []
        self._products: Array | None = None
        self._sum: Array | None = None
        self._shift: npt.NDArray[np.float32] | None = None  # [G, 1, K]: about the mean

    @property
    def bytes(self) -> int:
        """What the sums and what is pending take."""
        return self.patches.groups * self.patches.length * (8 * self.patches.length + 4 * self._rows)

    @property
    def _rows(self) -> int:
        return _ROWS if self.patches.groups == 1 else 1

    def add(self, x: npt.NDArray[np.float32], run: int, count: int) -> None:
        cut = self.patches.cut(x, self.patches.chosen(run, count))
        self._pending.append(cut)
        self.waiting += cut.shape[1]
        if self.waiting >= self._rows:
            self._flush()

    def finished(self, runs: int) -> SecondMoments:
        self._flush()
        assert self._products is not None and self._sum is not None and self._shift is not None
        self._sum /= self.count
        self._products /= self.count
        for products, mean in zip(self._products, self._sum, strict=True):
            products -= np.outer(mean, mean)
        mean = self._sum + self._shift[:, 0]
        found = SecondMoments(self._products, mean, self.count, runs, self.patches.window)
        self._products = None
        return found

    def _flush(self) -> None:
        if not self.waiting:
            return
        groups, length = self.patches.groups, self.patches.length
        x = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending, axis=1)
        if self._products is None or self._sum is None or self._shift is None:
            self._products, self._sum = np.zeros((groups, length, length)), np.zeros((groups, length))
            self._shift = x.mean(axis=1, keepdims=True)
        x = x - self._shift  # a variance far below the square of the mean would be lost in float32
        if groups == 1:
            self._products[0] += x[0].T @ x[0]  # BLAS computes half of it, and mirrors that
        else:
            self._products += x.swapaxes(1, 2) @ x
        self._sum += x.sum(axis=1, dtype=np.float64)
        self.count += x.shape[1]
        self._pending, self.waiting = [], 0
