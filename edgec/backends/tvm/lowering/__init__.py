"""From an ONNX model to a program.

graph.py            import and passes: a graph of integer operations
program_writer.py   values that get a place, constants, steps
ahead.py            fetching the next layer's weights
products.py         convolutions and fully-connected layers, and the sums that they compute with
sums.py             sums of two values
windows.py          pooling
conversion.py       between the caller's floats and integers
movement.py         what moves elements
"""

from __future__ import annotations

import onnx

from edgec.backends.tvm.isa.base import InstructionSet
from edgec.backends.tvm.lowering import conversion, movement, products, sums, windows
from edgec.backends.tvm.lowering.graph import lowered_graph
from edgec.backends.tvm.lowering.program_writer import ProgramWriter, write
from edgec.backends.tvm.program import Program
from edgec.ir.graph import Graph

__all__ = ["conversion", "lower", "lowered_graph", "movement", "products", "program_of", "sums", "windows"]


def lower(model: onnx.ModelProto, isa: InstructionSet) -> Program:
    """The program of a model. Raises UnsupportedOp naming what there is no kernel for."""
    return program_of(lowered_graph(model), isa)


def program_of(graph: Graph, isa: InstructionSet) -> Program:
    """The program of a graph of operations. Raises UnsupportedOp naming what there is no kernel for."""
    writer = ProgramWriter(graph, isa)
    fused = products.sums_of_products(graph)
    for operation in graph.operations:
        name = operation.outputs[0]
        if name in fused.values():
            continue  # computed where it is added to something
        if name in fused:
            products.write_with_sum(writer, writer.writers[fused[name]], operation)
        else:
            write(writer, operation)
    return writer.finish()
