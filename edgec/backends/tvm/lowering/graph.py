"""Import and passes: from an ONNX model to a graph that a program can be made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx

from edgec.backends.tvm.support import TVMKernels
from edgec.ir import kinds
from edgec.ir.builder import rebuilt
from edgec.ir.graph import Graph, Value
from edgec.ir.importer import import_model
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.fuse import fuse
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from edgec.ir.passes.integers import FloatOperation, float_between, integer_operations
from edgec.ir.passes.transposes import channels_last
from edgec.ir.reference.executor import run
from edgec.ir.verifier import run_passes

_PRODUCTS = (kinds.Conv2D, kinds.TransposeConv2D, kinds.FullyConnected)


@dataclass(frozen=True)
class Lowered:
    """A model as it is to be computed.

    graph: what a program is made of. in_float: operations of a quantized model that no integer kernel computes.
    """

    graph: Graph
    in_float: tuple[FloatOperation, ...]


def lowered(model: onnx.ModelProto) -> Lowered:
    """The graph that a program is made of: operations on integers where there are kernels for them, else on floats.

    Images at the border are channels last: the kernels that convert the caller's floats read and write any order.
    """
    early = run_passes(import_model(model), [fold_constants, channels_last, fuse])
    late = [in_integers, in_full, fold_constants, merge_reshapes, remove_identities, share_duplicates]
    graph = run_passes(early, late)
    return Lowered(graph, tuple(float_between(early, TVMKernels(), float_results=True)))


def lowered_graph(model: onnx.ModelProto) -> Graph:
    """What is computed of a model, see `Lowered`."""
    return lowered(model).graph


def in_integers(graph: Graph) -> Graph:
    """Operations on integers wherever there are kernels for them.

    A product of integers whose result is needed in float32 (a classifier's last layer, often) is one of integers too:
    its sums are exact, and are rounded to float32 once. Multiplying the same numbers in float32 reads four times as
    many bytes of weights, takes more instructions, and rounds every addition.
    """
    return integer_operations(graph, TVMKernels(), float_results=True)


def in_full(graph: Graph) -> Graph:
    """Constants that are stored in few bits and read as float32 become float32, so that a run does not convert them
    again; but for weights, which kernels of products read as they are stored."""
    values, kept, readers = dict(graph.values), [], graph.consumers()
    for operation in graph.operations:
        name = operation.outputs[0]
        data = (
            graph.constant(operation.inputs[0]) if isinstance(operation.kind, kinds.Cast | kinds.Dequantize) else None
        )
        weights = isinstance(operation.kind, kinds.Dequantize) and all(
            isinstance(reader.kind, _PRODUCTS) and reader.inputs[0] != name for reader in readers[name]
        )
        if data is None or weights:
            kept.append(operation)
            continue
        (made,) = run(graph, operation, {operation.inputs[0]: data})
        values[name] = Value(name, graph.type(name), made)
    return rebuilt(replace(graph, values=values), kept)
