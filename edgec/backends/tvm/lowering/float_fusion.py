"""Which operations on float32 are computed together, in one pass: an expression, or a product and an expression of it.

Models of many small operations lose their time between those, reading and writing memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgec.backends.tvm.constants import is_stored_by_grid
from edgec.backends.tvm.kernels.float_expression import MOST_TERMS, Expression, Term, is_known
from edgec.ir import kinds
from edgec.ir.graph import Graph, Operation
from edgec.ir.kinds.elementwise import COMPARISONS

POINTWISE = (
    kinds.Unary, kinds.Binary, kinds.HardSigmoid, kinds.LeakyRelu, kinds.PRelu, kinds.Clip, kinds.Select, kinds.Cast,
)  # fmt: skip
"""Kinds that are terms of an expression."""

PRODUCTS = (kinds.Conv2D, kinds.FullyConnected)
"""Kinds whose kernels compute an expression of their results."""

_MOST_OPERANDS = 6

_DTYPES = frozenset({"float32", "bool", "int8", "uint8", "int16", "uint16", "int32", "int64"})

_POWERS: Mapping[float, str] = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
"""Powers that have a function of their own."""


@dataclass
class _Group:
    """What is computed together so far: operations by their results. product: the one that is no term."""

    last: Operation
    members: dict[str, Operation] = field(default_factory=dict)
    product: str = ""


def groups(graph: Graph) -> dict[str, tuple[Operation, ...]]:
    """Operations that are computed at the place of the last one, by its result; in order. Only those of several."""
    readers, writers = graph.consumers(), graph.producers()
    found: dict[str, tuple[Operation, ...]] = {}
    taken: set[str] = set()
    for operation in reversed(graph.operations):
        name = operation.outputs[0]
        if name in taken or not is_pointwise(graph, operation):
            continue
        group = _Group(operation, {name: operation})
        while _grows(graph, group, readers, writers, taken):
            pass
        if len(group.members) > 1:
            found[name] = tuple(item for item in graph.operations if item.outputs[0] in group.members)
            taken |= set(group.members)
    return found


def _grows(
    graph: Graph,
    group: _Group,
    readers: Mapping[str, Sequence[Operation]],
    writers: Mapping[str, Operation],
    taken: set[str],
) -> bool:
    """Take in one more operation, if there is one that nothing but the group reads."""
    for member in list(group.members.values()):
        if member.outputs[0] == group.product:
            continue
        for name in member.inputs:
            operation = writers.get(name)
            if operation is None or name in group.members or name in taken or name in graph.outputs:
                continue
            inside = all(reader.outputs[0] in group.members for reader in readers[name])
            if not inside or graph.type(name).shape != graph.type(group.last.outputs[0]).shape:
                continue
            product = not group.product and is_product(graph, operation, writers)
            if not product and not is_pointwise(graph, operation):
                continue
            if not _fits(graph, {**group.members, name: operation}, group.product or (name if product else "")):
                continue
            group.members[name] = operation
            if product:
                group.product = name
            return True
    return False


def _fits(graph: Graph, members: Mapping[str, Operation], product: str) -> bool:
    """Whether the vectors of an expression fit into registers, more or less."""
    outside = {
        operand
        for name, operation in members.items()
        if name != product
        for operand in operation.inputs
        if operand not in members
    }
    return len(members) <= MOST_TERMS and len(outside) <= _MOST_OPERANDS


def is_pointwise(graph: Graph, operation: Operation) -> bool:
    """Whether an operation can be a term: there is a function for its dtypes, none of them quantized."""
    if not isinstance(operation.kind, POINTWISE):
        return False
    types = [graph.type(name) for name in (*operation.inputs, *operation.outputs)]
    if any(item.dtype not in _DTYPES or is_stored_by_grid(item) or item.size == 0 for item in types):
        return False
    if isinstance(operation.kind, kinds.Cast | kinds.Select):
        return True
    return all(is_known(function, types[0].dtype) for function, *_ in _functions(graph, operation))


def is_product(graph: Graph, operation: Operation, writers: Mapping[str, Operation]) -> bool:
    """Whether an operation is a product of float32 whose kernel computes an expression of its result."""
    types = [graph.type(name) for name in (*operation.inputs, *operation.outputs)]
    if not isinstance(operation.kind, PRODUCTS) or any(item.dtype != "float32" for item in types):
        return False
    return types[-1].rank <= 4 and knows_weights(graph, operation, writers)


def knows_weights(graph: Graph, operation: Operation, writers: Mapping[str, Operation]) -> bool:
    """Whether weights and bias of a product are constants, or integers behind a Dequantize that are."""
    for name in operation.inputs[1:]:
        maker = writers.get(name)
        stored = maker.inputs[0] if maker is not None and isinstance(maker.kind, kinds.Dequantize) else name
        if graph.constant(stored) is None:
            return False
    return True


def expression_of(graph: Graph, operations: Sequence[Operation], product: str = "") -> tuple[Expression, list[str]]:
    """The expression that operations compute together, and the values that are its operands.

    product: the value that is there already, which becomes the first operand.
    """
    made = {operation.outputs[0] for operation in operations}
    outside = [name for operation in operations for name in operation.inputs if name not in made]
    operands = list(dict.fromkeys([*([product] if product else []), *outside]))
    known = {name: number for number, name in enumerate(operands)}
    terms: list[Term] = []
    for operation in operations:
        numbers = tuple(known[name] for name in operation.inputs)
        for function, parameters, dtype, taken in _functions(graph, operation):
            chosen = tuple(numbers[at] if at >= 0 else len(operands) + len(terms) - 1 for at in taken)
            terms.append(Term(function, chosen, dtype, parameters))
        known[operation.outputs[0]] = len(operands) + len(terms) - 1
    dtypes = tuple(graph.type(name).dtype for name in operands)
    return _without_unread(Expression(dtypes, tuple(terms)), operands, bool(product))


def activated(expression: Expression, activation: str) -> Expression:
    """An expression with an activation of its first operand before all else."""
    if activation == "none":
        return expression
    count = len(expression.operands)

    def moved(number: int) -> int:
        return count if number == 0 else number + 1 if number >= count else number

    terms = [
        Term(term.function, tuple(map(moved, term.operands)), term.dtype, term.numbers) for term in expression.terms
    ]
    return Expression(expression.operands, (Term(activation, (0,), expression.operands[0]), *terms))


def _without_unread(expression: Expression, operands: list[str], keep_first: bool) -> tuple[Expression, list[str]]:
    """Without operands that no term reads, such as the exponent of a square."""
    count = len(operands)
    read = {number for term in expression.terms for number in term.operands} | ({0} if keep_first else set())
    kept = [number for number in range(count) if number in read]
    place = {number: at for at, number in enumerate(kept)}
    place |= {count + at: len(kept) + at for at in range(len(expression.terms))}
    terms = [
        Term(term.function, tuple(place[number] for number in term.operands), term.dtype, term.numbers)
        for term in expression.terms
    ]
    dtypes = tuple(expression.operands[number] for number in kept)
    return Expression(dtypes, tuple(terms)), [operands[number] for number in kept]


_Function = tuple[str, tuple[float, ...], str, tuple[int, ...]]
"""Name, parameters, dtype of the result, and which of the operation's operands it takes: -1 is the function before."""


