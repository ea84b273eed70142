"""What changes nothing, and what is there twice."""

from __future__ import annotations

import math

import pytest

from edgec.ir import kinds
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.passes.identities import merge_reshapes, remove_identities, share_duplicates
from tests.ir.passes.onnx_order import OnnxOrder, assert_same

GRID = Quantization.per_tensor(0.5, 3)


def names(graph) -> list[tuple[str, ...]]:  # type: ignore[no-untyped-def]
    return [operation.outputs for operation in graph.operations]


@pytest.mark.parametrize(
    "kind",
    [
        kinds.Reshape((2, 3)),
        kinds.Cast("float32"),
        kinds.BroadcastTo((2, 3)),
        kinds.Tile((1, 1)),
        kinds.Transpose((0, 1)),
        kinds.Slice((0, 0), (2, 3), (1, 1)),
        kinds.Pad((0, 0), (0, 0)),
        kinds.Concat(0),
        kinds.Split(0, (2,)),
        kinds.Clip(-math.inf, math.inf),
    ],
)
def test_what_gives_its_operand_is_removed(kind: Kind) -> None:
    b = OnnxOrder()
    x = b.add(kinds.Unary("neg"), [b.input("x", TensorType((2, 3), "float32"))], "before")
    before = b.finish([b.add(kinds.Unary("abs"), [b.add(kind, [x], "same")], "y")])
    after = remove_identities(before)
    assert names(after) == [("before",), ("y",)]
    assert_same(before, after)


@pytest.mark.parametrize(
    "kind",
    [
        kinds.Reverse((0,)),
        kinds.Transpose((1, 0)),
        kinds.Pad((1, 0), (-1, 0)),
        kinds.Slice((1, 0), (-1, 2), (-1, 1)),
        kinds.Clip(0.0, math.inf),
    ],
)
def test_what_only_has_the_same_shape_stays(kind: Kind) -> None:
    b = OnnxOrder()
    x = b.add(kinds.Unary("neg"), [b.input("x", TensorType((2, 2), "float32"))], "before")
    before = b.finish([b.add(kinds.Unary("abs"), [b.add(kind, [x], "other")], "y")])
    assert names(remove_identities(before)) == names(before)


def test_outputs_keep_their_names() -> None:
    b = OnnxOrder()
    x = b.input("x", TensorType((2, 3), "float32"))
    made = b.add(kinds.Unary("neg"), [x], "made")
    same = b.add(kinds.Reshape((2, 3)), [made], "same")
    again = b.add(kinds.Reshape((2, 3)), [same], "again")
    of_input = b.add(kinds.Reshape((2, 3)), [x], "of_input")
    read = b.add(kinds.Unary("abs"), [made], "read")
    before = b.finish([same, again, of_input, read])
    after = remove_identities(before)
    assert names(after) == [("same",), ("again",), ("of_input",), ("read",)]
    assert_same(before, after)


def test_a_value_inside_of_a_node_gets_the_name_of_the_nodes_result() -> None:
    b = OnnxOrder()
    inside = b.add(kinds.Unary("neg"), [b.input("x", TensorType((2, 3), "float32"))], "t/inside")
    before = b.finish([b.add(kinds.Unary("abs"), [b.add(kinds.Reshape((2, 3)), [inside], "t")], "y")])
    assert names(remove_identities(before)) == [("t",), ("y",)]


def test_rounding_stays_and_rounding_again_goes() -> None:
    b = OnnxOrder()
    x = b.input("x", TensorType((2, 3), "float32"))
    stored = b.add(kinds.Quantize(), [x], "stored", quantization=GRID, dtype="int8")
    back = b.add(kinds.Dequantize(), [stored], "back")
    again = b.add(kinds.Quantize(), [back], "again", quantization=GRID, dtype="int8")
    other = b.add(kinds.Quantize(), [back], "other", quantization=Quantization.per_tensor(0.25, 0), dtype="int8")
    before = b.finish([b.add(kinds.Dequantize(), [again], "y"), b.add(kinds.Dequantize(), [other], "z")])
    after = remove_identities(before)
    assert names(after) == [("stored",), ("back",), ("other",), ("y",), ("z",)]
    assert_same(before, after)


def test_reshapes_of_reshapes_read_what_those_read() -> None:
    b = OnnxOrder()
    x = b.input("x", TensorType((2, 6), "float32"))
    one = b.add(kinds.Reshape((3, 4)), [x], "one")
    two = b.add(kinds.Reshape((12,)), [one], "two")
    before = b.finish([b.add(kinds.Reshape((4, 3)), [two], "y")])
    after = merge_reshapes(before)
    assert names(after) == [("y",)]
    assert_same(before, after)


def test_equal_operations_run_once() -> None:
    b = OnnxOrder()
    x = b.input("x", TensorType((2, 6), "float32"))
    chains = []
    for i in range(3):
        stored = b.add(kinds.Quantize(), [x], f"q{i}", quantization=GRID, dtype="int8")
        chains.append(b.add(kinds.Dequantize(), [stored], f"d{i}"))
    other = b.add(kinds.Quantize(), [x], "other", quantization=Quantization.per_tensor(1.0, 0), dtype="int8")
    total = b.add(kinds.Binary("add"), chains[:2], "total")
    before = b.finish([total, b.add(kinds.Dequantize(), [other], "z"), chains[2]])
    after = share_duplicates(before)
    assert names(after) == [("q0",), ("d0",), ("d2",), ("other",), ("total",), ("z",)]
    assert_same(before, after)
