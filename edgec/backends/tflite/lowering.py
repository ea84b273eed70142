"""From an ONNX model to the graph that is written: import, passes, and what TFLite's kernels take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from edgec.backends.base import Interface
from edgec.backends.tflite.kernels import TFLiteKernels
from edgec.backends.tflite.legal import legalize
from edgec.backends.tflite.widths import one_width
from edgec.backends.tflite.writer.elementwise import UNARY
from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, Operation
from edgec.ir.importer import import_model
from edgec.ir.passes.boundary import boundary_bytes, boundary_integers
from edgec.ir.passes.decompose import decompose
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.fuse import fuse
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from edgec.ir.passes.integers import FloatOperation, IntegerKernels, float_between, integer_operations
from edgec.ir.passes.transposes import RemainingTranspose, channels_last, remaining_transposes
from edgec.ir.verifier import Pass, run_passes


@dataclass(frozen=True)
class Lowered:
    """A model as TFLite is to compute it.

    graph: legal. Its inputs and outputs may be in another order of dimensions (Graph.layouts) and, where the interface
        is int8 or uint8, quantized.
    in_float: operations of a quantized model that no integer kernel computes, and why.
    transposes: those that are left, and why.
    """

    graph: Graph
    in_float: tuple[FloatOperation, ...]
    transposes: tuple[RemainingTranspose, ...]


def lower(model: onnx.ModelProto, interface: Interface = "float", kernels: IntegerKernels | None = None) -> Lowered:
    """Bring a model to the graph that is written. The writing itself takes no decisions.

    Raises UnsupportedOp naming the nodes that TFLite can't compute.
    """
    chosen = kernels if kernels is not None else TFLiteKernels()
    early = run_passes(import_model(model), [fold_constants, channels_last, fuse, one_width])
    passes: list[Pass] = [_named("integer_operations", lambda graph: integer_operations(graph, chosen))]
    if interface != "float":
        passes.append(boundary_bytes if interface == "uint8" else boundary_integers)
    passes += [without_lacking, legalize, merge_reshapes, remove_identities, share_duplicates, borders_apart]
    graph = run_passes(early, passes)
    return Lowered(graph, tuple(float_between(early, chosen)), tuple(remaining_transposes(graph)))


def without_lacking(graph: Graph) -> Graph:
    """The graph without kinds that TFLite has no operator for."""
    return decompose(graph, lacks)


def lacks(graph: Graph, operation: Operation) -> bool:
    """Whether TFLite has no operator for a kind in float."""
    kind = operation.kind
    if isinstance(kind, kinds.Unary):
        return kind.function not in UNARY
    if isinstance(kind, kinds.HardSigmoid):
        return graph.type(operation.inputs[0]).quantization is None  # in integers it is written with other scales
    return isinstance(kind, kinds.LayerNorm)


def borders_apart(graph: Graph) -> Graph:
    """The graph with outputs that are neither inputs nor constants: a runtime may share the memory of those."""
    taken = [name for name in graph.outputs if name in graph.inputs or graph.values[name].is_constant]
    if not taken:
        return graph
    builder = GraphBuilder.over(graph)
    builder.graph.operations.extend(graph.operations)
    outputs = []
    for name in graph.outputs:
        if name in taken:
            of = graph.type(name)
            copy = builder.add(kinds.Reshape(of.shape), [name], f"{name}{COPY}", types=[of])
            if name in graph.layouts:
                builder.graph.layouts[copy] = graph.layouts[name]
            outputs.append(copy)
        else:
            outputs.append(name)
    return builder.finish(outputs)


COPY = "/output"
"""What is added to the name of an output that is an input or a constant as well."""


def _named(name: str, step: Callable[[Graph], Graph]) -> Pass:
    """A pass that errors can name."""

    def run(graph: Graph) -> Graph:
        return step(graph)

    run.__name__ = name
    return run
