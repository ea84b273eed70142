"""Single operations on random integers, many of them in one graph: a compilation costs more than a hundred kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.kinds import Padding2D
from edgec.ir.reference.grid import limits


class Cases:
    """A graph of cases that have nothing to do with each other. Everything random comes from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.outputs: list[str] = []
        self.labels: dict[str, str] = {}

    # --- values ---

    def grid(self, dtype: str = "int8", scale: float | None = None) -> Quantization:
        low, high = limits(dtype)
        chosen = float(np.exp(self.rng.uniform(-6, 2))) if scale is None else scale
        return Quantization.per_tensor(chosen, int(self.rng.integers(low, high + 1)))

    def activations(self, shape: tuple[int, ...], dtype: str = "int8", grid: Quantization | None = None) -> str:
        """A new input, quantized."""
        number = len(self.builder.graph.inputs)
        x = self.builder.input(f"x{number}", TensorType(shape, "float32"))
        return self.quantized(x, shape, dtype, grid or self.grid(dtype))

    def quantized(self, name: str, shape: tuple[int, ...], dtype: str, grid: Quantization) -> str:
        return self.builder.add(kinds.Quantize(), [name], f"{name}/q", types=[TensorType(shape, dtype, grid)])

    def result(self, name: str, label: str) -> None:
        """A case's last value becomes an output."""
        output = self.builder.add(kinds.Dequantize(), [name], f"y{len(self.outputs)}")
        self.outputs.append(output)
        self.labels[output] = label

    # --- operations ---

    def product(
        self, kind: kinds.Kind, x: str, window: tuple[int, ...], outputs: int,
        *, per_channel: bool = True, bias: bool = True, dtype: str = "int8", gain: float = 1.0,
        of: Sequence[int] = range(-127, 128),
    ) -> str:  # fmt: skip
        """window: of the weights behind [O]. gain: how far results reach beyond what their grid holds. of: weights to
        choose from."""
        weights = self.rng.choice(of, (outputs, *window)).astype(np.int8)
        count = outputs if per_channel else 1
        scales = np.exp(self.rng.uniform(-5, 0, count)).astype(np.float32)
        axis = 0 if per_channel else None
        grid_of_x = self.builder.type(x).quantization
        assert grid_of_x is not None
        operands = [x, self.builder.constant("w", weights, Quantization(tuple(map(float, scales)), (0,) * count, axis))]
        typical = 74 * 74 * np.sqrt(np.prod(window))
        if bias:
            numbers = self.rng.integers(-int(typical), int(typical) + 1, outputs).astype(np.int32)
            steps = tuple(float(np.float32(grid_of_x.scale[0]) * scale) for scale in scales)
            operands.append(self.builder.constant("b", numbers, Quantization(steps, (0,) * count, axis)))
        scale = float(np.median(scales)) * grid_of_x.scale[0] * typical / 60 / gain
        grid = None if dtype == "float32" else self.grid(dtype, scale)
        return self.builder.add(kind, operands, "product", dtype=dtype, quantization=grid)

    def sum(self, a: str, b: str, activation: str = "none", dtype: str = "int8") -> str:
        scales = [self.builder.type(name).quantization.scale[0] for name in (a, b)]  # type: ignore[union-attr]
        grid = self.grid(dtype, float(max(scales) * self.rng.uniform(0.7, 2)))
        return self.builder.add(kinds.Binary("add", activation), [a, b], "sum", dtype=dtype, quantization=grid)  # type: ignore[arg-type]

    # --- the whole ---

    def finish(self) -> Graph:
        graph = self.builder.finish(self.outputs)
        readers = graph.consumers()
        graph.inputs = tuple(name for name in graph.inputs if readers[name])  # of cases that were dropped
        return graph

    def feeds(self, graph: Graph) -> dict[str, np.ndarray]:
        """Real numbers of all integers, and some beyond."""
        made = {}
        for name in graph.inputs:
            (quantize,) = graph.consumers()[name]
            of = graph.type(quantize.outputs[0])
            assert of.quantization is not None
            low, high = limits(of.dtype)
            integers = self.rng.integers(low - 3, high + 4, of.shape)
            numbers = (integers - of.quantization.zero_point[0]) * of.quantization.scale[0]
            made[name] = np.asarray(numbers, np.float32)
        return made


def padded(rng: np.random.Generator, most: int) -> Padding2D:
    """A padding, none as often as not."""
    sides = rng.integers(0, most + 1, 4) * rng.integers(0, 2)
    return Padding2D(*(int(side) for side in sides))