def _functions(graph: Graph, operation: Operation) -> list[_Function]:
    """What an operation computes, as terms one after the other."""
    kind = operation.kind
    dtype = graph.type(operation.outputs[0]).dtype
    every = tuple(range(len(operation.inputs)))
    if isinstance(kind, kinds.Unary):
        return [(kind.function, (), dtype, every)]
    if isinstance(kind, kinds.Binary):
        dtype = "bool" if kind.function in COMPARISONS else dtype
        found: list[_Function] = [(kind.function, (), dtype, every)]
        exponent = _uniform(graph, operation.inputs[1]) if kind.function == "pow" else None
        if exponent is not None and exponent in _POWERS and graph.type(operation.inputs[0]).dtype == "float32":
            found = [(_POWERS[exponent], (), dtype, (0,))]
        return found if kind.activation == "none" else [*found, (kind.activation, (), dtype, (-1,))]
    if isinstance(kind, kinds.HardSigmoid):
        return [("hard_sigmoid", (kind.slope, kind.offset), dtype, every)]
    if isinstance(kind, kinds.LeakyRelu):
        return [("leaky_relu", (kind.alpha,), dtype, every)]
    if isinstance(kind, kinds.PRelu):
        return [("prelu", (), dtype, every)]
    if isinstance(kind, kinds.Clip):
        return [("clip", _limits(kind, dtype), dtype, every)]
    if isinstance(kind, kinds.Select):
        return [("select", (), dtype, every)]
    assert isinstance(kind, kinds.Cast), kind
    return [("cast", (), dtype, every)]


def _limits(kind: kinds.Clip, dtype: str) -> tuple[float, float]:
    """Those of an integer are within its dtype."""
    if dtype == "float32":
        return kind.low, kind.high
    info = np.iinfo(dtype)
    return max(kind.low, info.min), min(kind.high, info.max)


def _uniform(graph: Graph, name: str) -> float | None:
    """The number that all elements of a constant are."""
    data = graph.constant(name)
    if data is None or data.size == 0 or not np.all(data == data.flat[0]):
        return None
    return float(data.flat[0])
