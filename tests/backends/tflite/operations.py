"""One operation at a time, with seeded operands: float, plain integers, int8 and int16."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.kinds import Kind

INT8 = Quantization.per_tensor(0.05, 3)
INT8_OTHER = Quantization.per_tensor(0.03, 10)
INT8_RESULT = Quantization.per_tensor(0.1, -5)
INT16 = Quantization.per_tensor(0.001, 0)
INT16_RESULT = Quantization.per_tensor(0.002, 0)


def tensor(shape: Sequence[int], dtype: str = "float32", quantization: Quantization | None = None) -> TensorType:
    return TensorType(tuple(shape), dtype, quantization)


def q8(*shape: int, grid: Quantization = INT8) -> TensorType:
    return TensorType(shape, "int8", grid)


def q16(*shape: int, grid: Quantization = INT16) -> TensorType:
    return TensorType(shape, "int16", grid)


def f32(*shape: int) -> TensorType:
    return TensorType(shape, "float32")


@dataclass(frozen=True)
class One:
    """An operation.

    operands: types of those that are fed. constants: data of those that are not, by position (with a quantization, or
        without). results: types where the inferred ones are not meant. low, high: of what is fed.
    """

    name: str
    kind: Kind
    operands: Sequence[TensorType]
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    grids: dict[int, Quantization] = field(default_factory=dict)
    results: Sequence[TensorType] | None = None
    grid: Quantization | None = None
    low: float = -3.0
    high: float = 3.0

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(self.name.encode()))

    def graph(self) -> Graph:
        builder = GraphBuilder()
        names, fed = [], iter(self.operands)
        for position in range(len(self.operands) + len(self.constants)):
            if position in self.constants:
                data = np.asarray(self.constants[position])
                names.append(builder.constant(f"c{position}", data, self.grids.get(position)))
            else:
                names.append(builder.input(f"x{position}", next(fed)))
        count = len(self.results) if self.results is not None else 1
        outputs = [f"y{i}" for i in range(count)]
        builder.add(self.kind, names, outputs, types=self.results, quantization=self.grid)
        return builder.finish(outputs)

    def feeds(self) -> dict[str, np.ndarray]:
        graph, rng = self.graph(), self.rng
        return {name: self._values(graph.type(name), rng) for name in graph.inputs}

    def _values(self, of: TensorType, rng: np.random.Generator) -> np.ndarray:
        if of.dtype == "bool":
            return rng.integers(0, 2, of.shape).astype(bool)
        if of.dtype == "float32":
            return rng.uniform(self.low, self.high, of.shape).astype(np.float32)
        if of.quantization is not None:
            limits = np.iinfo(of.dtype)
            steps = (
                rng.uniform(self.low, self.high, of.shape) / of.quantization.scale[0] + of.quantization.zero_point[0]
            )
            return np.clip(np.rint(steps), limits.min, limits.max).astype(of.dtype)
        low = max(int(self.low), 0) if of.dtype == "uint8" else int(self.low)
        return rng.integers(low, int(self.high) + 1, of.shape).astype(of.dtype)


def weights(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return values.astype(np.float32)


def integer_weights(
    shape: Sequence[int], x: Quantization, per_channel: bool = True
) -> tuple[dict[int, np.ndarray], dict[int, Quantization]]:
    """int8 weights and an int32 bias: data and grids, by position."""
    rng = np.random.default_rng(1)
    count = shape[0] if per_channel else 1
    scales = tuple(float(np.float32(item)) for item in rng.uniform(0.005, 0.02, count))
    axis = 0 if per_channel else None
    products = tuple(float(np.float32(x.scale[0]) * np.float32(item)) for item in scales)
    data = {
        1: rng.integers(-127, 128, shape).astype(np.int8),
        2: rng.integers(-500, 500, shape[0]).astype(np.int32),
    }
    zeros = (0,) * count
    return data, {1: Quantization(scales, zeros, axis), 2: Quantization(products, zeros, axis)}
