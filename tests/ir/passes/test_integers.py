"""Operations between Dequantize and Quantize become operations on integers, and the results stay what they were."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.accounting import account
from edgec.ir.builder import GraphBuilder
from edgec.ir.dump import dump
from edgec.ir.graph import Graph, Operation, Quantization, TensorType
from edgec.ir.kinds import Padding2D
from edgec.ir.passes.boundary import boundary_integers
from edgec.ir.passes.integers import float_between, integer_operations
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes, verify

GRID = Quantization.per_tensor(0.05, 3)
OTHER = Quantization.per_tensor(0.11, -20)


@dataclass
class Everything:
    """A backend with all kernels on integers but those of some kinds."""

    but: tuple[type, ...] = ()
    asked: list[str] = field(default_factory=list)

    def objection(self, graph: Graph, operation: Operation, inputs, output) -> str | None:
        assert [graph.type(name) for name in operation.inputs] == list(inputs)
        self.asked.append(operation.kind.label)
        return f"there is no {operation.kind.label}" if isinstance(operation.kind, self.but) else None


@dataclass
class Net(GraphBuilder):
    """Graphs as the importer makes them of a QDQ model."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(3)

    def q(self, x: str, grid: Quantization = GRID, name: str = "", dtype: str = "int8") -> str:
        return self.add(kinds.Quantize(), [x], name or f"{x}_quantized", quantization=grid, dtype=dtype)

    def dq(self, x: str, name: str = "") -> str:
        return self.add(kinds.Dequantize(), [x], name or x.replace("_quantized", "_dequantized"))

    def q_dq(self, x: str, grid: Quantization = GRID) -> str:
        return self.dq(self.q(x, grid))

    def real(self, name: str, *shape: int) -> str:
        return self.input(name, TensorType(shape, "float32"))

    def weights(self, name: str, shape: tuple[int, ...], scale: float = 0.01) -> str:
        scales = tuple(float(np.float32(scale * (1 + i / 8))) for i in range(shape[0]))
        stored = self.constant(
            f"{name}_quantized",
            self.rng.integers(-127, 128, shape).astype(np.int8),
            Quantization(scales, (0,) * len(scales), 0),
        )
        return self.dq(stored, f"{name}_dequantized")

    def bias(self, name: str, weights: str, x: Quantization) -> str:
        of = self.graph.producers()[weights].inputs[0]
        own = self.type(of).quantization
        assert own is not None
        scales = tuple(float(np.float32(x.scale[0]) * np.float32(item)) for item in own.scale)
        stored = self.constant(
            f"{name}_quantized",
            self.rng.integers(-4000, 4000, len(scales)).astype(np.int32),
            Quantization(scales, (0,) * len(scales), 0),
        )
        return self.dq(stored, f"{name}_dequantized")


def feeds_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for name in graph.inputs:
        of = graph.type(name)
        if of.dtype == "float32":
            found[name] = rng.normal(scale=2, size=of.shape).astype(np.float32)
        elif of.dtype == "bool":
            found[name] = rng.random(of.shape) < 0.5
        else:
            found[name] = rng.integers(0, 3, of.shape).astype(of.dtype)
    return found


def labels(graph: Graph) -> list[str]:
    return [item.kind.label for item in graph.operations]


def rewritten(net: Net, outputs: list[str], kernels: Everything | None = None, *, lsb: int = 0, **given) -> Graph:
    """The graph after the pass; its outputs are those of the graph before it."""
    before = net.finish(outputs)
    verify(before)
    after = integer_operations(before, kernels or Everything(), **given)
    verify(after)
    again = integer_operations(after, kernels or Everything(), **given)
    assert dump(again) == dump(after)
    for seed in range(3):
        expected, found = (execute(graph, feeds_of(before, seed)) for graph in (before, after))
        assert list(expected) == list(found)
        for name, of in zip(before.outputs, after.types_of(after.outputs), strict=True):
            if of.quantization is not None:
                assert np.abs(expected[name].astype(int) - found[name].astype(int)).max() <= lsb
            elif lsb:
                # a step of the coarsest grid of these tests
                assert np.abs(expected[name] - found[name]).max() <= lsb * 0.11 * 1.001
            else:
                np.testing.assert_array_equal(expected[name], found[name])
    return after


