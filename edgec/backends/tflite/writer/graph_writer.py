"""Tensors, constants and operators while a graph is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np

from edgec.backends.tflite.model_file import ModelFile, require_writable
from edgec.backends.tflite.schema import TENSOR_TYPES, generated
from edgec.backends.tflite.versions import needed_runtime, version_of
from edgec.errors import InternalError
from edgec.ir.graph import Graph, Operation, Quantization, TensorType
from edgec.ir.kinds import Cast, Dequantize, Kind
from edgec.onnx_graph.cost import StoredBytes

Tensor = int
"""The number of a tensor in the file."""

ABSENT: Tensor = -1
"""An operand that is left out."""


@dataclass(frozen=True)
class Written:
    """A file.

    content: its bytes.
    operators: how often each operator occurs, by its name.
    runtime: the oldest TensorFlow Lite that knows all of them.
    stored: what all buffers take; equal ones are stored once.
    """

    content: memoryview
    operators: Mapping[str, int]
    runtime: str
    stored: StoredBytes


def write_graph(graph: Graph, description: str, metadata: Mapping[str, bytes] | None = None) -> Written:
    """The file of a graph whose operations TFLite all has (see `edgec.backends.tflite.legal`).

    metadata: named buffers for whoever reads the file; `min_runtime_version` is added.
    Raises ModelRefused when it would be larger than 2 GiB, InternalError for an operation that TFLite does not have.
    """
    require_writable(sum(value.type.nbytes for value in graph.values.values() if value.is_constant))
    writer = GraphWriter(graph)
    for name in graph.inputs:
        writer.tensor(name)
    for operation in graph.operations:
        if not writer.is_stored(operation):  # a stored constant is written before its first reader
            writer.write(operation)
    outputs = [(name, writer.tensor(name)) for name in graph.outputs]
    inputs = [(name, writer.tensor(name)) for name in graph.inputs]
    runtime = needed_runtime(list(writer.file.codes))
    for key, content in (metadata or {}).items():
        writer.file.add_metadata(key, content)
    writer.file.add_metadata("min_runtime_version", runtime.encode().ljust(16, b"\0"))
    made = writer.file.to_bytes(inputs, outputs, description)
    return Written(made, writer.operators(), runtime, writer.stored_bytes())


@singledispatch
def write_kind(kind: Kind, site: Site) -> None:
    """Write an operation: one function for each kind."""
    raise InternalError(
        f"TFLite has no operator for {kind.label}",
        f"The operation {site.operation.outputs[0]!r} should have been replaced before it was written.",
        "Please report it with the model if you may share it and the output of `edgec doctor`.",
        {"operation": site.operation.outputs[0], "kind": kind.label},
    )


@dataclass
class GraphWriter:
    """The file in the writing.

    types: of every tensor in the file, by its number.
    """

    graph: Graph
    file: ModelFile = field(default_factory=ModelFile)
    types: list[TensorType] = field(default_factory=list)
    _tensors: dict[str, Tensor] = field(default_factory=dict)
    _constants: dict[tuple[TensorType, int], Tensor] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._producers = self.graph.producers()
        self._names.update(self.graph.values)  # what the file needs besides is called otherwise

    def write(self, operation: Operation) -> None:
        """Write one operation."""
        write_kind(operation.kind, Site(self, operation))

    def is_stored(self, operation: Operation) -> bool:
        """Whether an operation does no more than to make a constant float that is stored as something smaller."""
        return isinstance(operation.kind, (Dequantize, Cast)) and self.graph.values[operation.inputs[0]].is_constant

    def stored(self, name: str) -> Operation | None:
        """The operation that makes `name` of a stored constant."""
        operation = self._producers.get(name)
        return operation if operation is not None and self.is_stored(operation) else None

    def tensor(self, name: str) -> Tensor:
        """The tensor of a value of the graph; it is added when it is first asked for."""
        if name not in self._tensors:
            value = self.graph.values[name]
            self._names.discard(name)
            if value.data is not None:
                self._tensors[name] = self.constant(name, value.data, value.type.quantization)
            else:
                self._tensors[name] = self._add(name, value.type, 0)
                if (operation := self.stored(name)) is not None:
                    self.write(operation)
        return self._tensors[name]

    def constant(self, name: str, data: np.ndarray, quantization: Quantization | None = None) -> Tensor:
        """A tensor with data. Equal ones are one tensor, under the first one's name."""
        of = TensorType(data.shape, str(data.dtype), quantization)
        buffer = self.file.buffer(data)
        key = (of, buffer)
        if key not in self._constants:
            self._constants[key] = self._add(name, of, buffer)
        return self._constants[key]

    def stored_bytes(self) -> StoredBytes:
        """What the buffers take that have been added so far."""
        float32 = {buffer: of.nbytes for of, buffer in self._constants if of.dtype == "float32"}
        return StoredBytes(self.file.stored_bytes, sum(float32.values()))

    def between(self, name: str, of: TensorType) -> Tensor:
        """A tensor that is no value of the graph."""
        return self._add(name, of, 0)

    def emit(self, code: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], options: Any = None) -> None:
        """Add an operator, in the smallest version that takes its operands."""
        taken = [self.types[index] for index in inputs if index != ABSENT]
        version = version_of(code, taken, [self.types[index] for index in outputs], options)
        self.file.add_operator(code, version, inputs, outputs, options)

    def operators(self) -> dict[str, int]:
        """How often each operator occurs, sorted by name."""
        names = [code for code, _ in self.file.codes]
        found: dict[str, int] = {}
        for operator in self.file.operators:
            name = names[operator.opcodeIndex]
            found[name] = found.get(name, 0) + 1
        return dict(sorted(found.items()))

    def _add(self, name: str, of: TensorType, buffer: int) -> Tensor:
        made = generated.TensorT()
        made.name, made.type, made.buffer = self._fresh(name), TENSOR_TYPES[of.dtype], buffer
        made.shape = np.array(of.shape, np.int32)
        made.hasRank = True
        if of.quantization is not None:
            made.quantization = _quantization(of.quantization)
        self.types.append(of)
        return self.file.add_tensor(made)

    def _fresh(self, name: str) -> str:
        wanted, count = name, 0
        while wanted in self._names:
            count += 1
            wanted = f"{name}.{count}"
        self._names.add(wanted)
        return wanted


