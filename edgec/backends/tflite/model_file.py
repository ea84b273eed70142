"""A .tflite file in the writing: buffers, tensors, operators; then its bytes.

What is written is a function of what was added, and in that order. Buffers lie on multiples of 16 bytes (the schema's
`force_align`, which flatbuffers' Python does not heed) and are copied once, into a builder that is made large enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np

from edgec.backends.tflite.schema import generated, operator_code, options_type
from edgec.errors import ModelRefused

LARGEST = 2**31 - (1 << 20)
"""Bytes of the largest file: offsets are signed 32-bit numbers, and the tables need room too."""

_ALIGNMENT = 16
_IDENTIFIER = b"TFL3"
_SLACK = 1 << 16  # the builder is made large enough for all tables, so that it never has to copy itself to grow


def require_writable(constant_bytes: int) -> None:
    """Raises ModelRefused when a file with so many bytes of constants can't be written."""
    if constant_bytes > LARGEST:
        raise ModelRefused(
            f"The model's constants take {constant_bytes:,} bytes",
            f"A .tflite file can't be larger than 2 GiB ({LARGEST:,} bytes of constants): its offsets have 31 bits.",
            "Build with --precision int8, int8-weights or fp16, which take less room, or choose another --backend.",
            {"constant_bytes": constant_bytes, "limit": LARGEST},
        )


@dataclass
class Buffer:
    """Bytes of a constant. `Pack` is what the generated code calls."""

    data: np.ndarray | None = None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        at = None if self.data is None else _aligned(builder, self.data)
        generated.BufferStart(builder)
        if at is not None:
            generated.BufferAddData(builder, at)
        return int(generated.BufferEnd(builder))


def _aligned(builder: flatbuffers.Builder, data: np.ndarray) -> int:
    """Write a vector of bytes whose first one lies on a multiple of 16."""
    builder.StartVector(1, data.nbytes, _ALIGNMENT)
    builder.head -= data.nbytes
    builder.Bytes[builder.head : builder.head + data.nbytes] = data.data
    builder.vectorNumElems = data.nbytes
    return int(builder.EndVector())


@dataclass
class ModelFile:
    """What has been added so far.

    tensors: by index. codes: operators and their versions, numbered in the order of their first use.
    """

    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: dict[tuple[str, int], int] = field(default_factory=dict)
    _buffers: list[Buffer] = field(default_factory=lambda: [Buffer()])  # the first is empty by convention
    _known: dict[bytes, int] = field(default_factory=dict)
    _metadata: list[tuple[str, int]] = field(default_factory=list)

    def buffer(self, data: np.ndarray) -> int:
        """The number of the buffer with these bytes; equal bytes share one."""
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        digest = hashlib.blake2b(raw.data, digest_size=20).digest()
        if digest not in self._known:
            self._known[digest] = len(self._buffers)
            self._buffers.append(Buffer(raw))
        return self._known[digest]

    @property
    def stored_bytes(self) -> int:
        """Of all buffers."""
        return sum(item.data.nbytes for item in self._buffers if item.data is not None)

    def add_tensor(self, tensor: Any) -> int:
        """The number of a new tensor (a TensorT)."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add_operator(
        self, code: str, version: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> None:
        """Add an operator. An input of -1 is left out."""
        made = generated.OperatorT()
        made.opcodeIndex = self.codes.setdefault((code, version), len(self.codes))
        made.inputs, made.outputs = _vector(inputs), _vector(outputs)
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = options_type(options), options
        self.operators.append(made)

    def add_metadata(self, name: str, content: bytes) -> None:
        """Add a named buffer, which runtimes do not read."""
        self._buffers.append(Buffer(np.frombuffer(content, np.uint8)))
        self._metadata.append((name, len(self._buffers) - 1))

    def to_bytes(
        self,
        inputs: Sequence[tuple[str, int]],
        outputs: Sequence[tuple[str, int]],
        description: str,
        name: str = "main",
    ) -> memoryview:
        """The file, of one subgraph and one signature `serving_default`.

        inputs, outputs: their names in the signature and their tensors, in order.
        """
        graph = generated.SubGraphT()
        graph.name, graph.tensors, graph.operators = name, self.tensors, self.operators
        graph.inputs, graph.outputs = ([index for _, index in side] for side in (inputs, outputs))
        model = generated.ModelT()
        model.version, model.description, model.subgraphs = 3, description, [graph]
        model.operatorCodes = [_code(code, version) for code, version in self.codes]
        model.buffers = self._buffers
        model.metadata = [_metadata(key, index) for key, index in self._metadata]
        model.signatureDefs = [_signature(inputs, outputs)]
        require_writable(self.stored_bytes)
        tables = 1024 * (len(self.tensors) + len(self.operators)) + _SLACK
        room = self.stored_bytes + 2 * _ALIGNMENT * len(self._buffers) + tables
        builder = flatbuffers.Builder(min(room, 2**31 - 1))
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return memoryview(builder.Bytes)[builder.Head() :]


def _vector(numbers: Sequence[int]) -> np.ndarray:
    return np.array(numbers, np.int32)


def _code(code: str, version: int) -> Any:
    made = generated.OperatorCodeT()
    made.builtinCode, made.version = operator_code(code), version
    made.deprecatedBuiltinCode = min(made.builtinCode, 127)  # runtimes before 2.4 read this one
    return made


def _metadata(name: str, buffer: int) -> Any:
    made = generated.MetadataT()
    made.name, made.buffer = name, buffer
    return made


def _signature(inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]]) -> Any:
    made = generated.SignatureDefT()
    made.signatureKey, made.subgraphIndex = "serving_default", 0
    made.inputs, made.outputs = ([_named(name, index) for name, index in side] for side in (inputs, outputs))
    return made


def _named(name: str, tensor: int) -> Any:
    made = generated.TensorMapT()
    made.name, made.tensorIndex = name, tensor
    return made