def test_a_convolution_with_its_bias_and_activation_is_one_operation():
    net = Net()
    x = net.q_dq(net.real("x", 1, 6, 6, 4))
    w = net.weights("w", (8, 3, 3, 4))
    kind = kinds.Conv2D(stride=(2, 2), padding=Padding2D(0, 1, 0, 1), activation="relu6")
    y = net.add(kind, [x, w, net.bias("b", w, GRID)], "y", origin=["conv"])
    after = rewritten(net, [net.q_dq(y, OTHER)], lsb=1)
    assert labels(after) == ["Quantize", "Conv2D", "Dequantize"]
    conv = after.operations[1]
    assert conv.inputs == ("x_quantized", "w_quantized", "b_quantized")
    assert conv.outputs == ("y",)
    assert conv.origin == ("conv",)
    assert after.type("y") == TensorType((1, 3, 3, 8), "int8", OTHER)


def test_what_lies_between_a_product_and_its_quantization_moves_integers():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4, 6))
    x = net.add(kinds.Reshape((1, 1, 4, 6)), [x], "x/row")
    x = net.add(kinds.Transpose((0, 1, 3, 2)), [x], "x/nhwc")
    y = net.add(kinds.Conv2D(), [x, net.weights("w", (5, 1, 3, 4))], "y/nhwc")
    y = net.add(kinds.Transpose((0, 3, 1, 2)), [y], "y/row")
    y = net.add(kinds.Reshape((1, 5, 4)), [y], "y")
    after = rewritten(net, [net.q_dq(y, OTHER)], lsb=1)
    assert labels(after) == ["Quantize", "Reshape", "Transpose", "Conv2D", "Transpose", "Reshape", "Dequantize"]
    assert [item.outputs[0] for item in after.operations[3:6]] == ["y/nhwc", "y/row", "y"]
    assert all(item.quantization is not None for item in after.types_of(("x/row", "x/nhwc", "y/nhwc", "y/row", "y")))


def test_a_bias_in_float_or_on_another_grid_is_brought_to_the_grid_of_the_sums():
    for stored in (False, True):
        net = Net()
        x = net.q_dq(net.real("x", 2, 16))
        if stored:
            bias = net.dq(
                net.constant("b_quantized", np.array([400, -300, 7], np.int32), Quantization.per_tensor(0.002, 0))
            )
        else:
            bias = net.constant("b", np.array([0.8, -0.6, 0.014], np.float32))
        y = net.add(kinds.FullyConnected(), [x, net.weights("w", (3, 16)), bias], "y")
        after = rewritten(net, [net.q_dq(y, OTHER)], lsb=1)
        found = after.values[after.operations[1].inputs[2]]
        assert found.type.dtype == "int32"
        steps = np.array(found.type.quantization.scale)
        np.testing.assert_allclose(found.data * steps, [0.8, -0.6, 0.014], atol=steps.max())


def test_a_result_that_is_needed_in_float_stays_in_float():
    net = Net()
    x = net.q_dq(net.real("x", 1, 5, 5, 4))
    y = net.add(kinds.Conv2D(), [x, net.weights("w", (4, 1, 1, 4))], "y", origin=["conv"])
    z = net.add(kinds.Unary("exp"), [y], "z", origin=["exp"])
    before = net.finish([z, net.q(y, OTHER)])
    after = integer_operations(before, Everything())
    assert labels(after) == ["Quantize", "Dequantize", "Dequantize", "Conv2D", "exp", "Quantize"]
    found = float_between(after, Everything())
    assert [(item.label, item.origin, item.macs) for item in found] == [
        ("Conv2D", ("conv",), 5 * 5 * 4 * 4),
        ("exp", ("exp",), 0),
    ]
    assert found[0].reason == "its result 'y' is needed in float32"
    assert found[1].reason == "'y' is float32"
    assert account(after).integer_share == 0


