"""Values, operations and the graph that they make.

A graph is a list of operations in an order in which they can run. Operations name the values that they read and write;
values carry types. Everything is frozen but the graph's own lists: a pass makes a new graph.

A tensor of integers that stand for real numbers has a `Quantization`:

    real = (integer - zero_point) * scale

and an operation on such tensors computes with integers, as `edgec.ir.reference` defines it to the bit. The same kind
of operation on float32 tensors computes in float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from edgec.ir.kinds import Kind

DTYPES = ("float32", "float16", "int8", "int16", "int32", "int64", "uint8", "bool")
"""Element types, by numpy's names. float16 is a storage type of constants."""


@dataclass(frozen=True)
class Quantization:
    """Which real numbers a tensor's integers stand for.

    scale: one float32 value, or one for each index along `axis` (constants only).
    zero_point: one for each scale. All are 0 where there are several scales.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int) -> Quantization:
        """One scale (rounded to float32) for all elements."""
        return cls((float(np.float32(scale)),), (int(zero_point),))


@dataclass(frozen=True)
class TensorType:
    """Shape, element type and, for integers that stand for real numbers, their quantization. Shapes are static."""

    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    def of_shape(self, shape: tuple[int, ...]) -> TensorType:
        """The same elements in another shape."""
        return replace(self, shape=shape)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor: an input of the graph, a result of an operation, or (with `data`) a constant.

    name: that of the ONNX tensor that it holds, where there is one; in another order of dimensions it is NAME/nhwc or
        the like.
    data: of the type's shape and dtype. Never written to.
    """

    name: str
    type: TensorType
    data: np.ndarray | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None


@dataclass(frozen=True)
class Operation:
    """One step.

    inputs, outputs: names of values. An input that is left out at the end (a bias) is not there.
    origin: names of the ONNX nodes that it computes.
    """

    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    origin: tuple[str, ...] = ()


@dataclass
class Graph:
    """Operations in order, and all their values by name.

    inputs, outputs: names, in the model's order. An output may be an input or a constant.
    layouts: inputs and outputs whose dimensions are in another order than the model's, by name: dimension i of what is
        stored is dimension layouts[name][i] of the model's tensor.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: list[Operation] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def type(self, name: str) -> TensorType:
        """The type of a value."""
        return self.values[name].type

    def constant(self, name: str) -> np.ndarray | None:
        """The data of a constant; None for what is computed."""
        return self.values[name].data

    def producers(self) -> dict[str, Operation]:
        """Who writes each value that an operation writes."""
        return {name: operation for operation in self.operations for name in operation.outputs}

    def consumers(self) -> dict[str, list[Operation]]:
        """Who reads each value, in order; an operation that reads it twice is there once."""
        found: dict[str, list[Operation]] = {name: [] for name in self.values}
        for operation in self.operations:
            for name in dict.fromkeys(operation.inputs):
                found[name].append(operation)
        return found

    def types_of(self, names: tuple[str, ...]) -> Iterator[TensorType]:
        """Types in the order of names."""
        return (self.values[name].type for name in names)
