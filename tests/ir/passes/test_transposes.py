"""Transposes: how many are left, and that nothing else has changed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.ir import kinds
from edgec.ir.graph import Graph, Quantization, TensorType
from edgec.ir.passes.transposes import place_transposes, remaining_transposes
from tests.ir.passes.onnx_order import OnnxOrder, assert_same, kinds_in, transposes


def convolutional_network(blocks: int = 1) -> Graph:
    """conv, relu, residual, pool, concat, global pool, flatten, gemm."""
    b = OnnxOrder()
    x = b.conv(b.image("x", 1, 3, 8, 8), "c0", 4, 3)
    for block in range(blocks):
        y = b.add(kinds.Unary("relu"), [b.conv(x, f"c{block}_1", 4, 3)], f"r{block}")
        x = b.add(kinds.Binary("add"), [x, y], f"s{block}")
    pooled = b.channels_last(kinds.MaxPool2D((2, 2), (2, 2)), x, "p")
    other = b.add(kinds.Binary("mul"), [b.conv(x, "d", 2, 3, 2), b.integers("per_channel", 2, 1, 1)], "m")
    joined = b.add(kinds.Concat(1), [pooled, other], "joined")
    mean = b.add(kinds.Reduce("sum", (2, 3), True), [joined], "gap")
    flat = b.add(kinds.Reshape((1, 6)), [mean], "flat")
    return b.finish([b.gemm(flat, "y", 5)])


def test_nothing_is_left_of_a_convolutional_network() -> None:
    before = convolutional_network()
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == []
    assert after.layouts == {"x": (0, 2, 3, 1)}
    assert after.type("x").shape == (1, 8, 8, 3)
    assert_same(before, after)


def test_where_the_boundary_is_fixed_the_input_is_transposed() -> None:
    before = convolutional_network()
    after = place_transposes(before)
    assert after.layouts == {}
    assert transposes(after) == [(0, 2, 3, 1)]
    (left,) = remaining_transposes(after)
    assert left.value == "x/nhwc"
    assert left.bytes == 3 * 64 * 4
    assert left.why == "the input 'x' gives the model's order, Conv2D 'node_c0' reads channels last"
    assert_same(before, after)


def test_the_graph_that_it_is_given_stays() -> None:
    before = convolutional_network()
    operations, values = list(before.operations), dict(before.values)
    place_transposes(before, free_boundary=True)
    assert before.operations == operations
    assert before.values == values


def test_a_second_run_changes_nothing() -> None:
    once = place_transposes(convolutional_network(), free_boundary=True)
    twice = place_transposes(once, free_boundary=True)
    assert twice.operations == once.operations
    assert twice.layouts == once.layouts


def test_names_of_onnx_tensors_stay() -> None:
    b = OnnxOrder()
    y = b.add(kinds.Unary("relu"), [b.conv(b.image("x", 1, 3, 4, 4), "c", 2)], "r")
    mean = b.add(kinds.Reduce("mean", (2, 3), False), [y], "g")
    before = b.finish([b.gemm(mean, "y", 5), y])
    after = place_transposes(before, free_boundary=True)
    assert [item.outputs for item in after.operations] == [("c/nhwc",), ("r",), ("g",), ("y",)]
    assert after.layouts == {"x": (0, 2, 3, 1), "r": (0, 2, 3, 1)}
    assert_same(before, after)
    fixed = place_transposes(before)
    assert [item.outputs[0] for item in fixed.operations] == ["x/nhwc", "c/nhwc", "r/nhwc", "r", "g", "y"]
    assert_same(before, fixed)


def test_two_outputs_of_one_tensor_are_two_values() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 4, 4), "c", 2)
    again = b.add(kinds.Transpose((0, 1, 3, 2)), [y], "turned")
    same = b.add(kinds.Transpose((0, 1, 3, 2)), [again], "same")
    before = b.finish([y, again, same])
    for free in (True, False):
        assert_same(before, place_transposes(before, free_boundary=free))


def test_an_output_may_be_an_input_or_a_constant() -> None:
    b = OnnxOrder()
    x = b.image("x", 1, 3, 4, 4)
    constant = b.integers("k", 1, 3, 4, 4)
    before = b.finish([x, constant, b.add(kinds.Transpose((0, 2, 3, 1)), [constant], "turned"), b.conv(x, "c", 2)])
    for free in (True, False):
        assert_same(before, place_transposes(before, free_boundary=free))


def test_the_flattened_map_is_read_by_permuted_weights() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 4, 5), "c", 2)
    flat = b.add(kinds.Reshape((1, 40)), [y], "flat")
    relu = b.add(kinds.Unary("relu"), [flat], "relu")
    before = b.finish([b.gemm(relu, "y", 5)])
    after = place_transposes(before, free_boundary=True)
    assert kinds_in(after) == [kinds.Conv2D, kinds.Reshape, kinds.Unary, kinds.FullyConnected]
    assert_same(before, after)


def test_the_flattened_map_is_read_by_permuted_weights_stored_as_integers() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 4, 5), "c", 2)
    grid = Quantization.per_tensor(1.0, 3)
    stored = b.add(kinds.Quantize(), [y], "stored", quantization=grid, dtype="int8")
    flat = b.add(kinds.Reshape((1, 40)), [b.add(kinds.Dequantize(), [stored], "back")], "flat")
    weights = b.constant(
        "w", b.random.integers(-3, 4, (4, 40)).astype(np.int8), Quantization((0.5, 1.0, 2.0, 4.0), (0, 0, 0, 0), 0)
    )
    before = b.finish([b.add(kinds.FullyConnected(), [flat, b.add(kinds.Dequantize(), [weights], "w/float")], "y")])
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == []
    assert "w" not in after.values
    assert_same(before, after)


def test_a_flattened_map_that_is_also_an_output_is_transposed() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 4, 5), "c", 2)
    flat = b.add(kinds.Reshape((1, 40)), [y], "flat", origin=["flatten"])
    before = b.finish([b.gemm(flat, "y", 5), flat])
    after = place_transposes(before, free_boundary=True)
    assert [left.why for left in remaining_transposes(after)] == [
        "Conv2D 'node_c' writes channels last, the output 'flat' needs the model's order"
    ]
    assert_same(before, after)


def attention() -> Graph:
    b = OnnxOrder()
    x = b.input("x", TensorType((1, 5, 8), "float32"))
    heads = []
    for name, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        split = b.add(kinds.Reshape((1, 5, 2, 4)), [b.gemm(x, name, 8)], f"{name}_split")
        heads.append(b.add(kinds.Transpose(order), [split], f"{name}_turned"))
    scores = b.add(kinds.BatchMatMul(), heads[:2], "scores")
    read = b.add(kinds.BatchMatMul(), [b.add(kinds.Unary("relu"), [scores], "weights"), heads[2]], "read")
    joined = b.add(kinds.Reshape((1, 5, 8)), [b.add(kinds.Transpose((0, 2, 1, 3)), [read], "turned")], "joined")
    return b.finish([b.add(kinds.Binary("add"), [b.gemm(joined, "o", 8), x], "y")])


def test_attention_keeps_its_own_transposes_only() -> None:
    before = attention()
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == transposes(before)
    assert after.layouts == {}
    assert all(left.why.startswith("the model itself transposes between") for left in remaining_transposes(after))
    assert_same(before, after)


def test_matrix_products_read_transposed_operands() -> None:
    b = OnnxOrder()
    a = b.input("a", TensorType((2, 5, 3), "float32"))
    k = b.input("k", TensorType((2, 5, 4), "float32"))
    turned = [b.add(kinds.Transpose((0, 2, 1)), [a], "at"), b.integers("w", 5, 4)]
    product = b.add(kinds.BatchMatMul(), turned, "first")
    same = b.add(kinds.BatchMatMul(False, True), [product, b.add(kinds.Transpose((0, 1, 2)), [k], "same")], "second")
    back = b.add(kinds.Transpose((0, 2, 1)), [k], "kt")
    before = b.finish([same, b.add(kinds.BatchMatMul(False, False), [product, back], "y")])
    after = place_transposes(before)
    assert [item.kind for item in after.operations] == [
        kinds.BatchMatMul(True, False),
        kinds.BatchMatMul(False, True),
        kinds.BatchMatMul(False, True),
    ]
    assert_same(before, after)


def test_channel_shuffle_transposes_once() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 4, 5), "c", 6)
    split = b.add(kinds.Reshape((1, 2, 3, 4, 5)), [y], "split")
    turned = b.add(kinds.Transpose((0, 2, 1, 3, 4)), [split], "turned")
    joined = b.add(kinds.Reshape((1, 6, 4, 5)), [turned], "joined")
    before = b.finish([b.conv(joined, "y", 2)])
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == [(0, 1, 2, 4, 3)]
    assert_same(before, after)


def test_a_normalization_over_channels_stays_channels_last() -> None:
    """ConvNeXt: permute, normalize, multiply, permute back, add."""
    b = OnnxOrder()
    x = b.conv(b.image("x", 1, 3, 4, 4), "c", 6, 3)
    turned = b.add(kinds.Transpose((0, 2, 3, 1)), [x], "turned")
    wide = b.add(kinds.Unary("relu"), [b.gemm(turned, "wide", 12)], "act")
    back = b.add(kinds.Transpose((0, 3, 1, 2)), [b.gemm(wide, "narrow", 6)], "back")
    before = b.finish([b.conv(b.add(kinds.Binary("add"), [x, back], "sum"), "y", 2)])
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == []
    assert_same(before, after)


def test_the_smaller_tensor_is_transposed() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 8, 8), "c", 4)
    grid = Quantization.per_tensor(1.0, 0)
    stored = b.add(kinds.Quantize(), [y], "stored", quantization=grid, dtype="int8")
    less = b.add(kinds.Slice((0, 0, 0, 0), (1, 4, 4, 4), (1, 1, 1, 1)), [stored], "less", quantization=grid)
    before = b.finish([b.add(kinds.Reshape((4, 16)), [b.add(kinds.Dequantize(), [less], "back")], "y")])
    after = place_transposes(before, free_boundary=True)
    assert [(left.permutation, left.bytes) for left in remaining_transposes(after)] == [((0, 3, 1, 2), 64)]
    assert after.type(remaining_transposes(after)[0].value).dtype == "int8"
    assert_same(before, after)


def test_a_tensor_is_transposed_once_for_all_its_readers() -> None:
    b = OnnxOrder()
    y = b.conv(b.image("x", 1, 3, 4, 4), "c", 4)
    rows = [b.add(kinds.Reshape(shape), [y], f"y{i}") for i, shape in enumerate([(4, 16), (8, 8), (16, 4)])]
    before = b.finish(rows)
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == [(0, 3, 1, 2)]
    assert after.operations[1].outputs == ("c",)
    assert_same(before, after)


def test_what_only_moves_dimensions_of_one_element_is_a_reshape() -> None:
    b = OnnxOrder()
    x = b.image("x", 1, 6, 1, 1)
    before = b.finish([b.add(kinds.Reshape((2, 3)), [b.conv(x, "c", 6)], "y")])
    after = place_transposes(before)
    assert transposes(after) == []
    assert_same(before, after)


def test_one_dimensional_convolutions_are_channels_last_too() -> None:
    b = OnnxOrder()
    x = b.input("x", TensorType((1, 3, 8), "float32"))
    for name in ("a", "b"):
        high = b.add(kinds.Reshape((1, b.type(x).shape[1], 1, 8)), [x], f"{x}/image")
        made = b.conv(high, f"{name}/image", 4, 1)
        x = b.add(kinds.Unary("relu"), [b.add(kinds.Reshape((1, 4, 8)), [made], name)], f"{name}_relu")
    before = b.finish([x])
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == []
    assert after.layouts == {"x": (0, 2, 1), "b_relu": (0, 2, 1)}
    assert_same(before, after)


@pytest.mark.parametrize("free", [True, False])
def test_each_kind_works_in_any_order(free: bool) -> None:
    b = OnnxOrder()
    x = b.conv(b.image("x", 2, 3, 4, 6), "c", 4, 3)
    made = [
        b.add(kinds.Slice((0, 3, 1, 0), (2, -1, 4, 6), (1, -2, 1, 3)), [x], "slice"),
        b.add(kinds.Pad((0, 1, 0, 2), (0, 0, 3, 1), "constant", 2.0), [x], "pad"),
        b.add(kinds.Tile((1, 2, 1, 3)), [x], "tile"),
        b.add(kinds.Reverse((1, 3)), [x], "reverse"),
        b.add(kinds.CumSum(1), [x], "cumsum"),
        b.add(kinds.ArgReduce("max", 1), [x], "argmax"),
        b.add(kinds.Reduce("max", (1,), False), [x], "max"),
        b.add(kinds.Reduce("sum", (1, 3), True), [x], "sum"),
        b.add(kinds.Gather(1), [x, b.constant("at", np.array([[3, 0], [1, 1]], np.int32))], "gather"),
        b.add(kinds.Gather(2), [x, b.constant("one", np.array(2, np.int64))], "gather_one"),
        b.add(kinds.Clip(-1, 2), [x], "clip"),
        b.add(kinds.LeakyRelu(0.5), [x], "leaky"),
        b.add(kinds.PRelu(), [x, b.integers("slope", 4, 1, 1)], "prelu"),
        b.add(kinds.Binary("add"), [b.integers("row", 6), x], "row_sum"),
        b.add(kinds.BroadcastTo((2, 4, 4, 6)), [b.add(kinds.Reduce("max", (0, 2), True), [x], "m")], "spread"),
        b.add(kinds.TopK(2), [x], ["top", "top_at"]),
    ]
    split = ["first", "second"]
    b.add(kinds.Split(1, (1, 3)), [x], split)
    condition = b.add(kinds.Binary("less"), [x, b.integers("limit", 4, 1)], "condition")
    made += [*split, b.add(kinds.Select(), [condition, x, b.integers("other", 1)], "select")]
    made.append(b.add(kinds.Binary("mul"), [x, b.add(kinds.Reduce("max", (0, 1, 2), False), [x], "w")], "low_rank"))
    made = [
        b.conv(name, f"{name}_conv", 2) if b.type(name).rank == 4 and b.type(name).dtype == "float32" else name
        for name in made
    ]
    before = b.finish(made)
    assert_same(before, place_transposes(before, free_boundary=free))


def test_an_operand_of_lower_rank_is_aligned() -> None:
    b = OnnxOrder()
    x = b.conv(b.image("x", 1, 3, 4, 6), "c", 4)
    low = b.input("low", TensorType((4, 1, 1), "float32"))
    before = b.finish([b.conv(b.add(kinds.Binary("mul"), [x, low], "scaled"), "y", 2)])
    after = place_transposes(before, free_boundary=True)
    assert transposes(after) == []
    assert_same(before, after)


def test_constants_of_one_element_stay_as_they_are() -> None:
    b = OnnxOrder()
    x = b.conv(b.image("x", 1, 3, 4, 6), "c", 4)
    before = b.finish([b.add(kinds.Binary("mul"), [x, b.integers("factor", 1)], "y")])
    after = place_transposes(before, free_boundary=True)
    assert after.operations[-1].inputs == ("c/nhwc", "factor")
    assert after.type("factor").shape == (1,)
    assert_same(before, after)


def test_the_work_grows_with_the_size_of_the_graph() -> None:
    graphs = [convolutional_network(blocks) for blocks in (50, 100)]
    assert len(graphs[1].operations) > 490
    half, whole = (calls_made(lambda graph=graph: place_transposes(graph, free_boundary=True)) for graph in graphs)
    assert whole < 2.5 * half


def test_a_deep_network_needs_no_transposes() -> None:
    assert transposes(place_transposes(convolutional_network(blocks=100), free_boundary=True)) == []


def calls_made(work: Callable[[], object]) -> int:
    """The calls of Python functions while `work` runs: its effort, whatever else the machine does."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