def test_a_product_of_integers_may_give_a_float_result():
    net = Net()
    x = net.q_dq(net.real("x", 2, 16))
    w = net.weights("w", (3, 16))
    y = net.add(kinds.FullyConnected("relu"), [x, w, net.bias("b", w, GRID)], "y")
    before = net.finish([y])
    after = integer_operations(before, Everything(), float_results=True)
    verify(after)
    assert labels(after) == ["Quantize", "FullyConnected"]
    assert after.type("y").dtype == "float32"
    expected, found = (execute(graph, feeds_of(before))["y"] for graph in (before, after))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_the_backend_lacks_stays_in_float_and_says_why():
    net = Net()
    x = net.q_dq(net.real("x", 1, 5, 5, 4))
    y = net.q_dq(net.add(kinds.Unary("tanh"), [x], "y", origin=["tanh.1"]))
    z = net.q_dq(net.add(kinds.Unary("sigmoid"), [y], "z"), Quantization.per_tensor(1 / 256, -128))
    kernels = Everything(but=(kinds.Unary,))
    after = rewritten(net, [z], kernels)
    there = ["Quantize", "Dequantize"]
    assert labels(after) == [*there, "tanh", *there, "sigmoid", *there]
    assert [item.reason for item in float_between(after, kernels)] == ["there is no tanh", "there is no sigmoid"]


MOVES = [
    kinds.Reshape((4, 2, 9)),
    kinds.Transpose((0, 2, 3, 1)),
    kinds.Slice((0, 1, 0, 2), (1, 3, 4, -1), (1, 1, 2, -1)),
    kinds.Pad((0, 1, 0, 0), (0, 0, 1, 0)),
    kinds.Pad((0, 1, 0, 0), (0, 0, 1, 0), "reflect"),
    kinds.Tile((1, 2, 1, 1)),
    kinds.BroadcastTo((3, 6, 4, 3)),
    kinds.Reverse((1,)),
    kinds.SpaceToDepth(2),
    kinds.MaxPool2D((2, 2), (1, 1), padding=Padding2D(1, 0, 0, 0)),
    kinds.ResizeNearest((3, 5)),
    kinds.Reduce("max", (1,), True),
    kinds.Unary("relu"),
]


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.label)
@pytest.mark.parametrize("then", ["same", "other", "nothing"])
def test_movement_never_changes_an_integer(kind, then):
    net = Net()
    x = net.q_dq(net.real("x", 1, 6, 4, 3))
    y = net.add(kind, [x], "y")
    grid = {"same": GRID, "other": OTHER}
    after = rewritten(net, [net.q_dq(y, grid[then]) if then != "nothing" else y])
    moved = next(item for item in after.operations if item.kind == kind)
    assert after.type(moved.inputs[0]).dtype == after.type(moved.outputs[0]).dtype == "int8"
    one = then == "other" and kind != kinds.Unary("relu")
    assert labels(after).count("Quantize") == 1 + one
    assert moved.outputs[0] == {"nothing": "y_quantized"}.get(then, "y")


def test_operands_on_other_grids_are_requantized_before_they_move():
    net = Net()
    a, b = net.q_dq(net.real("a", 1, 4)), net.q_dq(net.real("b", 1, 4), OTHER)
    c = net.dq(net.constant("c_quantized", np.array([[1, 2]], np.int8), OTHER))
    y = net.add(kinds.Concat(1), [a, b, c], "y")
    after = rewritten(net, [net.q_dq(y, OTHER)])
    assert labels(after) == ["Quantize", "Quantize", "Quantize", "Concat", "Dequantize"]
    assert {item.quantization for item in after.types_of(after.operations[3].inputs)} == {OTHER}


def test_padding_with_a_value_that_the_grid_lacks_stays_in_float_unless_it_is_quantized_next():
    for next_one in (False, True):
        net = Net()
        x = net.q_dq(net.real("x", 1, 4))
        y = net.add(kinds.Pad((0, 1), (0, 0), value=0.07), [x], "y")
        after = rewritten(net, [net.q_dq(y) if next_one else y])
        pad = next(item for item in after.operations if item.kind.label == "Pad")
        assert after.type(pad.outputs[0]).dtype == ("int8" if next_one else "float32")


