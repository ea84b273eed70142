"""Transposes: as few bytes of them as can be, and why those that are left are there.

The importer writes every tensor in ONNX's order of dimensions, with Transposes around what works with channels last.
`place_transposes` chooses the order in which each tensor is stored (layout/assignment.py) and writes the graph anew
(layout/rewriting.py): constants are permuted at compile time, also the weights behind a flattened feature map.
"""

from __future__ import annotations

from typing import NamedTuple

from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.passes.layout.assignment import best_labels
from edgec.ir.passes.layout.freedom import freedom_of
from edgec.ir.passes.layout.orders import Order
from edgec.ir.passes.layout.problem import layout_problem
from edgec.ir.passes.layout.rewriting import rewrite

CHANNELS_LAST = (
    kinds.AveragePool2D,
    kinds.Conv2D,
    kinds.DepthToSpace,
    kinds.MaxPool2D,
    kinds.ResizeBilinear,
    kinds.ResizeNearest,
    kinds.SpaceToDepth,
    kinds.TransposeConv2D,
)
"""Kinds that work on N, H, W, C only."""


class RemainingTranspose(NamedTuple):
    """A Transpose that is left.

    value: what it writes. bytes: of its operand, each of which it reads and writes. why: in words.
    """

    value: str
    permutation: Order
    bytes: int
    why: str


def place_transposes(graph: Graph, free_boundary: bool = False) -> Graph:
    """The graph with the fewest bytes transposed at run time.

    free_boundary: inputs and outputs of rank 3 and 4 may have their channels last, at no cost; Graph.layouts tells
    which do. Names of inputs and outputs stay. Any other value is called by its ONNX tensor where it is in that
    tensor's order, else NAME/nhwc or the like.
    """
    problem = layout_problem(graph, free_boundary)
    return rewrite(problem, best_labels(problem))


def channels_last(graph: Graph) -> Graph:
    """Transposes where they cost least, and at the border not at all: images there have their channels last."""
    return place_transposes(graph, free_boundary=True)


def remaining_transposes(graph: Graph) -> list[RemainingTranspose]:
    """The Transposes of a graph, in its order, and why each of them is there."""
    producers, consumers = graph.producers(), graph.consumers()
    found = []
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Transpose):
            before = _writers(graph, producers, operation.inputs[0])
            after = _readers(graph, consumers, operation.outputs[0])
            found.append(
                RemainingTranspose(
                    operation.outputs[0],
                    operation.kind.permutation,
                    graph.type(operation.inputs[0]).nbytes,
                    _why(before, after),
                )
            )
    return found


def _why(before: list[Operation | str], after: list[Operation | str]) -> str:
    last_before, last_after = _channels_last(before), _channels_last(after)
    if last_before and last_after:
        return f"the model itself transposes between {_named(before)} and {_named(after)}"
    if last_before:
        return f"{_named(last_before)} writes channels last, {_named(after)} needs the model's order"
    if last_after:
        return f"{_named(before)} gives the model's order, {_named(last_after)} reads channels last"
    return f"the model itself transposes between {_named(before)} and {_named(after)}"


def _channels_last(ends: list[Operation | str]) -> list[Operation | str]:
    return [item for item in ends if isinstance(item, Operation) and isinstance(item.kind, CHANNELS_LAST)]


def _named(ends: list[Operation | str]) -> str:
    if not ends:
        return "a constant"
    end = ends[0]
    if isinstance(end, str):
        return end
    name = end.origin[0] if end.origin else end.outputs[0]
    return f"{end.kind.label} {name!r}"


def _writers(graph: Graph, producers: dict[str, Operation], name: str) -> list[Operation | str]:
    """What a value comes from, beyond operations that work in any order."""
    ends: list[Operation | str] = []
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop(0)
        if name in seen or graph.values[name].is_constant:
            continue
        seen.add(name)
        if name in graph.inputs:
            ends.append(f"the input {name!r}")
        elif _works_in_any_order(graph, producers[name]):
            waiting.extend(producers[name].inputs)
        else:
            ends.append(producers[name])
    return ends


def _readers(graph: Graph, consumers: dict[str, list[Operation]], name: str) -> list[Operation | str]:
    """What a value goes to, beyond operations that work in any order."""
    ends: list[Operation | str] = []
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name in graph.outputs:
            ends.append(f"the output {name!r}")
        for reader in consumers[name]:
            if _works_in_any_order(graph, reader):
                waiting.extend(reader.outputs)
            else:
                ends.append(reader)
    return ends


def _works_in_any_order(graph: Graph, operation: Operation) -> bool:
    if isinstance(operation.kind, kinds.Transpose):
        return False
    operands, results = list(graph.types_of(operation.inputs)), list(graph.types_of(operation.outputs))
    freedom = freedom_of(operation.kind, operands, results)
    return freedom.rank > 1 and not freedom.tail
