"""Importing: operators that take many elements along axes and give fewer."""

from __future__ import annotations

import numpy as np

from edgec.ir.importer.handlers import imports
from edgec.ir.importer.movement import axes_of, axis_of
from edgec.ir.importer.node import NodeImport
from edgec.ir.kinds import ArgReduce, Binary, Cast, CumSum, Reduce, Reshape, Reverse, TopK, Transpose, Unary
from edgec.ir.kinds.elementwise import UnaryFunction

_BEFORE: dict[str, UnaryFunction] = {"ReduceL1": "abs", "ReduceL2": "square", "ReduceSumSquare": "square"}
"""What is summed is this function of the elements."""

_AFTER: dict[str, UnaryFunction] = {"ReduceL2": "sqrt", "ReduceLogSum": "log"}
"""The result is this function of the sum."""


def _axes(item: NodeImport) -> tuple[int, ...] | None:
    """The axes to reduce, ascending; None where ONNX says that nothing is to be reduced."""
    rank = item.type(item.operand(0)).rank
    axes = axes_of(item, 1, rank)
    if axes:
        return tuple(sorted(set(axes)))
    return None if item.attribute("noop_with_empty_axes", 0) else tuple(range(rank))


def _reduce(item: NodeImport, reduce: Reduce, x: str, output: str | None = None) -> str:
    """Of a scalar, every reduction is that scalar."""
    if reduce.axes:
        return item.add(reduce, [x], output)
    if output is None:
        item.rename(x)
    return output or x


@imports("ReduceMax", "ReduceMin", "ReduceProd")
def extreme(item: NodeImport) -> None:
    """Of booleans, the largest is whether any is true, and the smallest whether all are."""
    x, axes = item.operand(0), _axes(item)
    if axes is None:
        item.rename(x)
        return
    truths = item.type(x).dtype == "bool"
    keepdims = bool(item.attribute("keepdims", 1))
    if item.node.op_type == "ReduceMax":
        reduce = Reduce("any" if truths else "max", axes, keepdims)
    elif item.node.op_type == "ReduceMin":
        reduce = Reduce("all" if truths else "min", axes, keepdims)
    else:
        reduce = Reduce("product", axes, keepdims)
    _reduce(item, reduce, x)


@imports("ReduceMean")
def mean(item: NodeImport) -> None:
    """The mean of integers is cut off, as their division is."""
    x, axes = item.operand(0), _axes(item)
    keepdims = bool(item.attribute("keepdims", 1))
    if axes is None:
        item.rename(x)
    elif item.type(x).dtype == "float32" or not axes:
        _reduce(item, Reduce("mean", axes, keepdims), x)
    else:
        of = item.type(x)
        total = _reduce(item, Reduce("sum", axes, keepdims), x, item.between("sum"))
        count = np.array(np.prod([of.shape[axis] for axis in axes]), of.dtype)
        item.add(Binary("div"), [total, item.add_constant("count", count)])


@imports("ReduceSum", *dict.fromkeys([*_BEFORE, *_AFTER]))
def total(item: NodeImport) -> None:
    """A sum of a function, and a function of that."""
    x, axes, op = item.operand(0), _axes(item), item.node.op_type
    steps: list[tuple[str, Unary | Reduce]] = []
    if op in _BEFORE:
        steps.append((_BEFORE[op], Unary(_BEFORE[op])))
    if axes:
        steps.append(("sum", Reduce("sum", axes, bool(item.attribute("keepdims", 1)))))
    if op in _AFTER:
        steps.append((_AFTER[op], Unary(_AFTER[op])))
    for index, (name, step) in enumerate(steps, start=1):
        x = item.add(step, [x], None if index == len(steps) else item.between(name))
    if not steps:
        item.rename(x)


@imports("ReduceLogSumExp")
def log_sum_exp(item: NodeImport) -> None:
    """log(sum(exp(x - max))) + max, which does not overflow."""
    x, axes = item.operand(0), _axes(item)
    if not axes:
        item.rename(x)
        return
    top = item.add(Reduce("max", axes, True), [x], item.between("max"))
    lower = item.add(Binary("sub"), [x, top], item.between("lower"))
    powers = item.add(Unary("exp"), [lower], item.between("exp"))
    keepdims = bool(item.attribute("keepdims", 1))
    summed = item.add(Reduce("sum", axes, keepdims), [powers], item.between("sum"))
    if not keepdims:
        top = item.add(Reshape(item.type(summed).shape), [top], item.between("max"))
    item.add(Binary("add"), [item.add(Unary("log"), [summed], item.between("log")), top])