# --- random graphs ---


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Small graphs in ONNX's order, of what moves and what computes element by element, and convolutions."""
    b = OnnxOrder(draw(st.integers(0, 99)))
    names = [b.image("x", 1, 2, 4, 4)]
    if draw(st.booleans()):
        names.append(b.image("z", 1, 2, 4, 4))
    for step in range(draw(st.integers(1, 12))):
        x = draw(st.sampled_from(names))
        names.append(_step(draw, b, x, names, f"t{step}"))
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=3, unique=True))
    return b.finish([*outputs, names[-1]] if names[-1] not in outputs else outputs)


def _step(draw: st.DrawFn, b: OnnxOrder, x: str, names: list[str], output: str) -> str:
    shape = b.type(x).shape
    rank = len(shape)
    axis = draw(st.integers(0, rank - 1)) if rank else 0
    choices = ["relu", "quantize"]
    if rank:
        choices += ["transpose", "reduce", "concat", "slice", "split", "pad", "constant", "gather", "gemm", "merge"]
        choices += ["binary"] * 2 + ["flatten"]
    if rank == 4:
        choices += ["conv"] * 4 + ["pool"] * (shape[2] > 1 and shape[3] > 1)
    match draw(st.sampled_from(choices)):
        case "relu":
            return b.add(kinds.Unary("relu"), [x], output)
        case "quantize":
            stored = b.add(
                kinds.Quantize(), [x], f"{output}/q", quantization=Quantization.per_tensor(1.0, 0), dtype="int8"
            )
            return b.add(kinds.Dequantize(), [stored], output)
        case "transpose":
            order = tuple(draw(st.permutations(range(rank))))
            return b.add(kinds.Transpose(order), [x], output)
        case "reduce":
            axes = tuple(sorted(draw(st.sets(st.integers(0, rank - 1), min_size=1, max_size=2))))
            return b.add(kinds.Reduce("max", axes, draw(st.booleans())), [x], output)
        case "concat":
            return b.add(kinds.Concat(axis), [x, x], output)
        case "slice":
            ends = (*shape[:axis], max(1, shape[axis] - 1), *shape[axis + 1 :])
            return b.add(kinds.Slice((0,) * rank, ends, (1,) * rank), [x], output)
        case "split":
            sizes = (shape[axis] - shape[axis] // 2, shape[axis] // 2)
            return b.add(kinds.Split(axis, sizes), [x], [output, f"{output}/rest"]) if all(sizes) else x
        case "pad":
            more = tuple(int(place == axis) for place in range(rank))
            return b.add(kinds.Pad(more, (0,) * rank), [x], output)
        case "constant":
            spread = tuple(draw(st.sampled_from([1, size])) for size in shape[draw(st.integers(0, rank - 1)) :])
            return b.add(kinds.Binary("maximum"), [x, b.integers(f"{output}.k", *spread)], output)
        case "gather":
            at = np.zeros(draw(st.sampled_from([(), (1,), (2,), (2, 1)])), np.int64)
            return b.add(kinds.Gather(axis), [x, b.constant(f"{output}.at", at)], output) if rank < 5 else x
        case "gemm":
            return b.gemm(x, output, 3)
        case "flatten":
            flat = b.add(kinds.Reshape((shape[0], int(np.prod(shape[1:])))), [x], f"{output}/flat")
            return b.gemm(flat, output, 3)
        case "merge":
            merged = (*shape[:axis], int(np.prod(shape[axis : axis + 2])), *shape[axis + 2 :])
            return b.add(
                kinds.Reshape(draw(st.sampled_from([merged, *([(*shape, 1), (1, *shape)] if rank < 5 else [])]))),
                [x],
                output,
            )
        case "conv":
            return b.conv(x, output, draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 3])))
        case "pool":
            return b.channels_last(kinds.MaxPool2D((2, 2), (1, 1)), x, output)
        case _:
            same = [other for other in names if _spreads(b.type(other).shape, shape)]
            return b.add(kinds.Binary("maximum"), [x, draw(st.sampled_from(same))], output)


def _spreads(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        return len(np.broadcast_shapes(a, b)) < 6
    except ValueError:
        return False


@settings(max_examples=150, deadline=None)
@given(graphs(), st.booleans())
def test_random_graphs_compute_the_same(before: Graph, free: bool) -> None:
    after = place_transposes(before, free_boundary=free)
    assert_same(before, after)
    assert sum(left.bytes for left in remaining_transposes(after)) <= sum(
        left.bytes for left in remaining_transposes(before)
    )
    if not free:
        assert after.layouts == {}
