"""A program in the writing: values that get a place, constants, steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np

from edgec.backends.tvm.constants import Constants, StoredType, Words, header, is_stored_by_grid
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Kernel, Word
from edgec.backends.tvm.kernels.borders import Border as BorderKernel
from edgec.backends.tvm.kernels.movement import Move
from edgec.backends.tvm.lowering.ahead import looking_ahead
from edgec.backends.tvm.lowering.callers_arrays import CallersArrays, Strides
from edgec.backends.tvm.phases import border_for
from edgec.backends.tvm.program import Place, Program, Step, require_offsets
from edgec.backends.tvm.storage import SLACK, Storage, covering, image_shape, small_pixel, vector_pixel
from edgec.backends.tvm.tuning.database import TileSize
from edgec.errors import UnsupportedOp
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.kinds.windows import NO_PADDING, Padding2D

if TYPE_CHECKING:
    from edgec.backends.tvm.lowering.views import View


@dataclass(frozen=True)
class _Alias:
    """A value that is bytes of another one. storage: how it lies; that of the other where it is None.
    offset: bytes from the other's first element to its own."""

    root: str
    storage: Storage | None = None
    offset: int = 0


class ProgramWriter:
    """What the rules for kinds write to.

    graph: of operations on integers and on floats. readers, writers: of its values.
    caller: the arrays that whoever runs the program has.
    tiles: of dense products, by the kernel's shape (`tuning/tiles.py`), where others are wanted than the rules'.
    """

    def __init__(self, graph: Graph, isa: InstructionSet, tiles: Mapping[str, TileSize] | None = None) -> None:
        self.graph = graph
        self.isa = isa
        self.tiles = tiles or {}
        self.caller = CallersArrays(graph, isa)
        self.readers = graph.consumers()
        self.writers = graph.producers()
        self._steps: list[Step] = []
        self._storages: dict[str, Storage] = {}
        self._constants = Constants()
        self._aliases: dict[str, _Alias] = {}
        self._laid: dict[str, Place] = {}
        self._delivered: set[str] = set()
        self.views: dict[str, View] = {}
        """Values that are not stored, only seen in another one, by those who move elements (`views.py`)."""

    def finish(self) -> Program:
        """The program: what is still to be delivered is copied to the caller's arrays. Raises UnsupportedOp where it
        is too large."""
        for name in self.graph.outputs:
            if name not in self._delivered:
                self._copied(name)
        inputs, outputs = (tuple(map(self.caller.border, names)) for names in (self.graph.inputs, self.graph.outputs))
        constants = bytes(self._constants.content)
        program = Program(inputs, outputs, looking_ahead(self._steps), dict(self._storages), constants)
        require_offsets(program)
        return program

    # --- values ---

    def type(self, name: str) -> TensorType:
        """A value's type in the graph."""
        return self.graph.type(name)

    def stored(self, name: str) -> StoredType:
        """A quantized value's type as it is stored."""
        return StoredType.of(self.graph.type(name), self.isa)

    def stored_dtype(self, name: str) -> str:
        """The dtype of a value in memory."""
        of = self.graph.type(name)
        if is_stored_by_grid(of):
            return self.isa.stored
        return "uint8" if of.dtype == "bool" else of.dtype

    def storage(self, name: str) -> Storage:
        """How a value lies: one that was declared, an input (brought in where it is needed), or a constant."""
        alias = self._aliases.get(name, _Alias(name))
        if alias.storage is not None:
            return alias.storage
        name = alias.root
        if name not in self._storages and name not in self._laid:
            if self.graph.values[name].is_constant:
                self._laid[name] = self._lay(name)
            else:
                assert name in self.graph.inputs, f"{name} has no place yet"
                self._bring(name)
        return self._storages.get(name) or self.plain(name)

    def declare(self, operation: Operation, index: int = 0, *, single_pixels: bool = False, pixel: int = 0) -> Storage:
        """Give a result of an operation its place, and have its border filled.

        index: which result. single_pixels: its writer stores channel by channel, so that pixels may be short.
        pixel: elements of a pixel, where its writer stores more than there are.
        """
        return self._declare(operation.outputs[index], [operation], single_pixels, pixel)

    def scratch(self, name: str, storage: Storage) -> Place:
        """Memory for something on the way to a value: the first element's place."""
        count = sum(other.startswith(f"{name}/scratch") for other in self._storages)
        made = f"{name}/scratch{count}"
        self._storages[made] = storage
        return Place("arena", made, offset=storage.inner * storage.itemsize)

    def alias(self, operation: Operation, index: int = 0, storage: Storage | None = None, offset: int = 0) -> None:
        """Let a result of an operation be bytes of its first operand.

        storage: how they lie for the result, where that is not how they lie for the operand; neither has a border then.
        offset: in bytes, from the operand's first element.
        """
        source = operation.inputs[0]
        self.storage(source)
        below = self._aliases.get(source, _Alias(source))
        self._aliases[operation.outputs[index]] = _Alias(below.root, storage or below.storage, below.offset + offset)

    def _declare(
        self, name: str, operations: Sequence[Operation], single_pixels: bool = False, wide: int = 0
    ) -> Storage:
        readers = list(self._all_readers(name))
        windows = [item.kind for item in readers if isinstance(item.kind, kinds.Conv2D)]
        plain = self.plain(name)
        # Only dense products read 4 bytes at a time; all other kernels read whole vectors of channels.
        short = single_pixels and len(windows) == len(readers) and all(kind.groups == 1 for kind in windows)
        pixel = small_pixel(plain.shape[3]) if short else wide or plain.pixel
        storage = Storage(plain.shape, plain.dtype, pixel, covering([*map(self._border_for, readers)]))
        self._storages[name] = storage
        if storage.border.any:
            size = pixel * storage.itemsize
            kernel = BorderKernel(storage.shape[0], storage.rows, storage.columns, size, storage.border)
            quantized = self.type(name).quantization is not None
            zero_point = self.words({Word.ZERO_POINT: self.stored(name).zero_point if quantized else 0})
            self.step(kernel, [zero_point, Place("arena", name)], *operations, result=name)
        return storage

    def as_stored(self, name: str, data: np.ndarray) -> np.ndarray:
        """Elements of a value as they lie in memory."""
        if is_stored_by_grid(self.type(name)):
            data = data.astype(np.int16) + self.stored(name).shift
        return data.astype(self.stored_dtype(name))

    def needs(self, name: str) -> bool:
        """Whether anybody reads a value."""
        return bool(self.readers[name]) or name in self.graph.outputs

    def plain(self, name: str) -> Storage:
        """How a value lies that nobody reads through a window."""
        shape, dtype = image_shape(self.graph.type(name)), self.stored_dtype(name)
        return Storage(shape, dtype, vector_pixel(shape[3], dtype))

    def is_padded(self, name: str) -> bool:
        """Whether somebody reads a value through a window that reaches beyond it."""
        return any(self._border_for(reader).any for reader in self._all_readers(name))

    def _border_for(self, reader: Operation) -> Padding2D:
        """How far a reader's windows reach beyond the image."""
        kind = reader.kind
        if isinstance(kind, kinds.TransposeConv2D):
            x, weights = (self.type(name) for name in reader.inputs[:2])
            return border_for(kind, x, weights, self.type(reader.outputs[0]))
        return kind.padding if isinstance(kind, kinds.Conv2D) else NO_PADDING

    def _all_readers(self, name: str) -> Iterator[Operation]:
        """Who reads a value, also under another name."""
        shape = image_shape(self.type(name))
        for operation in self.readers[name]:
            made = operation.outputs[0]
            if isinstance(operation.kind, kinds.Reshape) and image_shape(self.type(made)) == shape:
                yield from self._all_readers(made)
            else:
                yield operation

    # --- places ---

    def corner(self, name: str, padding: Padding2D = NO_PADDING) -> Place:
        """The image's first pixel, or that many pixels above and left of it."""
        storage = self.storage(name)
        alias = self._aliases.get(name, _Alias(name))
        if alias.root in self._laid:
            laid = self._laid[alias.root]
            return replace(laid, offset=laid.offset + alias.offset, size=laid.size - alias.offset)
        above, before = padding.top * storage.steps.row, padding.left * storage.pixel
        offset = (storage.inner - above - before) * storage.itemsize + alias.offset
        return Place("arena", alias.root, offset=offset)

    def source(self, name: str) -> tuple[Place, Strides]:
        """A value to be read element by element: an input where the caller has it, all else where it lies."""
        if name in self.graph.inputs and name not in self._storages and not self.caller.flips(name):
            return self.caller.given(name)
        return self._in_arena(name)

    def target(self, operation: Operation, index: int = 0) -> tuple[Place, Strides]:
        """Where a result of an operation is to be written element by element: to the caller where nobody else reads
        it, else to a place that it is given here."""
        name = operation.outputs[index]
        taken = self.caller.taken(name)
        if len(taken) == 1 and not self.readers[name] and not self.caller.flips(name):
            self._delivered.add(name)
            return taken[0]
        self.declare(operation, index)
        return self._in_arena(name)

    def _in_arena(self, name: str) -> tuple[Place, Strides]:
        steps = self.storage(name).steps
        return self.corner(name), (steps.image, steps.row, steps.column, 1)

    def words(self, words: Words) -> Place:
        """Constants that are nothing but a header."""
        return self.block(header(words).tobytes())

    def block(self, block: bytes) -> Place:
        """Constants."""
        return Place("constants", offset=self._constants.add(block), size=len(block))

    # --- steps ---

    def step(
        self, kernel: Kernel, operands: Sequence[Place], *operations: Operation, result: str = "", written: int = 1
    ) -> None:
        """Call a kernel for what the operations compute together.

        result: what it makes; the last operation's first result, unless told. written: how many operands, at the end,
        are results.
        """
        origin = tuple(dict.fromkeys(node for operation in operations for node in operation.origin))
        made = result or operations[-1].outputs[0]
        self._steps.append(Step(kernel, tuple(operands), made, origin, written=written))

    def move(
        self, name: str, shape: Sequence[int], source: tuple[Place, Sequence[int]], target: tuple[Place, Sequence[int]],
        *operations: Operation,
    ) -> None:  # fmt: skip
        """Copy the elements of a box between the caller and the arena. name: whose dtype they have. shape: of the box;
        strides in elements, of both."""
        kernel = Move.of(self.stored_dtype(name), shape, source[1], target[1], flips=self.caller.flips(name))
        self.step(kernel, [source[0], target[0]], *operations, result=name)

    # --- what is copied into the arena, out of it, and into constants ---

    def _bring(self, name: str) -> None:
        """Copy an input into the arena."""
        storage = self._declare(name, [])
        self.move(name, storage.shape, self.caller.given(name), self._in_arena(name))

    def _copied(self, name: str) -> None:
        """Copy an output to the caller. An output may be an input or a constant as well."""
        source = self.source(name)
        for target in self.caller.taken(name):
            self.move(name, image_shape(self.type(name)), source, target)
        self._delivered.add(name)

    def _lay(self, name: str) -> Place:
        """A constant as a value lies: equal ones once."""
        data, storage = self.graph.constant(name), self.plain(name)
        assert data is not None
        data = self.as_stored(name, data)
        laid = np.zeros((*storage.shape[:3], storage.pixel), storage.dtype)
        laid[..., : storage.shape[3]] = data.reshape(storage.shape)
        return self.block(laid.tobytes() + bytes(SLACK))


