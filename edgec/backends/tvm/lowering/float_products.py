"""Products of float32: convolutions, fully-connected layers, products of matrices, and expressions of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from edgec.backends.tvm.kernels import float_dense, float_depthwise
from edgec.backends.tvm.kernels.float_dense import Channels, Epilogue, FloatDense, Strides, tile_of
from edgec.backends.tvm.kernels.float_depthwise import FloatDepthwise, width_of
from edgec.backends.tvm.kernels.float_expression import Expression
from edgec.backends.tvm.lowering.float_elementwise import spread_view, write_expression
from edgec.backends.tvm.lowering.float_fusion import PRODUCTS, activated, expression_of, knows_weights
from edgec.backends.tvm.lowering.geometry import Geometry
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import View
from edgec.backends.tvm.phases import phases_of
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps
from edgec.backends.tvm.tiles import is_upright
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.kinds import Activation
from edgec.ir.kinds.windows import NO_PADDING, Padding2D
from edgec.ir.reference.dispatch import Tensor
from edgec.ir.reference.grid import real


@write_float.register
def _(kind: kinds.Conv2D, writer: ProgramWriter, operation: Operation) -> None:
    write_product(writer, [operation])


@write_float.register
def _(kind: kinds.FullyConnected, writer: ProgramWriter, operation: Operation) -> None:
    write_product(writer, [operation])


@write_float.register
def _(kind: kinds.TransposeConv2D, writer: ProgramWriter, operation: Operation) -> None:
    """A convolution for each phase, see `phases.py`."""
    source, name = operation.inputs[0], operation.outputs[0]
    weights = _Weights.of(writer, operation)
    x, y = writer.storage(source), writer.declare(operation)
    for row, column in phases_of(kind, writer.type(operation.inputs[1]), writer.type(name)):
        reached = row.taps and column.taps
        every = weights.stored
        chosen = every[:, row.taps][:, :, column.taps] if reached else np.zeros_like(every[:, :1, :1])
        start = Padding2D(top=-row.start, left=-column.start) if reached else NO_PADDING
        geometry = Geometry(
            (y.shape[0], row.count, column.count),
            Steps(x.steps.image, x.steps.row, x.pixel),
            Steps(y.steps.image, y.steps.row * kind.stride[0], y.pixel * kind.stride[1]),
            Steps(0, x.steps.row * row.step, x.pixel * column.step),
        )
        places = writer.corner(source, start), writer.corner(name, Padding2D(top=-row.first, left=-column.first))
        epilogue = _plain_epilogue(kind.activation)
        _write_dense(
            writer, [operation], replace(weights, stored=chosen), kind.groups, geometry, y.pixel, places, epilogue, []
        )


def write_group(writer: ProgramWriter, operations: Sequence[Operation]) -> None:
    """Write one step for operations that are computed together (`float_fusion.groups`)."""
    if any(isinstance(operation.kind, PRODUCTS) for operation in operations):
        write_product(writer, operations)
    else:
        write_expression(writer, operations)


def write_product(writer: ProgramWriter, operations: Sequence[Operation]) -> None:
    """Write one step for a convolution or a fully-connected layer and the operations on its result: the last one's is
    the only result that others read."""
    product = next(item for item in operations if isinstance(item.kind, kinds.Conv2D | kinds.FullyConnected))
    kind, last = product.kind, operations[-1]
    assert isinstance(kind, kinds.Conv2D | kinds.FullyConnected)
    stride, dilation, padding, groups = (1, 1), (1, 1), NO_PADDING, 1
    if isinstance(kind, kinds.Conv2D):
        stride, dilation, padding, groups = kind.stride, kind.dilation, kind.padding, kind.groups
    weights = _Weights.of(writer, product)
    source, name = product.inputs[0], last.outputs[0]
    epilogue, views = _epilogue(writer, product, operations)
    x, y = writer.storage(source), writer.declare(last)
    others = [view.place for view in views]
    # Elements of a pixel that all values have room for: the caller's arrays end with the last channel.
    room = max(y.shape[3], min([y.pixel, *(view.pixel for view in views if view.strides and view.strides[-1])]))
    geometry = Geometry(
        (y.shape[0], y.shape[1], y.shape[2]),
        Steps(x.steps.image, x.steps.row * stride[0], x.pixel * stride[1]),
        y.steps,
        Steps(0, x.steps.row * dilation[0], x.pixel * dilation[1]),
    )
    places = writer.corner(source, padding), writer.corner(name)
    if groups > 1 and groups == len(weights.stored) == x.shape[3]:
        pixel, room = x.pixel, min(x.pixel, room)
        _write_depthwise(writer, operations, weights, kind, geometry, (pixel, room), places, epilogue, others)
    else:
        _write_dense(writer, operations, weights, groups, geometry, room, places, epilogue, others)


def _write_dense(
    writer: ProgramWriter, operations: Sequence[Operation], weights: _Weights, groups: int,
    geometry: Geometry, room: int, places: tuple[Place, Place], epilogue: Epilogue, others: Sequence[Place],
) -> None:  # fmt: skip
    """room: elements of a pixel of the result, and of the others, that may be written and read."""
    stored = weights.stored
    count, height, width, depth = stored.shape
    # The padding of a pixel may be written, but not the channels of the next group.
    size = room if groups == 1 else count // groups
    if (height, width) == (1, 1):
        geometry, epilogue = _in_one_row(geometry, epilogue)
    if is_upright(*geometry.shape[1:]):
        geometry, stored, height, width = geometry.turned, stored.swapaxes(1, 2), width, height
        epilogue = replace(epilogue, others=tuple((n, w, h, c) for n, h, w, c in epilogue.others))
    images, rows, columns = geometry.shape
    outputs, pixels = tile_of(writer.isa, size, columns, images * rows * columns)
    kernel = FloatDense(
        images,
        rows,
        columns,
        geometry.x,
        geometry.y,
        window=(height, width),
        taps=geometry.taps,
        depth=depth,
        outputs=outputs,
        width=pixels,
        epilogue=epilogue,
        weights="float32" if weights.scales is None else "int8",
        groups=groups,
    )
    numbers = [weights.bias] if weights.scales is None else [weights.bias, weights.scales]
    constants = writer.block(float_dense.packed_constants(numbers, outputs, groups))
    block = writer.block(float_dense.packed(stored.reshape(count, -1), outputs, groups))
    writer.step(kernel, [places[0], *others, constants, block, places[1]], *operations)


def _write_depthwise(
    writer: ProgramWriter, operations: Sequence[Operation], weights: _Weights,
    kind: kinds.Conv2D | kinds.FullyConnected, geometry: Geometry, sizes: tuple[int, int],
    places: tuple[Place, Place], epilogue: Epilogue, others: Sequence[Place],
) -> None:  # fmt: skip
    """sizes: elements of a pixel of x, and how many of a pixel all values have room for."""
    assert isinstance(kind, kinds.Conv2D)
    pixel, room = sizes
    images, rows, columns = geometry.shape
    window = (weights.stored.shape[1], weights.stored.shape[2])
    outputs = Channels.of(room, writer.isa.lanes, 1)
    kernel = FloatDepthwise(
        images,
        rows,
        columns,
        geometry.x,
        geometry.taps,
        geometry.y,
        window,
        stride=kind.stride[1],
        dilation=kind.dilation[1],
        pixel=pixel,
        outputs=outputs,
        width=width_of(writer.isa, window, columns),
        epilogue=epilogue,
    )
    block = writer.block(float_depthwise.packed(weights.real[..., 0], weights.bias, outputs))
    writer.step(kernel, [places[0], *others, block, places[1]], *operations)


@dataclass(frozen=True, eq=False)
class _Weights:
    """stored: float32, or int8 with scales: [O, KH, KW, C / groups]. bias, scales: float32 [O]; None for no scales."""

    stored: np.ndarray
    bias: np.ndarray
    scales: np.ndarray | None

    @property
    def real(self) -> np.ndarray:
        """float32."""
        if self.scales is None:
            return self.stored
        return np.asarray(self.stored.astype(np.float32) * self.scales[:, None, None, None])

    @classmethod
    def of(cls, writer: ProgramWriter, operation: Operation) -> _Weights:
        """Raises UnsupportedOp where they are computed, or are no real numbers."""
        if writer.type(operation.inputs[0]).dtype != "float32":
            raise unsupported(operation)
        found = [_constant(writer, name) for name in operation.inputs[1:3]]
        if any(tensor is None for tensor in found):
            raise unsupported(operation)
        weights, *biases = [tensor for tensor in found if tensor is not None]
        stored, scales, grid = real(weights), None, weights.type.quantization
        if weights.type.dtype == "int8" and grid is not None and grid.axis in (None, 0) and not any(grid.zero_point):
            stored = weights.data
            scales = np.broadcast_to(np.array(grid.scale, np.float32), (len(stored),))
        if stored.ndim == 2:
            stored = stored[:, None, None]
        return cls(stored, real(biases[0]) if biases else np.zeros(len(stored), np.float32), scales)


def _constant(writer: ProgramWriter, name: str) -> Tensor | None:
    """A constant, or the integers that it is made of; None for what is computed."""
    maker = writer.writers.get(name)
    if maker is not None and isinstance(maker.kind, kinds.Dequantize):
        name = maker.inputs[0]
    data = writer.graph.constant(name)
    return None if data is None else Tensor(data, writer.type(name))


def stored_constants(graph: Graph) -> set[str]:
    """What Dequantize makes of constants that only products of float32 read, as weights and biases: it need not be
    computed, the products read the integers."""
    readers, writers, found = graph.consumers(), graph.producers(), set()
    for operation in graph.operations:
        name = operation.outputs[0]
        if not isinstance(operation.kind, kinds.Dequantize) or graph.constant(operation.inputs[0]) is None:
            continue
        only = all(
            isinstance(reader.kind, (*PRODUCTS, kinds.TransposeConv2D))
            and reader.inputs[0] != name
            and knows_weights(graph, reader, writers)
            for reader in readers[name]
        )
        if only and name not in graph.outputs:
            found.add(name)
    return found


def _epilogue(
    writer: ProgramWriter, product: Operation, operations: Sequence[Operation]
) -> tuple[Epilogue, list[View]]:
    """What follows a product, and its other operands."""
    assert isinstance(product.kind, kinds.Conv2D | kinds.FullyConnected)
    name, last = product.outputs[0], operations[-1].outputs[0]
    rest = [item for item in operations if item is not product]
    if not rest:
        return _plain_epilogue(product.kind.activation), []
    expression, operands = expression_of(writer.graph, rest, name)
    views = [spread_view(writer, operand, writer.type(last).shape) for operand in operands[1:]]
    strides = tuple(_of_image(view.strides) for view in views)
    return Epilogue(activated(expression, product.kind.activation), strides), views


def _plain_epilogue(activation: Activation) -> Epilogue:
    return Epilogue(activated(Expression(("float32",)), activation))


def _of_image(strides: Sequence[int]) -> Strides:
    """The strides of a value of at most 4 dimensions, along those of its image."""
    if len(strides) == 2:
        return strides[0], 0, 0, strides[1]
    n, h, w, c = (0, 0, 0, 0, *strides)[-4:]
    return n, h, w, c


def _in_one_row(geometry: Geometry, epilogue: Epilogue) -> tuple[Geometry, Epilogue]:
    """All pixels as one long row, where they lie like that everywhere: no tile ends before it has to."""
    images, rows, columns = geometry.shape
    values = [(item.image, item.row, item.column) for item in (geometry.x, geometry.y)]
    values += [(n, h, w) for n, h, w, _ in epilogue.others]
    merged_steps = [_merged_step((images, rows, columns), value) for value in values]
    if any(step is None for step in merged_steps):
        return geometry, epilogue
    steps = [step for step in merged_steps if step is not None]
    x, y, *others = (Steps(0, 0, step) for step in steps)
    shape = (1, 1, images * rows * columns)
    strides = tuple((0, 0, step.column, own[3]) for step, own in zip(others, epilogue.others, strict=True))
    return Geometry(shape, x, y, geometry.taps), replace(epilogue, others=strides)


def _merged_step(shape: tuple[int, int, int], steps: tuple[int, int, int]) -> int | None:
    """The step from one pixel to the next, where it is the same from each to the next one; None where it is not."""
    sizes = [(size, step) for size, step in zip(shape, steps, strict=True) if size > 1]
    for (_, outer), (size, inner) in pairwise(sizes):
        if outer != size * inner:
            return None
    return sizes[-1][1] if sizes else 0
