"""Import and passes: from an ONNX model to a graph of integer operations that there are kernels for."""

from __future__ import annotations

import onnx

from edgec.backends.tvm.storage import image_shape
from edgec.backends.tvm.support import TVMKernels
from edgec.errors import UnsupportedOp
from edgec.ir import kinds
from edgec.ir.graph import Graph
from edgec.ir.importer import import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.fuse import fuse
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from edgec.ir.passes.integers import float_between, integer_operations
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.verifier import run_passes


def lowered_graph(model: onnx.ModelProto) -> Graph:
    """The graph of integer operations that a program is made of.

    Images at the border are channels last: the kernels that convert the caller's floats read and write any order.
    """
    passes = [fold_constants, channels_last, fuse, in_integers, merge_reshapes, remove_identities, share_duplicates]
    return run_passes(import_model(model), passes)


def channels_last(graph: Graph) -> Graph:
    """Transposes where they cost least, and at the border not at all."""
    return place_transposes(graph, free_boundary=True)


def in_integers(graph: Graph) -> Graph:
    """Operations on integers wherever there are kernels for them."""
    return integer_operations(graph, TVMKernels())


def require_kernels(graph: Graph) -> None:
    """Raises UnsupportedOp naming what is left in float, and inputs and outputs that can't be converted."""
    reasons = [f"{item.label} {item.result!r}: {item.reason}" for item in float_between(graph, TVMKernels())]
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Quantize) and operation.inputs[0] not in graph.inputs:
            reasons.append(f"Quantize {operation.outputs[0]!r}: it reads what is computed")
        if isinstance(operation.kind, kinds.Dequantize) and operation.outputs[0] not in graph.outputs:
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
