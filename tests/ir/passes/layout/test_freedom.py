"""In which orders operations can work."""

from __future__ import annotations

import pytest

from edgec.ir import kinds
from edgec.ir.graph import TensorType
from edgec.ir.inference import result_types
from edgec.ir.kinds import Kind
from edgec.ir.passes.layout.freedom import Freedom, freedom_of, order_of, reshape_groups


def of(kind: Kind, *shapes: tuple[int, ...]) -> Freedom:
    operands = [TensorType(shape, "float32") for shape in shapes]
    return freedom_of(kind, operands, result_types(kind, operands))


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        ((2, 6, 5), (2, 2, 3, 5), ((0, 1, 2), (0, 1, 1, 2))),
        ((2, 3, 4, 5), (2, 3, 20), ((0, 1, 2, 2), (0, 1, 2))),
        ((1, 6, 1, 1), (1, 6), ((0, 1, 2, 3), (0, 1))),
        ((6,), (1, 6, 1), ((1,), (0, 1, 2))),
        ((2, 3), (3, 2), ((0, 0), (0, 0))),
        ((2, 1, 3), (6,), ((0, 0, 0), (0,))),
        ((), (1, 1), ((), (0, 1))),
        ((0, 3), (0, 4), None),
    ],
)
def test_a_reshape_works_along_the_finest_axes(
    before: tuple[int, ...], after: tuple[int, ...], groups: tuple[tuple[int, ...], ...] | None
) -> None:
    assert reshape_groups(before, after) == groups


def test_a_label_orders_operands_and_results() -> None:
    reduce = of(kinds.Reduce("max", (1,), False), (2, 3, 4, 5))
    assert reduce.label_for(reduce.operands[0], (0, 2, 3, 1)) == (0, 2, 3, 1)
    assert order_of(reduce.results[0], (0, 3, 2, 1), 3) == (0, 2, 1)
    assert reduce.turned is not None
    assert reduce.turned((0, 2, 3, 1)) == kinds.Reduce("max", (3,), False)


def test_axes_that_a_tensor_does_not_have_keep_their_place() -> None:
    add = of(kinds.Binary("add"), (2, 3, 4, 5), (4, 5))
    assert add.label_for(add.operands[1], (0, 1)) == (0, 1, 2, 3)
    assert add.label_for(add.operands[1], (1, 0)) == (0, 1, 3, 2)


def test_what_works_along_the_last_axis_keeps_it() -> None:
    softmax = of(kinds.Softmax(), (2, 3, 4, 5))
    assert softmax.label_for(softmax.operands[0], (0, 2, 3, 1)) is None
    assert softmax.label_for(softmax.operands[0], (0, 2, 1, 3)) == (0, 2, 1, 3)


def test_dimensions_of_one_axis_stay_together() -> None:
    split = of(kinds.Reshape((2, 2, 3, 5)), (2, 6, 5))
    assert split.label_for(split.results[0], (3, 1, 2, 0)) == (2, 1, 0)
    assert split.label_for(split.results[0], (0, 2, 1, 3)) is None
    assert split.label_for(split.results[0], (1, 0, 2, 3)) is None


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (kinds.MaxPool2D((1, 1), (1, 1)), [(1, 4, 4, 2)]),
        (kinds.DepthToSpace(2), [(1, 4, 4, 4)]),
        (kinds.BatchMatMul(), [(2, 3, 4), (2, 4, 5)]),
        (kinds.Unary("relu"), [(7,)]),
    ],
)
def test_others_have_no_freedom(kind: Kind, shapes: list[tuple[int, ...]]) -> None:
    freedom = of(kind, *shapes)
    assert freedom.rank == 0
    assert all(axes is None for axes in (*freedom.operands, *freedom.results))
