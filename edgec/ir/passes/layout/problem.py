"""Who stores which tensor, and who reads it in which order."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.passes.layout.freedom import Freedom, fixed, freedom_of, reshape_groups
from edgec.ir.passes.layout.orders import Order, channels_last, compose, identity, significant


@dataclass(frozen=True)
class Alias:
    """A value is the tensor `root` in the order `order`: what the graph's own Transposes say."""

    root: str
    order: Order


@dataclass(frozen=True)
class Read:
    """A node reads a tensor, as its operand of this number, by the name of an alias in this order."""

    node: int
    operand: int
    order: Order


@dataclass
class Tensor:
    """What is stored: a value that no Transpose writes and that is not constant.

    fuses: its writer and its reader may become one operation.
    """

    shape: tuple[int, ...]
    nbytes: int
    writer: int
    result: int
    reads: list[Read] = field(default_factory=list)
    fuses: bool = False

    def cost(self, stored: Order, wanted: Order) -> int:
        """What it costs to have it in another order: bytes first, then what can't be fused, then operations."""
        if stored == wanted:
            return 0
        if significant(self.shape, stored) == significant(self.shape, wanted):
            return 1
        return 4096 * self.nbytes + 64 + 64 * self.fuses


@dataclass
class Problem:
    """Nodes are inputs of the graph, operations other than Transposes, and outputs.

    constants: values that are permuted at compile time, also those that a Dequantize or Cast makes of a constant.
    stored: the operation that makes such a value, if any. flattened: operations whose result may have its last
    dimension in any order, because whoever multiplies it can order its weights alike. outputs: the node of each output.
    swaps: nodes of their own for operands of matrix products, by the product's node and the operand's number.
    """

    graph: Graph
    freedoms: list[Freedom]
    operations: list[Operation | None]
    aliases: dict[str, Alias]
    tensors: dict[str, Tensor]
    constants: set[str]
    stored: dict[str, Operation]
    flattened: set[int]
    outputs: dict[str, int]
    swaps: dict[tuple[int, int], int] = field(default_factory=dict)


def layout_problem(graph: Graph, free_boundary: bool) -> Problem:
    """The problem of a graph. `free_boundary`: inputs and outputs of rank 3 and 4 may have channels last."""
    problem = Problem(
        graph,
        [],
        [],
        {name: Alias(name, identity(value.type.rank)) for name, value in graph.values.items()},
        {},
        {name for name, value in graph.values.items() if value.is_constant},
        {},
        set(),
        {},
    )
    readers = graph.consumers()
    for name in graph.inputs:
        node = _node(problem, None, _boundary(graph, name, free_boundary, results=True))
        _store(problem, name, node, 0)
    for operation in graph.operations:
        if isinstance(operation.kind, kinds.Transpose):
            source = problem.aliases[operation.inputs[0]]
            order = compose(source.order, operation.kind.permutation)
            problem.aliases[operation.outputs[0]] = Alias(source.root, order)
        elif _is_stored_constant(operation, problem.constants, graph):
            problem.constants.add(operation.outputs[0])
            problem.stored[operation.outputs[0]] = operation
        else:
            _operation(problem, operation, readers)
    for name in dict.fromkeys(graph.outputs):
        if name not in graph.inputs and problem.aliases[name].root not in problem.constants:
            node = _node(problem, None, _boundary(graph, name, free_boundary, results=False))
            problem.outputs[name] = node
            _read(problem, name, node, 0)
    return problem


def _operation(problem: Problem, operation: Operation, readers: dict[str, list[Operation]]) -> None:
    graph = problem.graph
    operands = list(graph.types_of(operation.inputs))
    freedom = freedom_of(operation.kind, operands, list(graph.types_of(operation.outputs)))
    free_end = _flattening(graph, operation, readers)
    node = _node(problem, operation, free_end or freedom)
    if free_end is not None:
        problem.flattened.add(node)
    for position, name in enumerate(operation.inputs):
        if isinstance(operation.kind, kinds.BatchMatMul):
            swap = _node(problem, None, _swap(operands[position].rank))
            problem.swaps[node, position] = swap
            _read(problem, name, swap, 0)
        else:
            _read(problem, name, node, position)
    for position, name in enumerate(operation.outputs):
        _store(problem, name, node, position)


def _node(problem: Problem, operation: Operation | None, freedom: Freedom) -> int:
    problem.operations.append(operation)
    problem.freedoms.append(freedom)
    return len(problem.freedoms) - 1


def _store(problem: Problem, name: str, node: int, result: int) -> None:
    of = problem.graph.type(name)
    problem.tensors[name] = Tensor(of.shape, of.nbytes, node, result)