@imports("ArgMax", "ArgMin")
def arg_reduce(item: NodeImport) -> None:
    """The last of several equal elements is the first of the reversed tensor."""
    x = item.operand(0)
    of = item.type(x)
    axis = axis_of(item, item.attribute("axis", 0), of.rank)
    kind = ArgReduce("max" if item.node.op_type == "ArgMax" else "min", axis)
    keepdims = bool(item.attribute("keepdims", 1))
    last = bool(item.attribute("select_last_index", 0))
    if last:
        x = item.add(Reverse((axis,)), [x], item.between("reversed"))
    found = item.add(kind, [x], item.between("position") if keepdims or last else None)
    if last:
        end = item.add_constant("last", np.array(of.shape[axis] - 1, kind.dtype))
        found = item.add(Binary("sub"), [end, found], item.between("first") if keepdims else None)
    if keepdims:
        item.add(Reshape(tuple(1 if i == axis else size for i, size in enumerate(of.shape))), [found])


@imports("TopK")
def top_k(item: NodeImport) -> None:
    """The smallest are the largest of the tensor turned upside down. TopK itself works along the last axis."""
    x = item.operand(0)
    of = item.type(x)
    k = int(item.required_constant(1, "k").reshape(-1)[0])
    axis = axis_of(item, item.attribute("axis", -1), of.rank)
    largest = bool(item.attribute("largest", 1))
    order = (*(i for i in range(of.rank) if i != axis), axis)
    back = tuple(order.index(i) for i in range(of.rank))
    if not 0 < k <= of.shape[axis]:
        item.refuse(f"it takes {k} of {of.shape[axis]} elements", "Give it a k between 1 and the size of its axis.")
    turned = axis != of.rank - 1
    if not largest:
        x = _upside_down(item, x, item.between("falling"))
    if turned:
        x = item.add(Transpose(order), [x], item.between("turned"))
    values = item.between("values")
    item.add(TopK(k), [x], [values, item.between("positions")])
    values, positions = item.builder.graph.operations[-1].outputs
    results = dict(zip(("values", "positions"), item.outputs, strict=False))
    if results["values"]:
        steps = [("turn", turned), ("flip", not largest)]
        _finish(item, values, [step for step, needed in steps if needed], back, results["values"])
    if results.get("positions"):
        steps = [("turn", turned), ("cast", True)]
        _finish(item, positions, [step for step, needed in steps if needed], back, results["positions"])


def _finish(item: NodeImport, value: str, steps: list[str], back: tuple[int, ...], output: str) -> None:
    """Bring a result of TopK into the order and dtype of the node's, and call it `output`."""
    for index, step in enumerate(steps, start=1):
        name = output if index == len(steps) else item.between(step)
        if step == "turn":
            value = item.add(Transpose(back), [value], name)
        elif step == "flip":
            value = _upside_down(item, value, name)
        else:
            value = item.add(Cast("int64"), [value], name)
    if not steps:
        item.rename(value, output)


def _upside_down(item: NodeImport, x: str, output: str) -> str:
    """The same elements in reverse order of size; twice, it is the tensor itself. Exact for integers too."""
    dtype = item.type(x).dtype
    if dtype == "float32":
        return item.add(Unary("neg"), [x], output)
    top = item.add_constant("top", np.array(255 if dtype == "uint8" else -1, dtype))
    return item.add(Binary("sub"), [top, x], output)


@imports("CumSum")
def cumulative_sum(item: NodeImport) -> None:
    x = item.operand(0)
    axis = axis_of(item, int(item.required_constant(1, "axis").reshape(-1)[0]), item.type(x).rank)
    kind = CumSum(axis, bool(item.attribute("exclusive", 0)), bool(item.attribute("reverse", 0)))
    item.add(kind, [x])
