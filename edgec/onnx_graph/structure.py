"""The structure of an ONNX file, walked field by field: is it whole and sane, and where does its data lie?

Tensor data is skipped by its length, so a file of 2 GB is walked as fast as its structure allows. Every tensor is
followed (initializers, attributes, sparse tensors, subgraphs, functions, training graphs), because each can name a
file, and readers that forgot one kind have leaked files before.

A field that may stand once must stand once: protobuf merges repeated ones, so that two halves could each look harmless.
A field that ONNX does not have is refused: it is a flipped bit or a format that edgec does not know.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from edgec.errors import ModelRefused
from edgec.onnx_graph.external_data import ExternalReference, OpenedFile, changed
from edgec.onnx_graph.fields import ELEMENT_TYPES, MESSAGES, Field
from edgec.onnx_graph.lookalikes import what_it_is
from edgec.onnx_graph.wire import BYTES, FIXED32, FIXED64, VARINT, WireError, WireReader, signed

MAX_FIELDS = 5_000_000
MAX_NODES = 200_000
MAX_TENSORS = 200_000
MAX_DEPTH = 100  # nested messages; also protobuf's own limit
MAX_RANK = 64
MAX_ELEMENTS = 1 << 40
MAX_TEXT = 1 << 26

EXPORT_AGAIN = "Download or export the model again, and compare its size and checksum with the source's."
_SCALAR_WIRE = {"int": VARINT, "float": FIXED32, "double": FIXED64, "text": BYTES, "bytes": BYTES}
_PACKABLE = {"int", "float", "double"}
_EXTERNAL = 1  # TensorProto.DataLocation
_STRING = 8
_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True)
class RawTensor:
    """An initializer of the main graph and where the bytes of its raw_data lie in the file.

    tag: where the field that holds the tensor begins. message: start and end of the tensor's message.
    field: where the raw_data field begins. data: start and end of its bytes.
    """

    tag: int
    message: tuple[int, int]
    field: int
    data: tuple[int, int]


@dataclass
class Structure:
    """What a scan found. `graph` is where the main graph's message lies (tag, start, end)."""

    references: list[ExternalReference] = field(default_factory=list)
    raw: list[RawTensor] = field(default_factory=list)
    graph: tuple[int, int, int] | None = None
    ir_version: int = 0
    opsets: int = 0
    nodes: int = 0
    tensors: int = 0


def read_structure(model: OpenedFile) -> Structure:
    """Walk an open file; raises ModelRefused, naming the place, unless it is a sound ONNX model."""
    return _Scanner(model).run()


@dataclass
class _Frame:
    """One message that the walk is inside of, for error messages."""

    label: str
    message: str
    tag: int
    start: int
    end: int


@dataclass
class _Tensor:
    """What a tensor's message said, gathered field by field."""

    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    name: str = ""
    location: int = 0
    entries: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    raw_field: int = 0
    raw: tuple[int, int] | None = None