@dataclass(frozen=True)
class Site:
    """An operation where it is written."""

    writer: GraphWriter
    operation: Operation

    @property
    def name(self) -> str:
        """What tensors of its own are called after."""
        return self.operation.outputs[0]

    @property
    def inputs(self) -> list[Tensor]:
        """All operands. What is asked for is written to the file: for some of them there is `input`."""
        return [self.writer.tensor(name) for name in self.operation.inputs]

    def input(self, position: int) -> Tensor:
        """The operand at `position`."""
        return self.writer.tensor(self.operation.inputs[position])

    @property
    def outputs(self) -> list[Tensor]:
        return [self.writer.tensor(name) for name in self.operation.outputs]

    def type(self, position: int) -> TensorType:
        """The type of an operand."""
        return self.writer.graph.type(self.operation.inputs[position])

    @property
    def result(self) -> TensorType:
        """The type of the first result."""
        return self.writer.graph.type(self.operation.outputs[0])

    def has(self, position: int) -> bool:
        """Whether the operand at `position` is given."""
        return position < len(self.operation.inputs)

    def integers(self, suffix: str, values: Sequence[int]) -> Tensor:
        """A constant int32 vector: a shape, axes, a padding."""
        return self.writer.constant(f"{self.name}/{suffix}", np.array(values, np.int32))

    def number(self, suffix: str, value: int) -> Tensor:
        """A constant int32 scalar."""
        return self.writer.constant(f"{self.name}/{suffix}", np.array(value, np.int32))

    def emit(self, code: str, options: Any = None, *, inputs: Sequence[Tensor] | None = None) -> None:
        """Write the operator; its inputs are the operation's unless others are given."""
        self.writer.emit(code, self.inputs if inputs is None else inputs, self.outputs, options)


def _quantization(of: Quantization) -> Any:
    made = generated.QuantizationParametersT()
    made.scale = np.array(of.scale, np.float32)
    made.zeroPoint = np.array(of.zero_point, np.int64)
    made.quantizedDimension = of.axis or 0
    return made
