"""From an ONNX model to a program: import, passes, and a step for each operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from edgec.backends.tvm.constants import (
    SAFE_STEPS,
    Constants,
    StoredType,
    folded_bias,
    header,
    product_block,
    reaches_far,
    result_words,
)
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels import borders, conversion, dense, depthwise, elementwise, pooling
from edgec.backends.tvm.kernels.base import Kernel, Word
from edgec.backends.tvm.program import Border, Place, Program, Step
from edgec.backends.tvm.storage import (
    Steps,
    Storage,
    covering,
    image_shape,
    small_pixel,
    vector_pixel,
)
from edgec.backends.tvm.support import TVMKernels, is_depthwise
from edgec.backends.tvm.tiles import dense_tile, depthwise_width
from edgec.errors import UnsupportedOp
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation, TensorType
from edgec.ir.importer import import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.fuse import fuse
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from edgec.ir.passes.integers import float_between, integer_operations
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.reference.products import multipliers
from edgec.ir.verifier import run_passes


def lowered_graph(model: onnx.ModelProto) -> Graph:
    """The graph of integer operations that a program is made of.

    Images at the border are channels last: the kernels that convert the caller's floats read and write any order.
    """
    kernels = TVMKernels()

    def channels_last(graph: Graph) -> Graph:
        return place_transposes(graph, free_boundary=True)

    def in_integers(graph: Graph) -> Graph:
        return integer_operations(graph, kernels)

    passes = [fold_constants, channels_last, fuse, in_integers, merge_reshapes, remove_identities, share_duplicates]
    return run_passes(import_model(model), passes)


def lower(model: onnx.ModelProto, isa: InstructionSet) -> Program:
    """The program of a model. Raises UnsupportedOp naming what there is no kernel for."""
    return program_of(lowered_graph(model), isa)


def program_of(graph: Graph, isa: InstructionSet) -> Program:
    """The program of a graph of integer operations. Raises UnsupportedOp naming what there is no kernel for."""
    _require_kernels(graph)
    return _Lowering(graph, isa).run()


def _require_kernels(graph: Graph) -> None:
    """Raises UnsupportedOp naming what is left in float, and borders that are no floats."""
    reasons = [f"{item.label} {item.result!r}: {item.reason}" for item in float_between(graph, TVMKernels())]
    inputs, outputs = set(graph.inputs), set(graph.outputs)
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Quantize) and operation.inputs[0] not in inputs:
            reasons.append(f"Quantize {operation.outputs[0]!r}: it reads what is computed")
        if isinstance(operation.kind, kinds.Dequantize) and operation.outputs[0] not in outputs:
            reasons.append(f"Dequantize {operation.outputs[0]!r}: its result is computed with")
    for name in (*graph.inputs, *graph.outputs):
        if graph.type(name).dtype != "float32" or image_shape(graph.type(name)) is None:
            reasons.append(f"{name!r}: the model's inputs and outputs have to be float32 of 2 or 4 dimensions")
    if reasons:
        raise UnsupportedOp(
            "The model can't be lowered through tvm",
            "\n".join(dict.fromkeys(reasons)),
            "Choose another backend, where the target lists one.",
        )


@dataclass
class _Lowering:
    """Steps in the writing. aliases: values that are another one's bytes, by name."""

    graph: Graph
    isa: InstructionSet
    steps: list[Step] = field(default_factory=list)
    storages: dict[str, Storage] = field(default_factory=dict)
    constants: Constants = field(default_factory=Constants)
    aliases: dict[str, str] = field(default_factory=dict)

    def run(self) -> Program:
        self.readers = self.graph.consumers()
        self.writers = self.graph.producers()
        self.fused = dict(self._fused_sums())
        for operation in self.graph.operations:
            if operation.outputs[0] not in self.fused.values():
                self._rule(operation)(operation)
        return Program(
            self._borders(self.graph.inputs),
            self._borders(self.graph.outputs),
            tuple(self.steps),
            self.storages,
            bytes(self.constants.content),
        )

    def _rule(self, operation: Operation) -> Callable[[Operation], None]:
        rules: Mapping[type[kinds.Kind], Callable[[Operation], None]] = {
            kinds.Quantize: self._quantize,
            kinds.Dequantize: self._dequantize,
            kinds.Conv2D: self._convolution,
            kinds.FullyConnected: self._product,
            kinds.Binary: self._sum,
            kinds.MaxPool2D: self._max_pool,
            kinds.Reduce: self._mean,
            kinds.Reshape: self._alias,
        }
        return rules[type(operation.kind)]

    # --- values ---

    def _storage(self, name: str) -> Storage:
        return self.storages[self._root(name)]

    def _root(self, name: str) -> str:
        return self.aliases.get(name, name)

    def _stored(self, name: str) -> StoredType:
        return StoredType.of(self.graph.type(name), self.isa)

    def _declare(self, name: str, origin: tuple[str, ...], *, single_pixels: bool = False) -> Storage:
        """Give a result its place, and fill its border. single_pixels: its writer stores channel by channel."""
        readers = self.readers[name]
        windows = [item for item in readers if isinstance(item.kind, kinds.Conv2D)]
        shape = image_shape(self.graph.type(name))
        assert shape is not None
        small = single_pixels and all(item.kind.groups == 1 for item in windows) and len(windows) == len(readers)
        pixel = small_pixel(shape[3]) if small else vector_pixel(shape[3])
        storage = Storage(shape, pixel, covering([item.kind.padding for item in windows]))
        self.storages[name] = storage
        if storage.border.any:
            kernel = borders.Border(shape[0], storage.rows, storage.columns, pixel, storage.border)
            block = header({Word.ZERO_POINT: self._stored(name).zero_point}).tobytes()
            self._step(kernel, [self._block(block), Place("arena", name)], name, origin)
        return storage

    def _inner(self, name: str) -> Place:
        """Where the image of a value begins."""
        return Place("arena", self._root(name), offset=self._storage(name).inner)

    def _block(self, block: bytes) -> Place:
        return Place("constants", offset=self.constants.add(block))

    def _step(self, kernel: Kernel, operands: Sequence[Place], result: str, origin: tuple[str, ...]) -> None:
        self.steps.append(Step(kernel, tuple(operands), result, origin))

    # --- the model's border ---

    def _borders(self, names: Sequence[str]) -> tuple[Border, ...]:
        found = []
        for name in names:
            of, order = self.graph.type(name), self.graph.layouts.get(name)
            shape = of.shape if order is None else tuple(of.shape[order.index(i)] for i in range(of.rank))
            found.append(Border(name, shape, of.dtype))
        return tuple(found)

    def _strides(self, name: str) -> conversion.Strides:
        """Of the caller's array, along the dimensions N, H, W, C."""
        of = self.graph.type(name)
        order = self.graph.layouts.get(name, tuple(range(of.rank)))
        (border,) = self._borders([name])
        steps = [int(np.prod(border.shape[axis + 1 :])) for axis in range(of.rank)]
        along = [steps[axis] for axis in order]
        return (along[0], along[1], along[2], along[3]) if of.rank == 4 else (along[0], 0, 0, along[1])

    def _quantize(self, operation: Operation) -> None:
        source, name = operation.inputs[0], operation.outputs[0]
        storage = self._declare(name, operation.origin, single_pixels=True)
        y = self._stored(name)
        kernel = conversion.Quantize(storage.shape, self._strides(source), storage.steps)
        block = header({**result_words(y), Word.SCALE: y.scale}).tobytes()
        operands = [Place("input", index=self.graph.inputs.index(source)), self._block(block), self._inner(name)]
        self._step(kernel, operands, name, operation.origin)

    def _dequantize(self, operation: Operation) -> None:
        source, name = operation.inputs[0], operation.outputs[0]
        storage, x = self._storage(source), self._stored(source)
        kernel = conversion.Dequantize(storage.shape, storage.steps, self._strides(name))
        block = header({Word.A_ZERO_POINT: x.zero_point, Word.A_SCALE: x.scale}).tobytes()
        operands = [self._inner(source), self._block(block), Place("output", index=self.graph.outputs.index(name))]
        self._step(kernel, operands, name, operation.origin)

    # --- products ---

    def _convolution(self, operation: Operation) -> None:
        assert isinstance(operation.kind, kinds.Conv2D)
        x, weights = (self.graph.type(name) for name in operation.inputs[:2])
        if is_depthwise(operation.kind, x, weights):
            self._depthwise(operation)
        else:
            self._product(operation)

    def _numbers(self, operation: Operation) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Weights int8 [O, KH, KW, C], bias int32 [O] with the zero point of x folded in, multipliers float32 [O], and
        whether sums may reach far."""
        weights = self.graph.constant(operation.inputs[1])
        assert weights is not None
        if weights.ndim == 2:
            weights = weights[:, None, None]
        outputs = len(weights)
        given = self.graph.constant(operation.inputs[2]) if len(operation.inputs) > 2 else None
        bias = np.zeros(outputs, np.int32) if given is None else given
        x_type, weights_type = (self.graph.type(name) for name in operation.inputs[:2])
        factors = multipliers(x_type, weights_type, self.graph.type(operation.outputs[0]), 0)
        factors = np.broadcast_to(factors, (outputs,)).astype(np.float32)
        x = self._stored(operation.inputs[0])
        return weights, folded_bias(weights, bias, x.zero_point), factors, reaches_far(weights, bias, x, factors)

    def _corner(self, operation: Operation) -> Place:
        """Where the first window begins in x."""
        x = self._storage(operation.inputs[0])
        padding = operation.kind.padding if isinstance(operation.kind, kinds.Conv2D) else kinds.Padding2D()
        offset = x.inner - padding.top * x.steps.row - padding.left * x.pixel
        return Place("arena", self._root(operation.inputs[0]), offset=offset)

    def _product(self, operation: Operation, addition: Operation | None = None, other: str = "") -> None:
        """A dense product, and the sum that follows it, where there is one."""
        kind, last = operation.kind, addition or operation
        assert isinstance(kind, kinds.Conv2D | kinds.FullyConnected)
        stride, dilation = (kind.stride, kind.dilation) if isinstance(kind, kinds.Conv2D) else ((1, 1), (1, 1))
        name, origin = last.outputs[0], (*operation.origin, *(addition.origin if addition else ()))
        weights, bias, factors, far = self._numbers(operation)
        outputs, *window, channels = weights.shape
        x, y = self._storage(operation.inputs[0]), self._declare(name, origin)
        third = self._storage(other) if addition else None
        images, rows, columns, _ = y.shape
        flat = all(storage is None or storage.is_flat for storage in (x, y, third))
        if flat and window == [1, 1] and stride == (1, 1):
            images, rows, columns = 1, 1, images * rows * columns
        width, most = dense_tile(-(-outputs // self.isa.lanes), images * rows, columns, window[0] * window[1])
        activation = (addition or operation).kind.activation  # type: ignore[attr-defined]
        result = self._stored(name)
        words = result_words(result, activation)
        if addition:
            words |= self._words_of_sum(operation, other, result)
            far = far or self._sum_reaches_far(operation.outputs[0], other, result)
        kernel = dense.Dense(
            images,
            rows,
            columns,
            x=Steps(x.steps.image, x.steps.row * stride[0], x.pixel * stride[1]),
            y=y.steps,
            window=(window[0], window[1]),
            taps=Steps(0, x.steps.row * dilation[0], x.pixel * dilation[1]),
            words=-(-channels // 4),
            tiles=dense.channel_tiles(outputs, self.isa.lanes, most),
            width=width,
            other=third.steps if third else None,
            limited=result.is_limited(activation),
            far=far,
        )
        deep = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, -channels % 4))).reshape(outputs, -1)
        packed, lanes = dense.packed(deep, kernel.tiles, self.isa)
        block = self._block(product_block(header(words), bias, factors, lanes, packed))
        others = [self._inner(other)] if addition else []
        self._step(kernel, [self._corner(operation), *others, block, self._inner(name)], name, origin)

    def _depthwise(self, operation: Operation) -> None:
        kind, name = operation.kind, operation.outputs[0]
        assert isinstance(kind, kinds.Conv2D)
        weights, bias, factors, far = self._numbers(operation)
        x, y = self._storage(operation.inputs[0]), self._declare(name, operation.origin)
        images, rows, columns, _ = y.shape
        height, width = weights.shape[1:3]
        size = 4 * self.isa.lanes
        pixels = size // x.pixel if size % x.pixel == 0 and kind.stride[1] == 1 and columns >= size // x.pixel else 1
        results = depthwise_width(width, kind.stride[1], columns, pixels)
        result = self._stored(name)
        kernel = depthwise.Depthwise(
            images,
            rows,
            columns,
            x=Steps(x.steps.image, x.steps.row * kind.stride[0], x.pixel * kind.stride[1]),
            y=y.steps,
            tap_row=x.steps.row * kind.dilation[0],
            pixel=x.pixel,
            pixels=max(pixels, 1),
            kernel_rows=height,
            window=depthwise.Window.of(width, max(pixels, kind.stride[1]), kind.dilation[1], results),
            width=results,
            limited=result.is_limited(kind.activation),
            far=far,
        )
        packed, lanes = depthwise.packed(weights[..., 0], kernel, self.isa)
        words = header(result_words(result, kind.activation))
        block = self._block(product_block(words, bias, factors, lanes, packed))
        self._step(kernel, [self._corner(operation), block, self._inner(name)], name, operation.origin)

    # --- sums ---

    def _fused_sums(self) -> list[tuple[str, str]]:
        """Sums that a dense product can compute with: (result of the sum, result of the product), each of them once."""
        found = []
        for operation in self.graph.operations:
            if not isinstance(operation.kind, kinds.Binary):
                continue
            for name in reversed(operation.inputs):
                writer = self.writers.get(name)
                alone = len(self.readers[name]) == 1 and name not in self.graph.outputs
                different = operation.inputs[0] != operation.inputs[1]
                if writer is not None and alone and different and self._is_dense(writer):
                    found.append((operation.outputs[0], name))
                    break
        return found

    def _is_dense(self, operation: Operation) -> bool:
        return isinstance(operation.kind, kinds.Conv2D) and operation.kind.groups == 1

    def _sum(self, operation: Operation) -> None:
        name = operation.outputs[0]
        a, b = operation.inputs
        if name in self.fused:
            product = self.fused[name]
            self._product(self.writers[product], operation, b if product == a else a)
            return
        assert isinstance(operation.kind, kinds.Binary)
        y, activation = self._declare(name, operation.origin), operation.kind.activation
        result, first = self._stored(name), self._stored(a)
        words = {**result_words(result, activation), **self._words_of_operands(a, b, result)}
        words[Word.A_ZERO_POINT] = first.zero_point
        images, rows, columns, _ = y.shape
        kernel = elementwise.Sum(
            images,
            rows,
            columns * y.pixel,
            *(self._storage(item).steps for item in (a, b)),
            y.steps,
            limited=result.is_limited(activation),
            far=self._sum_reaches_far(a, b, result),
        )
        operands = [self._inner(a), self._inner(b), self._block(header(words).tobytes()), self._inner(name)]
        self._step(kernel, operands, name, operation.origin)

    def _words_of_sum(
        self, operation: Operation, other: str, result: StoredType
    ) -> dict[Word, int | float | np.float32]:
        """Of a sum that a product computes: the product's own grid as well."""
        product = self._stored(operation.outputs[0])
        low, high = product.limits(operation.kind.activation)  # type: ignore[attr-defined]
        inner = {Word.INNER_LOW: low - product.zero_point, Word.INNER_HIGH: high - product.zero_point}
        return {**self._words_of_operands(operation.outputs[0], other, result), **inner}

    def _words_of_operands(self, a: str, b: str, result: StoredType) -> dict[Word, int | float | np.float32]:
        first, second = self._stored(a), self._stored(b)
        return {
            Word.A_SCALE: first.scale,
            Word.B_SCALE: second.scale,
            Word.B_ZERO_POINT: second.zero_point,
            Word.SCALE: result.scale,
        }

    def _sum_reaches_far(self, a: str, b: str, result: StoredType) -> bool:
        scales = [float(self._stored(name).scale) for name in (a, b)]
        return 255 * sum(scales) / float(result.scale) >= SAFE_STEPS

    # --- windows ---

    def _max_pool(self, operation: Operation) -> None:
        kind, name = operation.kind, operation.outputs[0]
        assert isinstance(kind, kinds.MaxPool2D)
        x, y = self._storage(operation.inputs[0]), self._declare(name, operation.origin)
        images, rows, columns, _ = y.shape
        kernel = pooling.MaxPool(
            images,
            rows,
            columns,
            *x.shape[1:3],
            x.steps,
            y.steps,
            kind.kernel,
            kind.stride,
            kind.dilation,
            kind.padding.top,
            kind.padding.left,
            y.pixel,
        )
        self._step(kernel, [self._inner(operation.inputs[0]), self._inner(name)], name, operation.origin)

    def _mean(self, operation: Operation) -> None:
        source, name = operation.inputs[0], operation.outputs[0]
        x, y = self._storage(source), self._declare(name, operation.origin)
        of, to = self._stored(source), self._stored(name)
        factor = of.scale / to.scale
        kernel = pooling.GlobalMean(
            *x.shape[:3], x.steps, y.steps.image, x.pixel, far=255 * float(factor) >= SAFE_STEPS
        )
        words = {**result_words(to), Word.A_ZERO_POINT: of.zero_point, Word.FACTOR: factor}
        operands = [self._inner(source), self._block(header(words).tobytes()), self._inner(name)]
        self._step(kernel, operands, name, operation.origin)

    def _alias(self, operation: Operation) -> None:
        """The same bytes under another name."""
        self.aliases[operation.outputs[0]] = self._root(operation.inputs[0])


def type_of(graph: Graph, name: str) -> TensorType:
    return graph.type(name)
