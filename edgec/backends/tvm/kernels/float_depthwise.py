"""Convolutions of each channel with itself, of float32.

    y[c] = epilogue(bias[c] + sum over the window of x[c] * w[c])

A tile is a vector of channels of `width` neighbouring results: each pixel of x is loaded once for every row of the
window, and multiplied for all results that see it. The border of x holds zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.backends.tvm.emitter import Emitter, Expr, Register, divided, integer, minimum, remainder, vector
from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.kernels.float_dense import Channels, Epilogue
from edgec.backends.tvm.kernels.float_expression import in_memory
from edgec.backends.tvm.kernels.float_math import FloatMath
from edgec.backends.tvm.storage import Steps
from edgec.backends.tvm.tiles import even_width

_UNROLLED_ROWS = 3
"""Rows of a window that are written one after the other; more of them are a loop, whose weights need not be kept."""


@dataclass(frozen=True)
class FloatDepthwise:
    """images, rows, columns: of the result. x: from the window of one result to that of the next. tap: from one tap to
    the next, in elements of x (image is 0). y: steps of the result. window: rows and columns. stride, dilation: along a
    row. pixel: elements of a pixel of x. outputs: all channels. width: results of a tile."""

    images: int
    rows: int
    columns: int
    x: Steps
    tap: Steps
    y: Steps
    window: tuple[int, int]
    stride: int
    dilation: int
    pixel: int
    outputs: Channels
    width: int
    epilogue: Epilogue

    @property
    def family(self) -> str:
        label = self.epilogue.expression.label
        return f"float_depthwise_{self.window[0]}x{self.window[1]}" + (f"_{label}" if label else "")

    @property
    def units(self) -> int:
        """A unit is a vector of channels of a row of results; the rows of a vector follow each other."""
        return self.outputs.vectors * self.images * self.rows

    def emit(self, emitter: Emitter, isa: InstructionSet) -> None:
        e, lanes = emitter, self.outputs.lanes
        floats, functions = vector("float32", lanes), FloatMath(e, lanes)
        x = e.pointer("x", "float32")
        others = self.epilogue.pointers(e)
        constants = e.pointer("constants", "float32")
        y = e.pointer("y", in_memory(self.epilogue.expression.dtype))
        begin, end = e.scalar("begin"), e.scalar("end")
        taps = self.window[0] * self.window[1]
        with e.loop(begin, end) as unit:
            number = e.bind(divided(unit, self.images * self.rows), "int32")
            line = remainder(unit, self.images * self.rows)
            image, row = divided(line, self.rows), e.bind(remainder(line, self.rows), "int32")
            image = e.bind(image, "int32") if self.images > 1 else integer(0)
            channel = e.bind(self.outputs.first_of(number), "int32")
            weights = e.bind(integer(self.outputs.vectors * lanes) + number * (taps * lanes), "int32")
            bias = e.bind(e.load(constants, number * lanes, lanes), floats)
            with e.loop(0, -(-self.columns // self.width)) as tile:
                column = tile * self.width
                if self.columns % self.width:
                    column = minimum(column, integer(self.columns - self.width))
                column = e.bind(column, "int32")
                sums = [e.register(lanes, "float32", bias) for _ in range(self.width)]
                start = image * self.x.image + row * self.x.row + column * self.x.column + channel
                start = e.bind(start, "int32")

                def add(i: Expr | int, start: Expr = start, sums: list[Register] = sums) -> None:
                    """Products of a row of the window."""
                    place = start + integer(i) * self.tap.row
                    first = weights + integer(i) * (self.window[1] * lanes)
                    factors = [
                        e.bind(e.load(constants, first + j * lanes, lanes), floats) for j in range(self.window[1])
                    ]
                    for pixel, seen_by in self._seen().items():
                        seen = e.bind(e.load(x, place + pixel * self.pixel, lanes), floats)
                        for result, j in seen_by:
                            sums[result].set(sums[result].get() + seen * factors[j])

                if self.window[0] <= _UNROLLED_ROWS:
                    for i in range(self.window[0]):
                        add(i)
                else:
                    with e.loop(0, self.window[0]) as i:
                        add(i)
                goes = image * self.y.image + row * self.y.row + column * self.y.column + channel
                goes = e.bind(goes, "int32")
                for result, total in enumerate(sums):
                    at = (image, row, column + result, channel)
                    made = self.epilogue.applied(functions, others, total.get(), at)
                    e.store(y, goes + result * self.y.column, made, lanes)

    def _seen(self) -> dict[int, list[tuple[int, int]]]:
        """Pixels of a row of x, from the tile's first: the results that see each, and through which tap."""
        found: dict[int, list[tuple[int, int]]] = {}
        for result in range(self.width):
            for j in range(self.window[1]):
                found.setdefault(result * self.stride + j * self.dilation, []).append((result, j))
        return dict(sorted(found.items()))


def width_of(isa: InstructionSet, window: tuple[int, int], columns: int) -> int:
    """Results of a tile: their sums, a row of weights and a pixel stay in registers."""
    return even_width(columns, max(1, min(8, isa.registers - 2 - window[1])))


def packed(weights: np.ndarray, bias: np.ndarray, outputs: Channels) -> bytes:
    """Weights float32 [C, KH, KW] and biases float32 [C] as the kernel reads them: biases [vector][lane], weights
    [vector][KH][KW][lane]; 0 in lanes behind the last channel."""
    order = outputs.order()
    there = order < len(weights)
    chosen = np.where(there, order, 0)
    biases = np.where(there, bias[chosen], 0).astype(np.float32)
    taps = np.where(there[..., None, None], weights[chosen], 0).astype(np.float32)
    return biases.tobytes() + taps.transpose(0, 2, 3, 1).tobytes()