def test_split_select_gather_scatter_and_top_k_move_integers():
    net = Net()
    x = net.q_dq(net.real("x", 4, 6))
    left, right = "left", "right"
    net.add(kinds.Split(1, (3, 3)), [x], [left, right])
    chosen = net.add(kinds.Select(), [net.input("c", TensorType((4, 3), "bool")), left, right], "chosen")
    taken = net.add(kinds.Gather(0), [chosen, net.input("i", TensorType((2,), "int64"))], "taken")
    net.add(kinds.TopK(2), [taken], ["largest", "where"])
    after = rewritten(net, ["largest", "where"])
    assert labels(after) == ["Quantize", "Split", "Select", "Gather", "TopK", "Dequantize"]
    assert after.operations[1].outputs == ("left", "right")


def test_positions_are_found_among_integers():
    net = Net()
    x = net.q_dq(net.real("x", 4, 6))
    after = rewritten(net, [net.add(kinds.ArgReduce("max", 1), [x], "y")])
    assert labels(after) == ["Quantize", "arg_max"]


COMPUTED = [
    kinds.Unary("sigmoid"),
    kinds.Unary("hard_swish"),
    kinds.LeakyRelu(0.1),
    kinds.Clip(-1.0, 2.5),
    kinds.Softmax(),
    kinds.Reduce("mean", (1, 2), True),
    kinds.AveragePool2D((2, 2), (2, 2), Padding2D(1, 1, 0, 0)),
    kinds.ResizeBilinear((8, 8), half_pixel_centers=True),
    kinds.CumSum(1),
]


@pytest.mark.parametrize("kind", COMPUTED, ids=lambda kind: kind.label)
def test_what_computes_gets_the_grid_of_the_quantization_that_follows(kind):
    net = Net()
    x = net.q_dq(net.real("x", 1, 4, 4, 3))
    after = rewritten(net, [net.q_dq(net.add(kind, [x], "y"), OTHER)], lsb=1)
    assert labels(after) == ["Quantize", kind.label, "Dequantize"]
    assert after.type("y").quantization == OTHER


def test_arithmetic_with_a_stored_constant():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4, 4, 3))
    c = net.dq(net.constant("c_quantized", np.array(100, np.int8), OTHER))
    y = net.q_dq(net.add(kinds.Binary("mul", "relu"), [x, c], "y"))
    after = rewritten(net, [y])
    assert labels(after) == ["Quantize", "mul", "Dequantize"]
    assert after.operations[1].inputs == ("x_quantized", "c_quantized")


def test_arithmetic_with_a_float_constant_stays_in_float():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4))
    y = net.q_dq(net.add(kinds.Binary("mul"), [x, net.constant("c", np.float32(0.3))], "y"))
    after = rewritten(net, [y])
    assert [item.reason for item in float_between(after, Everything())] == ["'c' is float32"]


def test_a_second_scale_is_reached_from_the_first():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4))
    y = net.q_dq(net.add(kinds.Unary("sigmoid"), [x], "y"), OTHER)
    again = net.dq(net.q(y, GRID, "y/for/n_quantized"), "y/for/n_dequantized")
    z = net.q_dq(net.add(kinds.Concat(1), [again, x], "z"))
    after = rewritten(net, [z])
    assert labels(after) == ["Quantize", "sigmoid", "Quantize", "Concat", "Dequantize"]
    assert after.operations[2].inputs == ("y",)
    assert after.operations[2].outputs == ("y/for/n_quantized",)


def test_quantizations_of_one_value_to_one_grid_are_one():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4))
    y = net.add(kinds.Unary("tanh"), [x], "y")
    one, two = net.dq(net.q(y, OTHER, "one_quantized")), net.dq(net.q(y, OTHER, "two_quantized"))
    z = net.q_dq(net.add(kinds.Binary("add"), [one, two], "z"))
    after = rewritten(net, [z])
    assert labels(after) == ["Quantize", "tanh", "add", "Dequantize"]
    assert after.operations[2].inputs == ("y", "y")


