"""Products of float32: convolutions, fully-connected layers, products of matrices, and expressions of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgec.backends.tvm.kernels import float_dense, float_depthwise
from edgec.backends.tvm.kernels.float_dense import Channels, Epilogue, FloatDense, Strides, tile_of
from edgec.backends.tvm.kernels.float_depthwise import FloatDepthwise, width_of
from edgec.backends.tvm.kernels.float_expression import Expression
from edgec.backends.tvm.lowering.float_elementwise import spread_view, write_expression
from edgec.backends.tvm.lowering.float_fusion import PRODUCTS, activated, expression_of, knows_weights
from edgec.backends.tvm.lowering.geometry import Geometry, arranged, as_convolution, phase_products
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, unsupported, write_float
from edgec.backends.tvm.lowering.views import View
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.kinds import Activation
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
    weights = _Weights.of(writer, operation)
    for part in phase_products(kind, writer, operation, weights.stored):
        room = writer.storage(operation.outputs[0]).pixel
        epilogue = _plain_epilogue(kind.activation)
        stored = replace(weights, stored=part.weights)
        _write_dense(writer, [operation], stored, kind.groups, part.geometry, room, part.places, epilogue, [])


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
    kind, last = as_convolution(product.kind), operations[-1]
    weights = _Weights.of(writer, product)
    source, name = product.inputs[0], last.outputs[0]
    epilogue, views = _epilogue(writer, product, operations)
    x, y = writer.storage(source), writer.declare(last)
    others = [view.place for view in views]
    # Elements of a pixel that all values have room for: the caller's arrays end with the last channel.
    room = max(y.shape[3], min([y.pixel, *(view.pixel for view in views if view.strides and view.strides[-1])]))
    geometry = Geometry.of(kind, x, y, [Steps(*steps[:3]) for steps in epilogue.others])
    places = writer.corner(source, kind.padding), writer.corner(name)
    if kind.groups > 1 and kind.groups == len(weights.stored) == x.shape[3]:
        pixel, room = x.pixel, min(x.pixel, room)
        _write_depthwise(writer, operations, weights, kind, geometry, (pixel, room), places, epilogue, others)
    else:
        _write_dense(writer, operations, weights, kind.groups, geometry, room, places, epilogue, others)


def _write_dense(
    writer: ProgramWriter, operations: Sequence[Operation], weights: _Weights, groups: int,
    geometry: Geometry, room: int, places: tuple[Place, Place], epilogue: Epilogue, others: Sequence[Place],
) -> None:  # fmt: skip
    """room: elements of a pixel of the result, and of the others, that may be written and read."""
    geometry, stored = arranged(geometry, weights.stored)
    of_others = zip(geometry.others, epilogue.others, strict=True)
    epilogue = replace(
        epilogue, others=tuple((steps.image, steps.row, steps.column, own[3]) for steps, own in of_others)
    )
    count, height, width, depth = stored.shape
    # The padding of a pixel may be written, but not the channels of the next group.
    size = room if groups == 1 else count // groups
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
    kind: kinds.Conv2D, geometry: Geometry, sizes: tuple[int, int],
    places: tuple[Place, Place], epilogue: Epilogue, others: Sequence[Place],
) -> None:  # fmt: skip
    """sizes: elements of a pixel of x, and how many of a pixel all values have room for."""
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