# The rules of kinds: whichever module of this package has one registers it. An operation is looked up among those that
# move elements, which do not ask what elements are; then among those on integers or those on anything else.


@singledispatch
def write_moved(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    """Write the steps of an operation whose results are elements of its operands, of any dtype on one grid."""
    raise unsupported(operation)


@singledispatch
def write_integer(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    """Write the steps of an operation on quantized tensors."""
    raise unsupported(operation)


@singledispatch
def write_float(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    """Write the steps of an operation on float32, and on integers that stand for themselves."""
    raise unsupported(operation)


def unsupported(operation: Operation) -> UnsupportedOp:
    nodes = ", ".join(operation.origin) or operation.outputs[0]
    return UnsupportedOp(
        f"The model can't be lowered through tvm: there is no kernel for {operation.kind.label}",
        f"It computes {nodes}.",
        "Choose another --backend, where the target lists one.",
    )


def write(writer: ProgramWriter, operation: Operation) -> None:
    """Write the steps of an operation, whatever it is. A rule that refuses it has written nothing; then the rule for
    all kinds is asked (`plain.py`)."""
    kind = operation.kind
    integers = any(is_stored_by_grid(writer.type(name)) for name in (operation.inputs[0], operation.outputs[0]))
    if integers and not isinstance(kind, MOVING):
        write_integer(kind, writer, operation)
        return
    rules = write_moved if isinstance(kind, MOVING) else write_float
    try:
        rules(kind, writer, operation)
    except UnsupportedOp:
        rules.dispatch(Kind)(kind, writer, operation)


MOVING = (
    kinds.Reshape, kinds.Transpose, kinds.Concat, kinds.Split, kinds.Slice, kinds.Pad, kinds.Gather, kinds.GatherND,
    kinds.ScatterND, kinds.Tile, kinds.BroadcastTo, kinds.Reverse, kinds.DepthToSpace, kinds.SpaceToDepth,
    kinds.ResizeNearest, kinds.Select,
)  # fmt: skip
"""Kinds whose results are elements of their operands."""
