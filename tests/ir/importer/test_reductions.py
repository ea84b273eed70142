import numpy as np
import pytest

from edgec.errors import UnsupportedOp
from edgec.ir.importer import import_model
from tests.ir.importer.comparison import agree, labels, model_of, node

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
REDUCTIONS = [
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
]  # fmt: skip


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("axes", [None, [1], [-1, 0], [3, 2, 1, 0]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_along_axes(op, axes, keepdims):
    x = np.abs(X) + 0.1 if op == "ReduceLogSum" else X
    constants = {} if axes is None else {"axes": np.array(axes)}
    agree(node(op, ["x", *constants], keepdims=keepdims), {"x": x}, constants, tolerance=1e-5)


@pytest.mark.parametrize("op", REDUCTIONS)
def test_axes_as_an_attribute(op):
    """ReduceSum has them as an operand since opset 13, the others since 18."""
    opset = 11 if op == "ReduceSum" else 17
    agree(node(op, ["x"], axes=[-2, 1]), {"x": np.abs(X) + 0.1}, opset=opset, tolerance=1e-5)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMean", "ReduceSum", "ReduceProd"])
def test_empty_axes_may_mean_nothing(op):
    assert labels(agree(node(op, ["x"], noop_with_empty_axes=1), {"x": X})) == ["Reshape"]


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceMean", "ReduceL1"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_reductions_of_integers(op, dtype):
    if op in ("ReduceL1", "ReduceProd") and dtype == "int64":
        pytest.skip("ONNX Runtime has no such kernel")
    agree(node(op, ["x", "axes"]), {"x": RNG.integers(-9, 9, (3, 4, 2)).astype(dtype)}, {"axes": np.array([1])})


def test_the_largest_of_booleans_is_whether_any_is_true():
    from onnx.reference import ReferenceEvaluator

    from edgec.ir.reference import execute

    x = np.array([[True, False], [False, False]])
    for op in ("ReduceMax", "ReduceMin"):
        model = model_of(node(op, ["x", "axes"], keepdims=0), {"x": x}, {"axes": np.array([1])})
        expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
        assert execute(import_model(model), {"x": x})["y"].tolist() == expected.tolist()


def test_a_sum_of_exponentials_does_not_overflow():
    agree(node("ReduceLogSumExp", ["x", "axes"], keepdims=0), {"x": X * 200}, {"axes": np.array([1, 3])})


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("axis", [0, -1, 2])
def test_positions_of_the_largest_and_of_equal_ones(op, keepdims, last, axis):
    x = RNG.integers(0, 3, X.shape).astype(np.float32)
    agree(node(op, ["x"], axis=axis, keepdims=keepdims, select_last_index=last), {"x": x})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_top_k(axis, largest, dtype):
    x = RNG.permutation(120).reshape(2, 3, 4, 5).astype(dtype)
    top = node("TopK", ["x", "k"], ["values", "positions"], axis=axis, largest=largest)
    agree(top, {"x": x}, {"k": np.array([2])}, ["values", "positions"])


def test_the_smallest_of_integers_at_their_limits():
    x = np.array([2**63 - 1, -(2**63), 0, -1], np.int64)
    top = node("TopK", ["x", "k"], ["values", "positions"], largest=0)
    agree(top, {"x": x}, {"k": np.array([3])}, ["values", "positions"])


def test_top_k_of_which_one_result_is_wanted():
    for name in ("values", "positions"):
        agree(node("TopK", ["x", "k"], ["values", "positions"]), {"x": X}, {"k": np.array([2])}, [name])


def test_top_k_of_more_than_there_are_is_refused():
    model = model_of(node("TopK", ["x", "k"], ["y", "i"]), {"x": X}, {"k": np.array([6])})
    with pytest.raises(UnsupportedOp, match="6 of 5"):
        import_model(model)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_cumulative_sums(exclusive, reverse, axis):
    cumulated = node("CumSum", ["x", "axis"], exclusive=exclusive, reverse=reverse)
    agree(cumulated, {"x": X}, {"axis": np.array(axis)})
    agree(cumulated, {"x": RNG.integers(-9, 9, (3, 4))}, {"axis": np.array(axis)})