def _read(problem: Problem, name: str, node: int, operand: int) -> None:
    alias = problem.aliases[name]
    if alias.root not in problem.constants:
        tensor = problem.tensors[alias.root]
        tensor.reads.append(Read(node, operand, alias.order))
        reader, writer = problem.operations[node], problem.operations[tensor.writer]
        tensor.fuses |= reader is not None and writer is not None and _may_fuse(writer, reader)


def _may_fuse(writer: Operation, reader: Operation) -> bool:
    products = (kinds.Conv2D, kinds.TransposeConv2D, kinds.FullyConnected, kinds.Binary)
    clips = isinstance(reader.kind, kinds.Unary) and reader.kind.function in ("relu", "relu6")
    return isinstance(writer.kind, products) and (clips or isinstance(reader.kind, (kinds.Clip, kinds.Binary)))


def _boundary(graph: Graph, name: str, free: bool, *, results: bool) -> Freedom:
    rank = graph.type(name).rank
    both = results and name in graph.outputs  # one value, and one layout: left as it is
    if not free or both or rank not in (3, 4):
        return fixed(0, 1) if results else fixed(1, 0)
    axes = (identity(rank),)
    labels = (identity(rank), channels_last(rank))
    return Freedom(rank, () if results else axes, axes if results else (), labels=labels)


def _swap(rank: int) -> Freedom:
    """The freedom of an operand of a matrix product, which may have its last two dimensions the other way round."""
    axes = identity(rank)
    swapped = (*axes[:-2], rank - 1, rank - 2)
    return Freedom(rank, (axes,), (), labels=(axes, swapped))


def _is_stored_constant(operation: Operation, constants: set[str], graph: Graph) -> bool:
    storage = isinstance(operation.kind, (kinds.Dequantize, kinds.Cast))
    return storage and operation.inputs[0] in constants and graph.values[operation.inputs[0]].is_constant


def _flattening(graph: Graph, operation: Operation, readers: dict[str, list[Operation]]) -> Freedom | None:
    """The freedom of a reshape that joins the last dimensions into one that only constant weights multiply."""
    if not isinstance(operation.kind, kinds.Reshape):
        return None
    before, after = graph.type(operation.inputs[0]).shape, graph.type(operation.outputs[0]).shape
    groups = reshape_groups(before, after)
    if groups is None or len(after) == 0 or after[-1] == 1:
        return None
    old, new = groups
    head = sum(axis < new[-1] for axis in old)
    joined = len(old) - head
    splits = any(new.count(axis) > 1 for axis in new) or any(old.count(axis) > 1 for axis in old[:head])
    if joined < 2 or old[head:].count(new[-1]) != joined or splits:
        return None
    if not only_weights_multiply(graph, operation.outputs[0], readers):
        return None
    kind = operation.kind
    return Freedom(len(before), (identity(len(before)),), (None,), lambda label: kind, head=head)


def only_weights_multiply(graph: Graph, name: str, readers: dict[str, list[Operation]]) -> bool:
    """Whether all that is done with a tensor is to compute each element for itself, and then to multiply its last
    dimension by constant weights."""
    if name in graph.outputs or not readers[name]:
        return False
    return all(_keeps_elements(graph, name, reader, readers) for reader in readers[name])


def _keeps_elements(graph: Graph, name: str, reader: Operation, readers: dict[str, list[Operation]]) -> bool:
    if isinstance(reader.kind, kinds.FullyConnected):
        return reader.inputs[0] == name and name not in reader.inputs[1:] and _weights(graph, reader.inputs[1])
    follow = False
    if isinstance(
        reader.kind,
        (
            kinds.Unary,
            kinds.Clip,
            kinds.HardSigmoid,
            kinds.LeakyRelu,
            kinds.Cast,
            kinds.Quantize,
            kinds.Dequantize,
        ),
    ):
        follow = True
    elif isinstance(reader.kind, kinds.Reshape):
        follow = reader.kind.shape == graph.type(name).shape
    elif isinstance(reader.kind, kinds.Binary):
        other = [item for item in reader.inputs if item != name]
        follow = all(graph.constant(item) is not None and graph.type(item).size == 1 for item in other)
    return follow and only_weights_multiply(graph, reader.outputs[0], readers)


def _weights(graph: Graph, name: str) -> bool:
    """Whether weights are constant, or stored constants."""
    if graph.values[name].is_constant:
        return True
    maker = next(item for item in graph.operations if name in item.outputs)
    stored = isinstance(maker.kind, (kinds.Dequantize, kinds.Cast)) and graph.values[maker.inputs[0]].is_constant
    quantization = graph.type(maker.inputs[0]).quantization
    return stored and (quantization is None or quantization.axis in (None, 0))