def test_integers_may_be_outputs():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4))
    y = net.q(net.add(kinds.Reshape((4,)), [x], "y"), GRID, "out")
    z = net.q(net.add(kinds.Unary("tanh"), [x], "z"), GRID, "tanh_out")
    after = rewritten(net, [y, z])
    assert after.outputs == ("out", "tanh_out")


def test_weights_alone_in_integers_stay_behind_a_dequantize():
    net = Net()
    y = net.add(kinds.FullyConnected(), [net.real("x", 2, 16), net.weights("w", (3, 16))], "y")
    after = rewritten(net, [y])
    assert labels(after) == ["Dequantize", "FullyConnected"]
    assert [item.in_float[0].macs for item in [account(after)]] == [2 * 3 * 16]


def test_sixteen_bits():
    wide = Quantization.per_tensor(0.0002, 0)
    net = Net()
    x = net.dq(net.q(net.real("x", 2, 16), wide, dtype="int16"))
    w = net.weights("w", (3, 16))
    y = net.add(kinds.FullyConnected(), [x, w, net.bias("b", w, wide)], "y")
    out = net.q(y, Quantization.per_tensor(0.0009, 0), dtype="int16")
    after = rewritten(net, [out], lsb=1)
    assert labels(after) == ["Quantize", "FullyConnected"]
    assert after.type("y_quantized").dtype == "int16"


def test_integers_at_the_boundary_keep_names_and_layouts():
    net = Net()
    x = net.add(kinds.Transpose((0, 2, 3, 1)), [net.real("x", 1, 3, 4, 4)], "x/nhwc")
    x = net.q_dq(x)
    y = net.q_dq(net.add(kinds.Conv2D(), [x, net.weights("w", (4, 1, 1, 3))], "y"), OTHER)
    before = net.finish([y])
    before.layouts = {y: (0, 2, 3, 1)}

    def integers(graph: Graph) -> Graph:
        return integer_operations(graph, Everything())

    after = run_passes(before, [integers, boundary_integers])
    assert labels(after) == ["Transpose", "Conv2D"]
    assert after.inputs == ("x",) and after.outputs == (y,) and after.layouts == before.layouts
    assert after.type("x") == TensorType((1, 3, 4, 4), "int8", GRID)
    assert after.type(y).quantization == OTHER
    feeds = feeds_of(before)
    integers_in = np.clip(np.rint(feeds["x"] / np.float32(0.05)) + 3, -128, 127).astype(np.int8)
    found = execute(after, {"x": integers_in})[y]
    expected = execute(before, feeds)[y]
    assert np.abs((found.astype(int) + 20) * 0.11 - expected).max() <= 0.111


def test_a_boundary_whose_readers_disagree_stays_in_float():
    net = Net()
    x = net.real("x", 1, 4)
    one, two = net.q(x, GRID, "one"), net.q(x, OTHER, "two")
    after = boundary_integers(net.finish([net.dq(one, "a"), net.dq(two, "b"), net.add(kinds.Unary("exp"), ["a"], "c")]))
    assert after.type("x").dtype == "float32"
    assert after.type("a").dtype == "float32", "another operation reads it"
    assert after.type("b").dtype == "int8"


def test_integers_that_are_requantized_though_the_backend_does_not_like_it():
    net = Net()
    x = net.q_dq(net.real("x", 1, 4))
    y = net.add(kinds.Unary("relu"), [x], "y")
    net.q(y, OTHER, "one_quantized")
    two = net.q(y, OTHER, "two_quantized")
    after = rewritten(net, [net.q(two, GRID, "again"), "one_quantized"], Everything(but=(kinds.Quantize,)))
    assert labels(after) == ["Quantize", "relu", "Quantize"]
    assert after.operations[2].inputs == ("one_quantized",)
