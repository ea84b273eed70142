"""A .tflite file as the Edge TPU compiler meets it: operators in order, and the tensors between them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgec.errors import ModelRefused

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of a .tflite file (schema.fbs: file_identifier)."""

_ASTRAY = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, struct.error)
"""What struct, numpy and the generated classes raise where offsets lead astray."""

_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT4": "int4",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "BOOL": "bool",
}


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the file.

    shape: as stored; static: no dimension is left open by the file's shape signature.
    scales: () for what is not quantized, several where an axis has one for each index. zero_point: the first one.
    data: a constant's elements, of `shape`; None for what is computed, and for a constant of a type that numpy lacks.
    outside: a constant whose bytes lie behind the flatbuffer instead of in it.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    data: np.ndarray | None = None
    constant: bool = False
    outside: bool = False
    static: bool = True

    @property
    def per_axis(self) -> bool:
        """Whether it has several scales."""
        return len(self.scales) > 1

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """What the elements take; int4 counts as a byte."""
        return self.size * (1 if self.dtype == "int4" else np.dtype(self.dtype).itemsize if self.dtype else 0)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of the main subgraph.

    name: by the schema, "CONV_2D". inputs: None where an optional one is left out.
    options: fields of its options table, by their names in schema_py_generated ("fusedActivationFunction").
    """

    index: int
    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What people know it by: the name of its first result."""
        return self.outputs[0].name if self.outputs else f"operator {self.index}"

    def input(self, position: int) -> Tensor | None:
        """The operand at `position`; None where there is none."""
        return self.inputs[position] if position < len(self.inputs) else None

    def option(self, name: str, default: Any = None) -> Any:
        """A field of its options; the default where the file has no options for it."""
        return self.options.get(name, default)

    @property
    def given(self) -> list[Tensor]:
        """The operands that are there."""
        return [tensor for tensor in self.inputs if tensor is not None]

    @property
    def computed(self) -> list[Tensor]:
        """The operands that are not constants, and the results."""
        return [tensor for tensor in self.given if not tensor.constant] + list(self.outputs)


@dataclass(frozen=True)
class Network:
    """The main subgraph of a file, its operators in the order in which they run. subgraphs: how many the file has."""

    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    subgraphs: int


def read(file: bytes) -> Network:
    """The network in a .tflite file.

    Raises ModelRefused for bytes that are no such file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if file[4:8] != IDENTIFIER:
        raise _not_tflite("Its bytes 4 to 8 are not 'TFL3'.")
    try:
        model = schema.ModelT.InitFromPackedBuf(file, 0)
        graph = model.subgraphs[0]
        tensors = [_tensor(index, item, model.buffers, file) for index, item in enumerate(graph.tensors)]
        operators = [
            _operator(index, item, model.operatorCodes, tensors) for index, item in enumerate(graph.operators or [])
        ]
        return Network(
            tuple(operators),
            tuple(tensors[index] for index in _indices(graph.inputs)),
            tuple(tensors[index] for index in _indices(graph.outputs)),
            len(model.subgraphs),
        )
    except _ASTRAY as error:
        raise _not_tflite(f"Its tables can't be followed: {type(error).__name__}: {error}.") from error


def _not_tflite(why: str) -> ModelRefused:
    return ModelRefused("The bytes are no TensorFlow Lite file", why, "Write the file again.")


def _indices(found: Any) -> list[int]:
    return [int(index) for index in found] if found is not None else []


def _tensor(index: int, item: Any, buffers: Any, file: bytes) -> Tensor:
    shape = tuple(int(size) for size in item.shape) if item.shape is not None else ()
    signature = tuple(int(size) for size in item.shapeSignature) if item.shapeSignature is not None else shape
    dtype = _DTYPES.get(_names("TensorType")[item.type], "")
    raw, outside = _bytes(buffers[item.buffer], file)
    quantization = item.quantization
    scales: tuple[float, ...] = ()
    if quantization is not None and quantization.scale is not None:
        scales = tuple(float(scale) for scale in quantization.scale)
    data = None
    if raw is not None and dtype not in ("", "int4"):
        data = np.frombuffer(raw, dtype).reshape(shape)
    return Tensor(
        index=index,
        name=(item.name or b"").decode("utf-8", "backslashreplace"),
        shape=shape,
        dtype=dtype,
        scales=scales,
        zero_point=next(iter(_indices(quantization.zeroPoint)), 0) if quantization is not None else 0,
        data=data,
        constant=raw is not None,
        outside=outside,
        static=min((*signature, *shape), default=0) >= 0,
    )


def _bytes(buffer: Any, file: bytes) -> tuple[bytes | None, bool]:
    """A constant's bytes, None for a tensor that has none; and whether they lie behind the flatbuffer."""
    if buffer.data is not None and len(buffer.data):
        return bytes(buffer.data), False
    if getattr(buffer, "offset", 0) > 1:
        return file[buffer.offset : buffer.offset + buffer.size], True
    return None, False


def _operator(index: int, item: Any, codes: Any, tensors: list[Tensor]) -> Operator:
    code = codes[item.opcodeIndex]
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)  # older files have only the second, a byte
    return Operator(
        index=index,
        name=_names("BuiltinOperator").get(builtin, f"builtin {builtin}"),
        version=int(code.version),
        inputs=tuple(tensors[i] if i >= 0 else None for i in _indices(item.inputs)),
        outputs=tuple(tensors[i] for i in _indices(item.outputs)),
        options=dict(vars(item.builtinOptions)) if item.builtinOptions is not None else {},
    )


@cache
def _names(enumeration: str) -> dict[int, str]:
    """Names of a schema's enumeration by their numbers."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(getattr(schema, enumeration)).items() if isinstance(value, int)}


def activation(operator: Operator) -> str:
    """The fused activation function: "NONE", "RELU", "RELU6", ..."""
    return _names("ActivationFunctionType")[int(operator.option("fusedActivationFunction", 0))]
