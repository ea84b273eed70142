"""A program in the writing: values that get a place, constants, steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch

import numpy as np

from edgec.backends.tvm.constants import Constants, StoredType, Words, header
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.base import Kernel, Word
from edgec.backends.tvm.kernels.borders import Border as BorderKernel
from edgec.backends.tvm.lowering.ahead import looking_ahead
from edgec.backends.tvm.program import Border, Place, Program, Step
from edgec.backends.tvm.storage import Storage, covering, image_shape, small_pixel, vector_pixel
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.kinds import Kind
from edgec.ir.kinds.windows import NO_PADDING, Padding2D


class ProgramWriter:
    """What the rules for kinds write to.

    graph: of integer operations. readers, writers: of its values.
    """

    def __init__(self, graph: Graph, isa: InstructionSet) -> None:
        self.graph = graph
        self.isa = isa
        self.readers = graph.consumers()
        self.writers = graph.producers()
        self._steps: list[Step] = []
        self._storages: dict[str, Storage] = {}
        self._constants = Constants()
        self._aliases: dict[str, str] = {}

    def finish(self) -> Program:
        inputs, outputs = (tuple(map(self.border, names)) for names in (self.graph.inputs, self.graph.outputs))
        constants = bytes(self._constants.content)
        return Program(inputs, outputs, looking_ahead(self._steps), dict(self._storages), constants)

    # --- values ---

    def stored(self, name: str) -> StoredType:
        """A quantized value's type as it is stored."""
        return StoredType.of(self.graph.type(name), self.isa)

    def storage(self, name: str) -> Storage:
        """How a value lies that has a place."""
        return self._storages[self._root(name)]

    def declare(self, operation: Operation, *, single_pixels: bool = False) -> Storage:
        """Give the result of an operation its place, and have its border filled.

        single_pixels: its writer stores channel by channel, so that pixels may be short.
        """
        name = operation.outputs[0]
        readers = list(self._all_readers(name))
        windows = [item.kind for item in readers if isinstance(item.kind, kinds.Conv2D)]
        shape = image_shape(self.graph.type(name))
        assert shape is not None, name
        # Only dense products read 4 bytes at a time; all other kernels read whole vectors of channels.
        short = single_pixels and len(windows) == len(readers) and all(kind.groups == 1 for kind in windows)
        pixel = small_pixel(shape[3]) if short else vector_pixel(shape[3])
        storage = Storage(shape, pixel, covering([kind.padding for kind in windows]))
        self._storages[name] = storage
        if storage.border.any:
            kernel = BorderKernel(shape[0], storage.rows, storage.columns, pixel, storage.border)
            zero_point = self.words({Word.ZERO_POINT: self.stored(name).zero_point})
            self.step(kernel, [zero_point, Place("arena", name)], operation)
        return storage

    def alias(self, operation: Operation) -> None:
        """Let the result of an operation be the very bytes of its operand."""
        self._aliases[operation.outputs[0]] = self._root(operation.inputs[0])

    def _root(self, name: str) -> str:
        return self._aliases.get(name, name)

    def _all_readers(self, name: str) -> Iterator[Operation]:
        """Who reads a value, also under another name."""
        for operation in self.readers[name]:
            if isinstance(operation.kind, kinds.Reshape):
                yield from self._all_readers(operation.outputs[0])
            else:
                yield operation

    # --- places ---

    def corner(self, name: str, padding: Padding2D = NO_PADDING) -> Place:
        """The image's first pixel, or that many pixels above and left of it."""
        storage = self.storage(name)
        above, before = padding.top * storage.steps.row, padding.left * storage.pixel
        return Place("arena", self._root(name), offset=storage.inner - above - before)

    def caller(self, name: str) -> Place:
        """An input or output of the graph."""
        if name in self.graph.inputs:
            return Place("input", index=self.graph.inputs.index(name))
        return Place("output", index=self.graph.outputs.index(name))

    def words(self, words: Words) -> Place:
        """Constants that are nothing but a header."""
        return self.block(header(words).tobytes())

    def block(self, block: bytes) -> Place:
        """Constants."""
        return Place("constants", offset=self._constants.add(block), size=len(block))

    # --- steps ---

    def step(self, kernel: Kernel, operands: Sequence[Place], *operations: Operation) -> None:
        """Call a kernel for what the operations compute together; the last one's result is the step's."""
        origin = tuple(dict.fromkeys(node for operation in operations for node in operation.origin))
        self._steps.append(Step(kernel, tuple(operands), operations[-1].outputs[0], origin))

    # --- the caller's arrays ---

    def border(self, name: str) -> Border:
        """An input or output as the model has it."""
        of = self.graph.type(name)
        order = self.graph.layouts.get(name, tuple(range(of.rank)))
        return Border(name, tuple(of.shape[order.index(axis)] for axis in range(of.rank)), of.dtype)

    def strides(self, name: str) -> tuple[int, int, int, int]:
        """Of an input or output, in elements, along N, H, W, C."""
        shape = self.border(name).shape
        order = self.graph.layouts.get(name, tuple(range(len(shape))))
        along = [int(np.prod(shape[axis + 1 :])) for axis in order]
        return (along[0], along[1], along[2], along[3]) if len(along) == 4 else (along[0], 0, 0, along[1])


@singledispatch
def write_kind(kind: Kind, writer: ProgramWriter, operation: Operation) -> None:
    """Write the steps of an operation of a kind."""
    raise NotImplementedError(f"there is no rule for {type(kind).__name__}")
