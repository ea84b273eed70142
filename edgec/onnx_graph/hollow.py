"""Models without their weights: the structure in memory, the weights where they lie.

Every step of ingest works on a hollow model, one whose large initializers are external data, even if the user's file
had them inside. So the memory that a model takes does not grow with its weights, and a model of 3 GB goes the way of a
model of 3 MB. `write_model` puts structure and weights together again, streaming.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from edgec.errors import ModelRefused
from edgec.onnx_graph.external_data import changed
from edgec.onnx_graph.fields import ELEMENT_TYPES
from edgec.onnx_graph.untrusted import OpenedModel
from edgec.onnx_graph.wire import bytes_header, encode_bytes, encode_varint

if TYPE_CHECKING:
    import onnx

SMALL = 1 << 14
"""Bytes up to which an initializer stays in the structure: shapes, axes, scales, biases."""

INLINE_LIMIT = 1_500_000_000
"""Bytes up to which a written model is one file; protobuf ends at 2 GiB, and readers need room to rewrite."""

WEIGHTS = "weights.bin"

_PIECE = 1 << 24
_ZEROS = bytes(_PIECE)
_ALIGNMENT = 4096  # lets readers map each tensor on its own
_ITSELF = "\0"  # location of data that lies in the model file; no untrusted location can hold a NUL
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14  # fields of TensorProto
_GRAPH, _INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
_VARINT_EXTERNAL = encode_varint(_DATA_LOCATION << 3) + b"\x01"


@dataclass(frozen=True)
class Extent:
    """`length` bytes at `offset` of an open file."""

    descriptor: int
    offset: int
    length: int

    def pieces(self) -> Iterator[bytes]:
        """The bytes, 16 MiB at a time (the last piece may be shorter); raises ModelRefused when the file has shrunk."""
        for done in range(0, self.length, _PIECE):
            wanted = min(_PIECE, self.length - done)
            piece = os.pread(self.descriptor, wanted, self.offset + done)
            if len(piece) != wanted:
                raise changed(Path(f"/proc/self/fd/{self.descriptor}").readlink())
            yield piece

    def read(self) -> bytes:
        """All bytes at once."""
        return b"".join(self.pieces())


@dataclass(frozen=True, eq=False)
class Held:
    """Data in memory, for what the file does not hold as it is needed."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def pieces(self) -> Iterator[bytes]:
        """The bytes, at most 16 MiB at a time."""
        for done in range(0, len(self.data), _PIECE):
            yield self.data[done : done + _PIECE]

    def read(self) -> bytes:
        return self.data


@dataclass(frozen=True, eq=False)
class Made:
    """Data that is computed when it is wanted, as a whole: `length` bytes from `make`, the same each time."""

    length: int
    make: Callable[[], bytes]

    def pieces(self) -> Iterator[bytes]:
        """The bytes, at most 16 MiB at a time."""
        yield from Held(self.make()).pieces()

    def read(self) -> bytes:
        """All bytes at once."""
        return self.make()


@dataclass(frozen=True)
class Recast:
    """Data of another floating-point dtype (`kind`, as in TensorProto) as float32, made piece by piece."""

    source: Extent | Held | Recast | Made
    kind: int

    @property
    def length(self) -> int:
        return self.source.length // self._dtype().itemsize * 4

    def pieces(self) -> Iterator[bytes]:
        """The bytes, at most 32 MiB at a time."""
        for piece in self.source.pieces():
            yield as_float32(np.frombuffer(piece, self._dtype())).tobytes()

    def read(self) -> bytes:
        """All bytes at once."""
        return b"".join(self.pieces())

    def _dtype(self) -> np.dtype:
        from onnx import helper

        return np.dtype(helper.tensor_dtype_to_np_dtype(self.kind))


def as_float32(values: np.ndarray) -> np.ndarray:
    """Floats of any dtype as float32; finite values stay finite."""
    if values.dtype == np.float64:
        most = float(np.finfo(np.float32).max)
        values = np.where(np.isfinite(values), np.clip(values, -most, most), values)
    return np.asarray(values, np.float32)


Data = Extent | Held | Recast | Made
Weights = Mapping[str, Data]
"""Name of an initializer of the main graph to its data."""


def hollow_bytes(opened: OpenedModel) -> bytes:
    """The model file's bytes, with the large raw_data of its initializers replaced by references into the file."""
    model = opened.model
    assert opened.structure.graph is not None
    tag, start, end = opened.structure.graph
    parts = []
    at = start
    for tensor in opened.structure.raw:
        first, last = tensor.data
        if last - first <= SMALL:
            continue
        begin, finish = tensor.message
        kept = _read(model.descriptor, begin, tensor.field) + _read(model.descriptor, last, finish)
        entries = {"location": _ITSELF, "offset": str(first), "length": str(last - first)}
        kept += b"".join(encode_bytes(_EXTERNAL_DATA, _entry(key, value)) for key, value in entries.items())
        parts += [_read(model.descriptor, at, tensor.tag), encode_bytes(_INITIALIZER, kept + _VARINT_EXTERNAL)]
        at = finish
    parts.append(_read(model.descriptor, at, end))
    graph = b"".join(parts)
    return (
        _read(model.descriptor, 0, tag)
        + bytes_header(_GRAPH, len(graph))
        + graph
        + _read(model.descriptor, end, model.size)
    )


def _entry(key: str, value: str) -> bytes:
    return encode_bytes(1, key.encode()) + encode_bytes(2, value.encode())


def _read(descriptor: int, start: int, end: int) -> bytes:
    return Extent(descriptor, start, end - start).read()


