"""From an ONNX model to a program.

graph.py            import and passes: a graph of integer operations
program_writer.py   values that get a place, constants, steps
callers_arrays.py   the arrays that the caller gives and gets
ahead.py            fetching the next layer's weights
geometry.py         where a product reads and writes
products.py         convolutions and fully-connected layers, and the sums that they compute with
dense_products.py   those that multiply all channels of a group with all
channel_groups.py   tiles of output channels that are those of several groups
tables.py           functions of one integer
elementwise.py      functions of two values on integers, element by element
numbers.py          what integers are computed with
matmul.py           products of two activations
windows.py          pooling, resizing
reductions.py       sums and the like along axes, softmax
float_fusion.py     which operations on float32 are computed together
float_products.py   convolutions and fully-connected layers of float32, and what follows them
float_elementwise.py  expressions of float32
float_reductions.py reductions of float32
float_normalization.py  softmax, LayerNorm
float_matmul.py     products of two matrices
float_scans.py      positions of limits, running sums
float_windows.py    pooling and resizing of float32
conversion.py       between the caller's floats and integers
movement.py         what moves elements
plain.py            what no other rule has a kernel for, as it is defined
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.lowering import (
    conversion,
    dense_products,
    elementwise,
    float_elementwise,
    float_fusion,
    float_matmul,
    float_normalization,
    float_products,
    float_reductions,
    float_scans,
    float_windows,
    matmul,
    movement,
    plain,
    products,
    reductions,
    tables,
    windows,
)
from edgec.backends.tvm.lowering.graph import lowered_graph
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write
from edgec.backends.tvm.program import Program
from edgec.backends.tvm.tuning.database import TileSize
from edgec.ir.graph import Graph
from edgec.ir.passes.one_hot_products import one_hot_products

__all__ = [
    "conversion",
    "dense_products",
    "elementwise",
    "float_elementwise",
    "float_matmul",
    "float_normalization",
    "float_products",
    "float_reductions",
    "float_scans",
    "float_windows",
    "lower",
    "lowered_graph",
    "matmul",
    "movement",
    "plain",
    "products",
    "program_of",
    "reductions",
    "tables",
    "windows",
]


def lower(model: onnx.ModelProto, isa: InstructionSet) -> Program:
    """The program of a model. Raises UnsupportedOp naming what there is no kernel for."""
    return program_of(lowered_graph(model), isa)


def program_of(graph: Graph, isa: InstructionSet, tiles: Mapping[str, TileSize] | None = None) -> Program:
    """The program of a graph of operations. tiles: that were searched for, by the kernel's shape (`tuning/tiles.py`).

    Raises UnsupportedOp naming what there is no kernel for.
    """
    graph = one_hot_products(graph)
    writer = ProgramWriter(graph, isa, tiles)
    fused = products.sums_of_products(graph)
    groups = float_fusion.groups(graph)
    inside = {item.outputs[0] for group in groups.values() for item in group[:-1]}
    of_one = tables.functions(graph)
    inside |= tables.unstored(graph, of_one) | float_products.stored_constants(graph)
    for operation in graph.operations:
        name = operation.outputs[0]
        if name in fused.values() or name in inside:
            continue  # computed where it is added to something, or at the end of its group
        if name in groups:
            float_products.write_group(writer, groups[name])
            continue
        if name in of_one:
            tables.write_function(writer, of_one[name])
        elif name in fused:
            dense_products.write(writer, writer.writers[fused[name]], operation)
        else:
            write(writer, operation)
    return writer.finish()
