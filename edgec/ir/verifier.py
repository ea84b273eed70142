"""What must hold of a graph between any two passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgec.errors import InternalError
from edgec.ir.graph import DTYPES, Graph, Operation, TensorType
from edgec.ir.inference import TypeMismatch, result_types
from edgec.ir.kinds import BatchMatMul, Conv2D, FullyConnected, TransposeConv2D

Pass = Callable[[Graph], Graph]
"""From graph to graph. What it is given stays as it is; what it makes computes the same."""


class BrokenGraph(InternalError):
    """A pass made a graph that is none: a bug in edgec."""


def run_passes(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """Run passes in order, and verify what each of them makes.

    Raises BrokenGraph naming the pass that broke the graph and those that ran before it.
    """
    done: list[str] = []
    for step in passes:
        name = getattr(step, "__name__", type(step).__name__)
        graph = step(graph)
        try:
            verify(graph)
        except TypeMismatch as error:
            raise BrokenGraph(
                f"The pass {name} made a graph that is none",
                str(error),
                "Please report it with the model if you may share it and the output of `edgec doctor`.",
                {"pass": name, "before": done},
            ) from error
        done.append(name)
    return graph


def verify(graph: Graph) -> None:
    """Raises TypeMismatch, naming the operation, when the graph is not one.

    Every value has one writer, before its readers; types are those that follow from the operands; quantized tensors
    are integers; constants have the type that they say.
    """
    written = set(graph.inputs)
    for name, value in graph.values.items():
        _check(value.name == name, f"the value {name!r} calls itself {value.name!r}")
        _check_type(name, value.type)
        if value.data is not None:
            _check(name not in graph.inputs, f"the input {name!r} is a constant")
            _check(value.data.shape == value.type.shape, f"{name!r} holds {value.data.shape}, not {value.type.shape}")
            _check(str(value.data.dtype) == value.type.dtype, f"{name!r} holds {value.data.dtype}")
            written.add(name)
    for name in graph.inputs:
        _check(name in graph.values, f"the input {name!r} has no type")
    for operation in graph.operations:
        where = _where(operation)
        for name in operation.inputs:
            _check(name in written, f"{where} reads {name!r} before it is written")
        for name in operation.outputs:
            _check(name in graph.values, f"{where} writes {name!r}, which has no type")
            _check(name not in written, f"{where} writes {name!r}, which is there already")
            written.add(name)
        _check_results(graph, operation, where)
    for name, permutation in graph.layouts.items():
        _check(name in graph.inputs or name in graph.outputs, f"{name!r} has a layout and is no input or output")
        _check(sorted(permutation) == list(range(graph.type(name).rank)), f"the layout of {name!r} is no permutation")
    for name in graph.outputs:
        _check(name in written, f"nothing writes the output {name!r}")


def _check_results(graph: Graph, operation: Operation, where: str) -> None:
    try:
        inferred = result_types(operation.kind, list(graph.types_of(operation.inputs)))
    except TypeMismatch as error:
        raise TypeMismatch(f"{where}: {error}") from error
    declared = list(graph.types_of(operation.outputs))
    _check(len(inferred) == len(declared), f"{where} has {len(declared)} results, not {len(inferred)}")
    for should, found in zip(inferred, declared, strict=True):
        _check(should.shape == found.shape, f"{where} gives {should.shape}, not {found.shape}")
        same = replace(found, quantization=None) == should or _real_sums(graph, operation, found)
        _check(same or found.quantization is not None, f"{where} gives {should.dtype}, not {found.dtype}")


def _real_sums(graph: Graph, operation: Operation, found: TensorType) -> bool:
    """Whether products of integers give float32."""
    multiplies = isinstance(operation.kind, Conv2D | TransposeConv2D | FullyConnected | BatchMatMul)
    return multiplies and found.dtype == "float32" and graph.type(operation.inputs[0]).quantization is not None


def _check_type(name: str, of: TensorType) -> None:
    _check(of.dtype in DTYPES, f"{name!r} is {of.dtype}")
    if of.quantization is None:
        return
    scales, zero_points, axis = of.quantization.scale, of.quantization.zero_point, of.quantization.axis
    _check(of.dtype in ("int8", "int16", "int32", "uint8"), f"{name!r} is {of.dtype} with a quantization")
    _check(len(scales) == len(zero_points), f"{name!r} has {len(scales)} scales and {len(zero_points)} zero points")
    _check(all(scale > 0 for scale in scales), f"{name!r} has a scale that is not positive")
    if axis is None:
        _check(len(scales) == 1, f"{name!r} has {len(scales)} scales and no axis")
    else:
        _check(0 <= axis < of.rank and of.shape[axis] == len(scales), f"{name!r} has {len(scales)} scales")
        _check(not any(zero_points), f"{name!r} has several scales and a zero point")


def _where(operation: Operation) -> str:
    return f"{operation.kind.label} {operation.outputs[0]!r}"


def _check(holds: bool, text: str) -> None:
    if not holds:
        raise TypeMismatch(text)