def detach_weights(model: onnx.ModelProto, opened: OpenedModel) -> dict[str, Data]:
    """Make `model`, parsed from `hollow_bytes(opened)`, independent of the place of its data.

    Returns where the data of its large initializers is; those keep name, dims and dtype. All other external data (small
    initializers, tensors in attributes and subgraphs) is loaded into the model. Raises ModelRefused.
    """
    large: dict[str, Data] = {}
    names: set[str] = set()
    for tensor in model.graph.initializer:
        if tensor.name in names:
            raise ModelRefused(
                "The model is not valid",
                f"Two initializers have the name {tensor.name!r}.",
                "Export the model again from its source.",
            )
        names.add(tensor.name)
        extent = _extent(tensor, opened)
        if extent is not None and extent.length > SMALL:
            large[tensor.name] = extent
            refer(tensor, 0, extent.length)
        else:
            _load(tensor, extent)
    loaded = 0
    for tensor in nested_tensors(model):
        extent = _extent(tensor, opened)
        loaded += extent.length if extent else 0
        if loaded > INLINE_LIMIT:
            raise ModelRefused(
                "The model holds too much data in its subgraphs and attributes",
                f"Beside its initializers, tensors such as {tensor.name!r} have more than {INLINE_LIMIT:,} bytes.",
                "Export the model without control flow (If, Loop, Scan), so that its weights are initializers.",
            )
        _load(tensor, extent)
    return large


def _extent(tensor: onnx.TensorProto, opened: OpenedModel) -> Extent | None:
    """Where the external data of a scanned tensor is; None when it has none."""
    if tensor.data_location != tensor.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries["location"]
    source = opened.model if location == _ITSELF else opened.external[location]
    length = -(-math.prod(tensor.dims) * ELEMENT_TYPES[tensor.data_type].bits // 8)
    return Extent(source.descriptor, int(entries.get("offset", "0")), length)


def _load(tensor: onnx.TensorProto, extent: Extent | None) -> None:
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    if extent is not None:
        tensor.raw_data = extent.read()


def detach_held(model: onnx.ModelProto, weights: dict[str, Data]) -> None:
    """Move the large initializers that are still inside `model` (they came from Constant nodes) to `weights`."""
    for tensor in model.graph.initializer:
        if tensor.name not in weights and len(tensor.raw_data) > SMALL:
            weights[tensor.name] = Held(tensor.raw_data)
            refer(tensor, 0, len(tensor.raw_data))


def refer(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    """Make `tensor` name `length` bytes at `offset` of the weights file as its data."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = tensor.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every subgraph below it, the outer one first."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def nested_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that is not an initializer of the main graph: in attributes, subgraphs and functions."""
    nodes = [node for function in model.functions for node in function.node]
    for index, graph in enumerate(graphs(model)):
        if index:
            yield from graph.initializer
        nodes += graph.node
    while nodes:
        for attribute in nodes.pop().attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def write_model(model: onnx.ModelProto, weights: Weights, folder: Path) -> None:
    """Write model.onnx, and weights.bin beside it where the model is too large for one file.

    model: hollow; the data of each initializer named in `weights` is streamed from there.
    """
    if model.ByteSize() + sum(extent.length for extent in weights.values()) > INLINE_LIMIT:
        with (folder / WEIGHTS).open("wb") as stream:
            _write_weights(model, weights, stream)
        weights = {}
    with (folder / "model.onnx").open("wb") as stream:
        _write_inline(model, weights, stream)


def _write_weights(model: onnx.ModelProto, weights: Weights, stream: BinaryIO) -> None:
    """Stream the weights into one file, each once, and make the model refer to it."""
    places: dict[Data, int] = {}
    end = 0
    for tensor in model.graph.initializer:
        extent = weights.get(tensor.name)
        if extent is None:
            continue
        if extent not in places:
            places[extent] = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = places[extent] + extent.length
            stream.seek(places[extent])
            _copy(extent, stream)
        refer(tensor, places[extent], extent.length)
    stream.truncate(end)


def _copy(extent: Data, stream: BinaryIO) -> None:
    """Copy bytes; pieces of zeros become holes, which need no space on the disk."""
    for piece in extent.pieces():
        if piece == _ZEROS[: len(piece)]:
            stream.seek(len(piece), os.SEEK_CUR)
        else:
            stream.write(piece)


def _write_inline(model: onnx.ModelProto, weights: Weights, stream: BinaryIO) -> None:
    """Serialize the model with its weights inside, one tensor at a time."""
    shell = type(model)()
    shell.CopyFrom(model)
    heads = []
    for tensor in shell.graph.initializer:
        extent = weights.get(tensor.name)
        if extent is not None:
            tensor.ClearField("data_location")
            del tensor.external_data[:]
        head = tensor.SerializeToString(deterministic=True)
        head += b"" if extent is None else bytes_header(_RAW_DATA, extent.length)
        size = len(head) + (0 if extent is None else extent.length)
        heads.append((bytes_header(_INITIALIZER, size) + head, extent))
    del shell.graph.initializer[:]
    graph = shell.graph.SerializeToString(deterministic=True)
    total = len(graph) + sum(len(head) + (extent.length if extent else 0) for head, extent in heads)
    shell.ClearField("graph")
    stream.write(shell.SerializeToString(deterministic=True) + bytes_header(_GRAPH, total) + graph)
    for head, extent in heads:
        stream.write(head)
        if extent is not None:
            for piece in extent.pieces():
                stream.write(piece)
