"""Convolutions and fully-connected layers, and the sums that they compute with."""

from __future__ import annotations

import numpy as np

from edgec.backends.tvm.constants import header, is_stored_by_grid, product_block, result_words
from edgec.backends.tvm.kernels import dense, depthwise, depthwise_tiles
from edgec.backends.tvm.kernels.base import Word
from edgec.backends.tvm.lowering import convolutions
from edgec.backends.tvm.lowering.elementwise import sum_reaches_far, words_of_operands
from edgec.backends.tvm.lowering.numbers import Numbers
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.program import Place
from edgec.backends.tvm.storage import Steps, Storage
from edgec.backends.tvm.support.products import is_depthwise
from edgec.backends.tvm.tiles import is_upright
from edgec.backends.tvm.tuning.tiles import searched
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.kinds.windows import NO_PADDING


@write_integer.register
def _(kind: kinds.Conv2D, writer: ProgramWriter, operation: Operation) -> None:
    x, weights = (writer.graph.type(name) for name in operation.inputs[:2])
    real = writer.type(operation.outputs[0]).quantization is None
    if is_depthwise(kind, x, weights):
        _write_depthwise(kind, writer, operation)
    elif kind.groups > 1 or real:
        convolutions.write(writer, operation)
    else:
        _write_dense(writer, operation)


@write_integer.register
def _(kind: kinds.FullyConnected, writer: ProgramWriter, operation: Operation) -> None:
    if writer.type(operation.outputs[0]).quantization is None:
        convolutions.write(writer, operation)
    else:
        _write_dense(writer, operation)


def write_with_sum(writer: ProgramWriter, product: Operation, addition: Operation) -> None:
    """A dense product, and the sum that reads nothing else of it, in one step."""
    _write_dense(writer, product, addition)


def sums_of_products(graph: Graph) -> dict[str, str]:
    """Sums that a dense product can compute with: the product's result by the sum's, each product once."""
    readers, writers, found = graph.consumers(), graph.producers(), {}
    for operation in graph.operations:
        quantized = all(is_stored_by_grid(graph.type(name)) for name in (*operation.inputs, *operation.outputs))
        adds = isinstance(operation.kind, kinds.Binary) and operation.kind.function == "add"
        shapes = {graph.type(name).shape for name in (*operation.inputs, *operation.outputs)}
        if not adds or not quantized or len(set(operation.inputs)) < 2 or len(shapes) > 1:
            continue
        for name in reversed(operation.inputs):
            writer = writers.get(name)
            alone = len(readers[name]) == 1 and name not in graph.outputs
            if alone and writer is not None and isinstance(writer.kind, kinds.Conv2D) and writer.kind.groups == 1:
                found[operation.outputs[0]] = name
                break
    return found


def _write_dense(writer: ProgramWriter, operation: Operation, addition: Operation | None = None) -> None:
    kind, last = operation.kind, addition or operation
    assert isinstance(kind, kinds.Conv2D | kinds.FullyConnected)
    assert isinstance(last.kind, kinds.Conv2D | kinds.FullyConnected | kinds.Binary)
    stride, dilation, padding = (1, 1), (1, 1), NO_PADDING
    if isinstance(kind, kinds.Conv2D):
        stride, dilation, padding = kind.stride, kind.dilation, kind.padding
    numbers, lanes = Numbers.of(writer, operation), writer.isa.lanes
    outputs, height, width, channels = numbers.weights.shape
    x, y = writer.storage(operation.inputs[0]), writer.declare(last)
    name = last.outputs[0]
    result = writer.stored(name)
    words, far = result_words(result, last.kind.activation), numbers.far
    third: Storage | None = None
    others: list[Place] = []
    if addition is not None:
        product = operation.outputs[0]
        other = next(item for item in addition.inputs if item != product)
        third, others = writer.storage(other), [writer.corner(other)]
        words |= words_of_operands(writer, product, other, result)
        inner = writer.stored(product)
        low, high = inner.limits(kind.activation)
        words |= {Word.INNER_LOW: low - inner.zero_point, Word.INNER_HIGH: high - inner.zero_point}
        far = far or sum_reaches_far(writer, product, other, result)
    images, rows, columns, _ = y.shape
    wrap = 0
    if (height, width) == (1, 1) and stride == (1, 1) and x.is_flat:
        flat = all(item is None or item.is_flat for item in (y, third))
        if flat or images == 1:  # one long row: no tile ends before it has to
            wrap = 0 if flat else columns
            images, rows, columns = 1, 1, images * rows * columns
    weights, from_x, from_y = (
        numbers.weights,
        Steps(x.steps.image, x.steps.row * stride[0], x.pixel * stride[1]),
        y.steps,
    )
    taps, from_other = Steps(0, x.steps.row * dilation[0], x.pixel * dilation[1]), third.steps if third else None
    if is_upright(rows, columns):
        rows, columns, height, width, weights = columns, rows, width, height, weights.swapaxes(1, 2)
        from_x, from_y, taps, from_other = from_x.turned, from_y.turned, taps.turned, from_other and from_other.turned
    steps = height * width * -(-channels // 4)
    pixels, most = writer.isa.dense_tile(dense.vectors_of(outputs, lanes), images * rows, columns, steps)
    kernel = dense.Dense(
        images,
        rows,
        columns,
        x=from_x,
        y=from_y,
        window=(height, width),
        taps=taps,
        words=-(-channels // 4),
        tiles=dense.channel_tiles(outputs, lanes, most),
        width=pixels,
        other=from_other,
        wrap=wrap,
        limited=result.is_limited(last.kind.activation),
        far=far,
        lowest=numbers.lowest,
    )
    kernel = searched(kernel, writer.tiles, writer.isa)
    deep = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, -channels % 4))).reshape(outputs, -1)
    packed, order = dense.packed(deep, kernel.tiles, writer.isa)
    block = writer.block(product_block(header(words), numbers.bias, numbers.factors, order, packed))
    operands = [writer.corner(operation.inputs[0], padding), *others, block, writer.corner(name)]
    writer.step(kernel, operands, *([operation, addition] if addition else [operation]))


def _write_depthwise(kind: kinds.Conv2D, writer: ProgramWriter, operation: Operation) -> None:
    numbers = Numbers.of(writer, operation)
    name = operation.outputs[0]
    real = writer.type(name).quantization is None
    x = writer.storage(operation.inputs[0])
    y = writer.declare(operation, pixel=x.pixel if real else 0)
    assert x.pixel == y.pixel, operation
    images, rows, columns, _ = y.shape
    height, width = numbers.weights.shape[1:3]
    numbers_of_result, limited = convolutions.words_of_result(writer, name, kind.activation)
    kernel = depthwise.Depthwise(
        images,
        rows,
        columns,
        x=Steps(x.steps.image, x.steps.row * kind.stride[0], x.pixel * kind.stride[1]),
        y=y.steps,
        window=(height, width),
        taps=Steps(0, x.steps.row * kind.dilation[0], x.pixel * kind.dilation[1]),
        vector=4 * writer.isa.lanes,
        pixel=x.pixel,
        real=real,
        limited=limited,
        far=numbers.far and not real,
        lowest=numbers.lowest,
    )
    kernel = searched(depthwise_tiles.cheapest(kernel, writer.isa), writer.tiles, writer.isa)
    packed, order = depthwise.packed(numbers.weights[..., 0], kernel, writer.isa)
    words = header(numbers_of_result)
    block = writer.block(product_block(words, numbers.bias, numbers.factors, order, packed))
    operands = [writer.corner(operation.inputs[0], kind.padding), block, writer.corner(operation.outputs[0])]
    writer.step(kernel, operands, operation)
