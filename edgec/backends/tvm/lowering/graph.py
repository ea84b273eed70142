"""Import and passes: from an ONNX model to a graph that a program can be made of."""

from __future__ import annotations

import onnx

from edgec.backends.tvm.support import TVMKernels
from edgec.ir.graph import Graph
from edgec.ir.importer import import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.fuse import fuse
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from edgec.ir.passes.integers import integer_operations
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.verifier import run_passes


def lowered_graph(model: onnx.ModelProto) -> Graph:
    """The graph that a program is made of: operations on integers where there are kernels for them, else on floats.

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