class _Scanner:
    """One walk over one file."""

    def __init__(self, model: OpenedFile) -> None:
        self._model = model
        self._wire = WireReader(model.descriptor, model.size, MAX_FIELDS)
        self._frames: list[_Frame] = []
        self._found = Structure()
        self._at = 0

    def run(self) -> Structure:
        """Walk the whole file; raises ModelRefused."""
        path = self._model.path
        head = self._wire.read(0, min(self._model.size, 4096))
        try:
            self._walk("Model", 0, 0, self._model.size, "model")
            if os.fstat(self._model.descriptor).st_size != self._model.size:
                raise changed(path)
        except (WireError, _Refusal) as error:
            if (other := what_it_is(head)) is not None:
                raise _not_onnx(path, other) from None
            raise self._refusal(error) from None
        found = self._found
        if (other := what_it_is(head)) is not None and (found.graph is None or found.ir_version == 0):
            raise _not_onnx(path, other)
        if found.graph is None or found.ir_version == 0 or found.opsets == 0:
            missing = (
                "graph" if found.graph is None else "IR version" if found.ir_version == 0 else "operator set version"
            )
            raise ModelRefused(
                f"{path} is not an ONNX model", f"It is readable as protobuf, but has no {missing}.", EXPORT_AGAIN
            )
        return found

    def _refusal(self, error: WireError | _Refusal) -> ModelRefused:
        """The error for the user: which file, which part of it, which byte."""
        position = error.position if isinstance(error, WireError) else self._at
        where = ".".join(frame.label for frame in self._frames[1:]) or "the model"
        names = [f"{frame.message.lower()} {name!r}" for frame in self._frames if (name := self._name_of(frame))]
        of = f" ({', '.join(names[-2:])})" if names else ""
        size = self._model.size
        why = f"At byte {position:,} of {size:,}, in {where}{of}: {error.text}."
        fix = error.fix if isinstance(error, _Refusal) else EXPORT_AGAIN
        details = {"byte": position, "where": where}
        return ModelRefused(f"{self._model.path} is not a valid ONNX model", why, fix, details)

    def _name_of(self, frame: _Frame) -> str:
        """The name that a node, tensor, function or attribute gives itself, if it can be read."""
        number = {"Node": 3, "Tensor": 8, "Attribute": 1, "Function": 1, "ValueInfo": 1}.get(frame.message)
        if number is None:
            return ""
        with contextlib.suppress(WireError):
            reader = WireReader(self._model.descriptor, self._model.size, 10_000)
            for found, wire, _, first, last, _ in reader.fields(frame.start, frame.end):
                if found == number and wire == BYTES:
                    return reader.read(first, min(last, first + 200)).decode(errors="replace")
        return ""

    def _walk(self, message: str, tag: int, start: int, end: int, label: str) -> None:
        """Check the message from `start` to `end` and all that it holds."""
        if len(self._frames) >= MAX_DEPTH:
            raise _Refusal(f"messages nested more than {MAX_DEPTH} deep", "edgec takes subgraphs up to 30 levels deep.")
        self._frames.append(_Frame(label, message, tag, start, end))
        tensor = _Tensor() if message == "Tensor" else None
        fields = MESSAGES[message]
        seen: dict[int, int] = {}
        for number, wire, value, first, last, at in self._wire.fields(start, end):
            self._at = at
            known = fields.get(number)
            if known is None:
                raise _Refusal(
                    f"{message} has no field {number} in ONNX as edgec knows it",
                    f"{EXPORT_AGAIN} If it was made by a newer ONNX, edgec needs a newer onnx package.",
                )
            count = seen.get(number, 0)
            seen[number] = count + 1
            if count and not known.repeated:
                raise _Refusal(f"the field {known.name} stands there twice", EXPORT_AGAIN)
            if known.message == "Segment":
                raise _Refusal("a tensor in segments, which no reader of ONNX takes", EXPORT_AGAIN)
            if known.message:
                if wire != BYTES:
                    raise _Refusal(f"the field {known.name} is not a message", EXPORT_AGAIN)
                self._count(message, known)
                name = f"{known.name}[{count}]" if known.repeated else known.name
                if message == "Model" and known.name == "graph":
                    self._found.graph = (at, first, last)
                if tensor is not None and known.name == "external_data":
                    self._external_entry(at, first, last, tensor, name)
                else:
                    self._walk(known.message, at, first, last, name)
            else:
                self._scalar(known, wire, value, first, last, tensor, at)
                if message == "Model" and known.name == "ir_version":
                    self._found.ir_version = value
        self._at = start
        if tensor is not None:
            self._check_tensor(tensor)
        self._frames.pop()

    def _count(self, message: str, known: Field) -> None:
        found = self._found
        if known.message == "Node":
            found.nodes += 1
            if found.nodes > MAX_NODES:
                raise _Refusal(f"more than {MAX_NODES:,} nodes", "edgec is made for models of edge devices.")
        elif known.message == "Tensor":
            found.tensors += 1
            if found.tensors > MAX_TENSORS:
                raise _Refusal(f"more than {MAX_TENSORS:,} tensors", "edgec is made for models of edge devices.")
        elif message == "Model" and known.message == "OperatorSetId":
            found.opsets += 1

    def _scalar(
        self, known: Field, wire: int, value: int, first: int, last: int, tensor: _Tensor | None, at: int
    ) -> None:
        """Check one field that is no message, and note it when it belongs to a tensor."""
        kind = known.scalar
        packed = wire == BYTES and known.repeated and kind in _PACKABLE
        if wire != _SCALAR_WIRE[kind] and not packed:
            raise _Refusal(
                f"the field {known.name} has the wire type {wire}, which is not that of {kind}", EXPORT_AGAIN
            )
        if kind == "text":
            self._text(known.name, first, last, tensor)
        if tensor is None:
            if packed:
                self._entries(kind, known.name, first, last)
            return
        if known.name == "dims":
            dims = [value] if not packed else self._wire.varints(first, last)
            for dim in dims:
                tensor.dims.append(signed(dim))
                if len(tensor.dims) > MAX_RANK:
                    raise _Refusal(f"a tensor of more than {MAX_RANK} dimensions", EXPORT_AGAIN)
        elif known.name == "data_type":
            tensor.data_type = value
        elif known.name == "data_location":
            tensor.location = value
        elif known.name == "raw_data":
            tensor.raw, tensor.raw_field = (first, last), at
        elif known.name in _TYPED:
            count = self._entries(kind, known.name, first, last) if packed else 1
            tensor.counts[known.name] = tensor.counts.get(known.name, 0) + count

    def _entries(self, kind: str, name: str, first: int, last: int) -> int:
        """How many entries a packed field holds."""
        if kind == "int":
            return self._wire.count_varints(first, last)
        width = 4 if kind == "float" else 8
        if (last - first) % width:
            raise _Refusal(f"{name} has {last - first:,} bytes, not a multiple of {width}", EXPORT_AGAIN)
        return (last - first) // width

    def _text(self, name: str, first: int, last: int, tensor: _Tensor | None) -> str:
        if last - first > MAX_TEXT:
            raise _Refusal(f"{name} is a text of {last - first:,} bytes", EXPORT_AGAIN)
        try:
            text = self._wire.read(first, last).decode()
        except UnicodeDecodeError:
            raise _Refusal(f"{name} is not UTF-8 text", EXPORT_AGAIN) from None
        if tensor is not None and name == "name":
            tensor.name = text
        return text

    def _external_entry(self, tag: int, start: int, end: int, tensor: _Tensor, label: str) -> None:
        """One key and value of a tensor's external_data."""
        self._walk("StringStringEntry", tag, start, end, label)
        pair = {1: "", 2: ""}
        for number, _, _, first, last, _ in self._wire.fields(start, end):
            pair[number] = self._wire.read(first, last).decode()
        if pair[1] in tensor.entries:
            raise _Refusal(f"external_data names its {pair[1]} twice", EXPORT_AGAIN)
        tensor.entries[pair[1]] = pair[2]

    def _check_tensor(self, tensor: _Tensor) -> None:
        """Whether dims, dtype and data of a tensor agree; notes where its data lies."""
        kind = ELEMENT_TYPES.get(tensor.data_type)
        if kind is None:
            raise _Refusal(f"{tensor.data_type} is not a type of tensor elements", EXPORT_AGAIN)
        shape = "x".join(map(str, tensor.dims)) or "scalar"
        if any(dim < 0 for dim in tensor.dims):
            raise _Refusal(f"a negative dimension in {shape}", EXPORT_AGAIN)
        count = math.prod(tensor.dims)
        if count > MAX_ELEMENTS:
            raise _Refusal(f"the shape {shape} has more than 2^40 elements", EXPORT_AGAIN)
        size = -(-count * kind.bits // 8)
        inline = [name for name in _TYPED if tensor.counts.get(name)]
        if tensor.location == _EXTERNAL:
            if inline or tensor.raw is not None:
                raise _Refusal("a tensor with data both in the file and outside of it", EXPORT_AGAIN)
            self._reference(tensor, size)
            return
        if tensor.location != 0:
            raise _Refusal(f"{tensor.location} is not a place for a tensor's data", EXPORT_AGAIN)
        if tensor.raw is not None:
            length = tensor.raw[1] - tensor.raw[0]
            if tensor.data_type == _STRING or inline:
                raise _Refusal("a tensor whose data stands in two fields, or in the wrong one", EXPORT_AGAIN)
            if length != size:
                raise _Refusal(f"raw_data has {length:,} bytes; {kind.name} {shape} needs {size:,}", EXPORT_AGAIN)
            if [frame.message for frame in self._frames] == ["Model", "Graph", "Tensor"]:
                own = self._frames[-1]
                self._found.raw.append(RawTensor(own.tag, (own.start, own.end), tensor.raw_field, tensor.raw))
            return
        expected = math.ceil(count / kind.per_entry)
        if strays := [name for name in inline if name != kind.typed]:
            raise _Refusal(f"the data of a {kind.name} tensor stands in {strays[0]}", EXPORT_AGAIN)
        if tensor.counts.get(kind.typed, 0) != expected:
            held = tensor.counts.get(kind.typed, 0)
            raise _Refusal(f"{kind.typed} holds {held:,} entries; {kind.name} {shape} needs {expected:,}", EXPORT_AGAIN)

    def _reference(self, tensor: _Tensor, size: int) -> None:
        """Note a tensor's external data, or refuse what can be refused without looking at the disk."""
        shown = f"tensor {tensor.name!r}" if tensor.name else "a tensor without a name"
        where = ".".join(frame.label for frame in self._frames[1:])
        if "SparseTensor" in (frame.message for frame in self._frames):
            raise _Refusal(
                "a sparse tensor with external data", "Store sparse tensors inside the model, or make them dense."
            )
        if tensor.data_type == _STRING:
            raise _Refusal("a tensor of strings with external data", EXPORT_AGAIN)
        if not tensor.entries.get("location"):
            raise _Refusal("external data without a location", EXPORT_AGAIN)
        numbers = {}
        for key, default in (("offset", 0), ("length", size)):
            text = tensor.entries.get(key)
            if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 19):
                raise _Refusal(f"the {key} {text[:40]!r} of external data is not a number", EXPORT_AGAIN)
            numbers[key] = default if text is None else int(text)
        if numbers["length"] != size:
            raise _Refusal(f"external data of {numbers['length']:,} bytes; dims and dtype need {size:,}", EXPORT_AGAIN)
        self._found.references.append(
            ExternalReference(f"{shown} ({where})", tensor.entries["location"], numbers["offset"], size)
        )


class _Refusal(Exception):
    """A model that is protobuf, but that edgec won't take; turned into ModelRefused where the place is known."""

    def __init__(self, text: str, fix: str) -> None:
        super().__init__(text)
        self.text = text
        self.fix = fix


def _not_onnx(path: Path, other: tuple[str, str]) -> ModelRefused:
    what, fix = other
    return ModelRefused(f"{path} is not an ONNX model", f"It looks like {what}.", fix)
