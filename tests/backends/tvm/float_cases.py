"""Single operations on random float32, many of them in one graph, beside the reference executor.

The arena holds NaN before a run: whoever reads what nobody wrote, such as the padding of pixels, shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.reference import execute
from tests.backends.tvm.compiled import ISA, engine_of


class FloatCases:
    """A graph of cases that have nothing to do with each other. Everything random comes from the seed.

    tolerance: of the cases to come, see `wrong`.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.feeds: dict[str, np.ndarray] = {}
        self.outputs: list[str] = []
        self.labels: dict[str, str] = {}
        self.tolerances: dict[str, float] = {}
        self.tolerance = 0.0

    def input(self, data: np.ndarray | Sequence[int]) -> str:
        """A new input: an array, or random numbers of a shape."""
        array = data if isinstance(data, np.ndarray) else self.numbers(*data)
        name = f"x{len(self.feeds)}"
        self.feeds[name] = array
        return self.builder.input(name, TensorType(array.shape, str(array.dtype)))

    def computed(self, data: np.ndarray | Sequence[int]) -> str:
        """What another operation made, so that it lies in the arena, with padding: a copy of a new input."""
        name = self.input(data)
        shape = self.builder.type(name).shape
        return self.builder.add(kinds.Reverse((0,)), [name], "computed") if shape else name

    def constant(self, data: np.ndarray | Sequence[int]) -> str:
        array = data if isinstance(data, np.ndarray) else self.numbers(*data)
        return self.builder.constant("c", array)

    def weights(self, *shape: int) -> str:
        """Of a product, [O, ...]: its results are about as large as its operands."""
        return self.constant((self.numbers(*shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))

    def numbers(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape).astype(np.float32)

    def case(self, kind: Kind, *operands: str, label: str = "") -> str:
        """An operation whose result is looked at."""
        name = self.builder.add(kind, list(operands), f"y{len(self.outputs)}")
        self.result(name, label or f"{kind} of {[self.builder.type(item).shape for item in operands]}")
        return name

    def result(self, name: str, label: str) -> None:
        self.outputs.append(name)
        self.labels[name] = label
        self.tolerances[name] = self.tolerance

    def finish(self) -> Graph:
        return self.builder.finish(self.outputs)

    def wrong(self, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Cases whose largest error, as a share of the largest number, is beyond the tolerance: errors by label. NaN
        and infinities that are not where they should be are infinite errors."""
        assert set(expected) == set(found)
        errors = {name: _error(expected[name], found[name]) for name in expected}
        return {self.labels[name]: error for name, error in errors.items() if not error <= self.tolerances[name]}

    def wrong_here(self, folder: Path, threads: int = 1, isa: str = ISA) -> dict[str, float]:
        """Those, compiled for this machine."""
        graph = self.finish()
        engine = engine_of(graph, folder, threads, isa)
        return self.wrong(execute(graph, self.feeds), engine.run(self.feeds))


def _error(expected: np.ndarray, found: np.ndarray) -> float:
    assert expected.shape == found.shape
    assert expected.dtype == found.dtype
    if expected.dtype.kind != "f":
        return float("inf") if np.any(expected != found) else 0.0
    odd = ~np.isfinite(expected)
    if not np.array_equal(odd, ~np.isfinite(found)) or not np.array_equal(expected[odd], found[odd], equal_nan=True):
        return float("inf")
    difference = np.abs(expected[~odd].astype(np.float64) - found[~odd])
    return float(difference.max(initial=0) / max(float(np.abs(expected[~odd]).max(initial=0)), 1e-30))
