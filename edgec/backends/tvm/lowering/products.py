"""Convolutions and fully-connected layers, and the sums that they compute with."""

from __future__ import annotations

from edgec.backends.tvm.constants import header, is_stored_by_grid, product_block
from edgec.backends.tvm.kernels import depthwise, depthwise_tiles
from edgec.backends.tvm.lowering import dense_products
from edgec.backends.tvm.lowering.geometry import Geometry
from edgec.backends.tvm.lowering.numbers import Numbers, words_of_result
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write_integer
from edgec.backends.tvm.support.products import is_depthwise
from edgec.backends.tvm.tuning.tiles import searched
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation


@write_integer.register
def _(kind: kinds.Conv2D, writer: ProgramWriter, operation: Operation) -> None:
    x, weights = (writer.graph.type(name) for name in operation.inputs[:2])
    if is_depthwise(kind, x, weights):
        _write_depthwise(kind, writer, operation)
    else:
        dense_products.write(writer, operation)


@write_integer.register
def _(kind: kinds.FullyConnected, writer: ProgramWriter, operation: Operation) -> None:
    dense_products.write(writer, operation)


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


def _write_depthwise(kind: kinds.Conv2D, writer: ProgramWriter, operation: Operation) -> None:
    numbers = Numbers.of(writer, operation)
    name = operation.outputs[0]
    real = writer.type(name).quantization is None
    x = writer.storage(operation.inputs[0])
    y = writer.declare(operation, pixel=x.pixel if real else 0)
    assert x.pixel == y.pixel, operation
    geometry = Geometry.of(kind, x, y)
    height, width = numbers.weights.shape[1:3]
    numbers_of_result, limited = words_of_result(writer, name, kind.activation)
    kernel = depthwise.Depthwise(
        *geometry.shape,
        x=geometry.x,
        y=geometry.y,
        window=(height, width),
        taps=geometry.taps,
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
