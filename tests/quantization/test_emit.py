"""Emission: what is written is valid, runs everywhere, and computes what integers compute."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgec.onnx_graph.canonicalization import canonical
from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.held_out import serialized
from edgec.quantization.placement import place
from edgec.quantization.rules import RULES, Kind
from edgec.quantization.scales import choose_scales
from edgec.quantization.weights import ANY_GRID, WeightGrid
from edgec.reference import Reference
from tests.quantization.tiny import network, node, random_feeds, statistics_of

RNG = np.random.default_rng(7)
X = {"x": [1, 4, 8, 8]}


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def conv(source="x", target="c", w="w", **attributes):
    return node("Conv", [source, w], [target], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], **attributes)


W = {"w": weights(4, 4, 3, 3)}


def after_conv(op, *constants, inputs=(), outputs=("y",), **attributes):
    """A Conv, so that there are integers to begin with, and then the op in question."""
    names = [name for name, _ in constants]
    nodes = [conv(), node(op, ["c", *inputs, *names], outputs, "op", **attributes)]
    return network(nodes, X, list(outputs), {**W, **dict(constants)})


F = np.float32
CASES = {
    "Conv": lambda: network([conv(target="y")], X, ["y"], W),
    "Conv/depthwise": lambda: network([conv(target="y", group=4)], X, ["y"], {"w": weights(4, 1, 3, 3)}),
    "Conv/grouped": lambda: network([conv(target="y", group=2)], X, ["y"], {"w": weights(6, 2, 3, 3)}),
    "Conv/1d": lambda: network(
        [node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1])],
        {"x": [1, 4, 16]},
        ["y"],
        {"w": weights(5, 4, 3), "b": weights(5)},
    ),
    "Conv/3d": lambda: network(
        [node("Conv", ["x", "w"], ["y"])], {"x": [1, 2, 4, 4, 4]}, ["y"], {"w": weights(3, 2, 2, 2, 2)}
    ),
    "Conv/relu6": lambda: network(
        [conv(), node("Clip", ["c", "lo", "hi"], ["y"])], X, ["y"], {**W, "lo": F(0), "hi": F(6)}
    ),
    "ConvTranspose": lambda: network(
        [node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2])],
        X,
        ["y"],
        {"w": weights(4, 3, 2, 2), "b": weights(3)},
    ),
    "ConvTranspose/grouped": lambda: network(
        [node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], group=2)],
        X,
        ["y"],
        {"w": weights(4, 3, 2, 2), "b": weights(6)},
    ),
    "Gemm": lambda: network(
        [node("Gemm", ["x", "w", "b"], ["y"])], {"x": [3, 8]}, ["y"], {"w": weights(8, 5), "b": weights(5)}
    ),
    "Gemm/transB": lambda: network(
        [node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": [3, 8]}, ["y"], {"w": weights(5, 8)}
    ),
    "Gemm/alpha-beta-transA": lambda: network(
        [node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0, transA=1)],
        {"x": [8, 3]},
        ["y"],
        {"w": weights(8, 5), "b": weights(1, 5)},
    ),
    "MatMul": lambda: network([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 6, 8]}, ["y"], {"w": weights(8, 5)}),
    "MatMul/bias-relu": lambda: network(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["a"]), node("Relu", ["a"], ["y"])],
        {"x": [1, 6, 8]},
        ["y"],
        {"w": weights(8, 5), "b": weights(5)},
    ),
    "MatMul/activations": lambda: network([node("MatMul", ["x", "z"], ["y"])], {"x": [2, 6, 8], "z": [2, 8, 4]}, ["y"]),
    "MatMul/batched-weights": lambda: network(
        [node("MatMul", ["x", "w"], ["y"])], {"x": [2, 6, 8]}, ["y"], {"w": weights(2, 8, 4)}
    ),
    "MatMul/weights-first": lambda: network(
        [node("MatMul", ["w", "x"], ["y"])], {"x": [2, 6, 8]}, ["y"], {"w": weights(4, 6)}
    ),
    "MatMul/vector": lambda: network([node("MatMul", ["x", "w"], ["y"])], {"x": [3, 8]}, ["y"], {"w": weights(8)}),
    "Add": lambda: network([conv(), node("Add", ["c", "x"], ["y"])], X, ["y"], W),
    "Add/relu": lambda: network([conv(), node("Add", ["x", "c"], ["a"]), node("Relu", ["a"], ["y"])], X, ["y"], W),
    "Add/itself": lambda: after_conv("Add", inputs=["c"]),
    "Add/constant": lambda: after_conv("Add", ("k", weights(1, 4, 8, 8))),
    "Sub": lambda: after_conv("Sub", ("k", weights(8))),
    "Mul": lambda: after_conv("Mul", ("k", weights(8, 1))),
    "Mul/scalar": lambda: network(
        [conv(), node("Tanh", ["c"], ["t"]), node("Mul", ["k", "t"], ["y"])], X, ["y"], {**W, "k": F(0.3)}
    ),
    "PRelu": lambda: after_conv("PRelu", ("k", np.abs(weights(4, 1, 1)) / 4)),
    "Relu": lambda: network([conv(), node("Relu", ["c"], ["y"])], X, ["y", "c"], W),
    "LeakyRelu": lambda: after_conv("LeakyRelu", alpha=0.1),
    "Elu": lambda: after_conv("Elu"),
    "Abs": lambda: after_conv("Abs"),
    "Gelu": lambda: network([conv(), node("Gelu", ["c"], ["y"])], X, ["y"], W, opset=20),
    "HardSwish": lambda: after_conv("HardSwish"),
    "Clip": lambda: network(
        [conv(), node("Clip", ["c", "lo", "hi"], ["y"])], X, ["y", "c"], {**W, "lo": F(-1), "hi": F(2)}
    ),
    "ReduceMean": lambda: after_conv("ReduceMean", axes=[2, 3]),
    "ReduceSum": lambda: after_conv("ReduceSum", ("axes", ints(1))),
    "GlobalAveragePool": lambda: after_conv("GlobalAveragePool"),
    "Sigmoid": lambda: after_conv("Sigmoid"),
    "Softmax": lambda: after_conv("Softmax", axis=1),
    "LogSoftmax": lambda: network(
        [node("MatMul", ["x", "w"], ["m"]), node("LogSoftmax", ["m"], ["y"], axis=1)],
        {"x": [4, 8]},
        ["y"],
        {"w": weights(8, 8) / 4},
    ),
    "Tanh": lambda: after_conv("Tanh"),
    "HardSigmoid": lambda: after_conv("HardSigmoid"),
    "AveragePool": lambda: after_conv("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "MaxPool": lambda: after_conv("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "GlobalMaxPool": lambda: after_conv("GlobalMaxPool"),
    "ReduceMax": lambda: after_conv("ReduceMax", axes=[1]),
    "ReduceMin": lambda: after_conv("ReduceMin", axes=[1]),
    "Max": lambda: after_conv("Max", ("k", weights(4, 1, 1))),
    "Min": lambda: after_conv("Min", ("k", weights(4, 1, 1))),
    "Concat": lambda: after_conv("Concat", inputs=["x"], axis=1),
    "Concat/constant": lambda: after_conv("Concat", ("k", weights(1, 2, 8, 8)), axis=1),
    "Resize": lambda: after_conv("Resize", ("scales", np.array([1, 1, 2, 2], F)), inputs=[""], mode="nearest"),
    "Resize/linear": lambda: after_conv("Resize", ("scales", np.array([1, 1, 2, 2], F)), inputs=[""], mode="linear"),
    "Pad": lambda: after_conv("Pad", ("pads", ints(0, 0, 1, 1, 0, 0, 2, 2)), ("value", F(0.77))),
    "Pad/default": lambda: after_conv("Pad", ("pads", ints(0, 0, 1, 1, 0, 0, 2, 2))),
    "Pad/reflect": lambda: after_conv("Pad", ("pads", ints(0, 0, 1, 1, 0, 0, 2, 2)), mode="reflect"),
    "Gather": lambda: after_conv("Gather", ("indices", ints(3, 0)), axis=1),
    "Gather/table": lambda: network(
        [node("Gather", ["table", "ids"], ["e"], "op"), node("MatMul", ["e", "w"], ["y"])],
        {"ids": [1, 4]},
        ["y"],
        {"table": weights(10, 8), "w": weights(8, 4)},
        dtypes={"ids": TensorProto.INT64},
    ),
    "Identity": lambda: after_conv("Identity"),
    "Reshape": lambda: after_conv("Reshape", ("shape", ints(1, -1))),
    "Transpose": lambda: after_conv("Transpose", perm=[0, 2, 3, 1]),
    "Flatten": lambda: after_conv("Flatten"),
    "Squeeze": lambda: after_conv("Squeeze", ("axes", ints(0))),
    "Unsqueeze": lambda: after_conv("Unsqueeze", ("axes", ints(0))),
    "Slice": lambda: after_conv("Slice", ("starts", ints(1)), ("ends", ints(3)), ("axes", ints(1))),
    "Split": lambda: after_conv("Split", ("split", ints(1, 3)), outputs=("y", "z"), axis=1),
    "Split/one-half-unused": lambda: network(
        [conv(), node("Split", ["c", "split"], ["a", "b"], axis=1), node("Relu", ["b"], ["y"])],
        X,
        ["y"],
        {**W, "split": ints(1, 3)},
    ),
    "Expand": lambda: after_conv("Expand", ("shape", ints(2, 4, 8, 8))),
    "Tile": lambda: after_conv("Tile", ("repeats", ints(1, 2, 1, 1))),
    "DepthToSpace": lambda: after_conv("DepthToSpace", blocksize=2),
    "SpaceToDepth": lambda: after_conv("SpaceToDepth", blocksize=2),
    "ArgMax": lambda: network(
        [conv(), node("ArgMax", ["c"], ["y"], "op", axis=1)], X, ["y"], W, dtypes={"y": TensorProto.INT64}
    ),
    "ArgMin": lambda: network(
        [conv(), node("ArgMin", ["c"], ["y"], "op", axis=1)], X, ["y"], W, dtypes={"y": TensorProto.INT64}
    ),
    "BatchNormalization": lambda: network(
        [node("BatchNormalization", ["x", "s", "t", "m", "v"], ["y"])],
        X,
        ["y"],
        {"s": weights(4), "t": weights(4), "m": weights(4), "v": np.abs(weights(4)) + F(0.1)},
    ),
    "Div/constant": lambda: network(
        [conv(), node("Tanh", ["c"], ["t"]), node("Div", ["t", "k"], ["y"])], X, ["y"], {**W, "k": F(6)}
    ),
}


def quantized(model, profile="strict", keep_float=None, correct=True, grid=ANY_GRID, feeds=None):
    """(graph, placement, scales, emitted) of a model, calibrated on random data."""
    statistics = statistics_of(model, feeds or random_feeds(model, 32))
    graph = Graph(canonical(model, without=("no-effect",)).model)
    placement = place(graph, profile, keep_float, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax")
    return graph, placement, scales, emit(graph, placement, scales.slots, statistics if correct else None, grid=grid)


def sqnr(expected, actual):
    error = np.sum((expected.astype(np.float64) - actual) ** 2)
    return 10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / max(error, 1e-30))


def test_there_is_a_case_for_every_rule():
    assert {name.split("/")[0] for name in CASES} >= set(RULES)


@pytest.mark.parametrize("profile", ["strict", "islands"])
@pytest.mark.parametrize("name", CASES)
def test_every_rule_gives_a_valid_graph_that_stays_close(name, profile):
    model = CASES[name]()
    feeds = random_feeds(model, 16)
    _, placement, _, emitted = quantized(model, profile, feeds=feeds)
    if profile == "strict":
        assert not placement.float_nodes, "every node of these models has a rule"
    onnx.checker.check_model(emitted.model, full_check=True)
    for item in ("input", "output"):
        before, after = getattr(model.graph, item), getattr(emitted.model.graph, item)
        assert [(i.name, i.type.tensor_type.elem_type) for i in before] == [
            (i.name, i.type.tensor_type.elem_type) for i in after
        ]
    assert {n.domain for n in emitted.model.graph.node} == {""}
    names = [n.name for n in emitted.model.graph.node]
    assert len(set(names)) == len(names)
    original = Reference(serialized(model))
    for optimization in ("none", "all"):
        candidate = Reference(serialized(emitted.model), optimization)
        for output in original.outputs:
            expected = np.stack([original.run(feed)[output] for feed in feeds])
            actual = np.stack([candidate.run(feed)[output] for feed in feeds])
            assert actual.shape == expected.shape
            if expected.dtype == np.int64:
                assert np.mean(actual == expected) > 0.9, optimization
            else:
                assert sqnr(expected, actual) > 25, optimization


@pytest.mark.parametrize("name", [name for name in CASES if RULES.get(name) and RULES[name].kind is Kind.TIED])
def test_tied_ops_share_one_grid(name):
    _, placement, scales, _ = quantized(CASES[name]())
    op = next(kernel for kernel in placement.kernels.values() if kernel.anchor.op_type == name)
    grids = {
        scales.slots[placement.reads[op.name, i]] for i in op.rule.inputs(op.anchor) if (op.name, i) in placement.reads
    }
    grids |= {scales.slots[output] for output in op.outputs if output in scales.slots}
    assert len(grids) == 1


# --- what integers compute ---


def run_integers(model, feed):
    """The QDQ graph in integer arithmetic: int64 accumulators, one rounding per kernel. Returns all int8 tensors."""
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    real: dict[str, tuple] = {}  # tensor -> (integers minus zero point, scale)
    floats = {name: value.astype(np.float64) for name, value in feed.items()}
    found = {}
    for n in model.graph.node:
        i, out = list(n.input), n.output[0]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
        if n.op_type == "QuantizeLinear":
            scale, zero_point = float(constants[i[1]]), int(constants[i[2]])
            found[out] = np.clip(np.rint(floats[i[0]] / scale) + zero_point, -128, 127).astype(np.int64)
        elif n.op_type == "DequantizeLinear":
            integers = constants[i[0]].astype(np.int64) if i[0] in constants else found[i[0]]
            scale, zero_point = constants[i[1]].astype(np.float64), constants[i[2]].astype(np.int64)
            if scale.ndim:
                shape = [-1 if axis == attributes["axis"] else 1 for axis in range(integers.ndim)]
                scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
            real[out] = (integers - zero_point, scale)
            floats[out] = (integers - zero_point) * scale
        elif n.op_type == "Conv":
            (x, sx), (w, sw), (b, sb) = real[i[0]], real[i[1]], real[i[2]]
            assert np.allclose(sb.reshape(-1), np.float64(sx) * sw.reshape(-1), rtol=1e-6)
            p = attributes["pads"]
            padded = np.pad(x, ((0, 0), (0, 0), (p[0], p[2]), (p[1], p[3])))
            windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))
            total = np.einsum("ncyxhw,ochw->noyx", windows, w) + b.reshape(1, -1, 1, 1)
            floats[out] = total * sb.reshape(1, -1, 1, 1)
        elif n.op_type == "Gemm":
            (x, _), (w, _), (b, sb) = real[i[0]], real[i[1]], real[i[2]]
            floats[out] = (x @ w + b) * sb
        elif n.op_type == "Relu":
            floats[out] = np.maximum(floats[i[0]], 0)
        elif n.op_type == "MaxPool":
            x = floats[i[0]]
            floats[out] = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max(axis=(3, 5))
        elif n.op_type == "Flatten":
            floats[out] = floats[i[0]].reshape(len(floats[i[0]]), -1)
        else:
            raise NotImplementedError(n.op_type)
    return found


def small_cnn():
    return network(
        [
            node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "v", "d"], ["y"], "head"),
        ],
        X,
        ["y"],
        {"w": weights(6, 4, 3, 3), "b": weights(6), "v": weights(96, 5), "d": weights(5)},
    )


def test_onnx_runtime_computes_what_integers_compute():
    model = small_cnn()
    _, _, _, emitted = quantized(model)
    wide = onnx.ModelProto()
    wide.CopyFrom(emitted.model)
    integers = [n.output[0] for n in wide.graph.node if n.op_type == "QuantizeLinear"]
    wide.graph.output.extend(onnx.helper.make_tensor_value_info(n, TensorProto.INT8, None) for n in integers)
    reference = Reference(serialized(wide), "none")
    for feed in random_feeds(model, 5, seed=2):
        expected, actual = run_integers(emitted.model, feed), reference.run(feed)
        for name in integers:
            difference = np.abs(expected[name] - actual[name].astype(np.int64))
            assert difference.max() <= 1, name  # float32 sums may fall to the other side of a half
            assert (difference == 0).mean() > 0.99, name


def test_quantization_sits_behind_the_fused_activation():
    _, placement, _, emitted = quantized(small_cnn())
    assert "c" not in placement.slots
    (reader,) = [n for n in emitted.model.graph.node if "c" in n.input]
    assert reader.op_type == "Relu"


def test_padding_is_on_the_grid_of_what_it_pads():
    _, _, scales, emitted = quantized(CASES["Pad"]())
    (value,) = [numpy_helper.to_array(i) for i in emitted.model.graph.initializer if i.name.startswith("value")]
    steps = (value - 0) / scales.slots["y"].scale
    assert abs(steps - round(float(steps))) < 1e-4
    assert value == pytest.approx(0.77, abs=scales.slots["y"].scale / 2)


def test_minus_infinity_as_padding_becomes_the_lowest_step():
    case = after_conv("Pad", ("pads", ints(0, 0, 1, 1, 0, 0, 1, 1)), ("value", F(-np.inf)))
    statistics = statistics_of(W_CONV := network([conv()], X, ["c"], W), random_feeds(W_CONV))
    graph = Graph(canonical(case).model)
    placement = place(graph, "strict", None, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax")
    emitted = emit(graph, placement, scales.slots)
    (value,) = [numpy_helper.to_array(i) for i in emitted.model.graph.initializer if i.name.startswith("value")]
    assert value == pytest.approx(scales.slots["c"].low)


# --- weights and biases ---


def test_weights_keep_to_the_range_that_the_target_can_add_up():
    for limit in (127, 63):
        _, _, _, emitted = quantized(small_cnn(), grid=WeightGrid(limit))
        for item in emitted.model.graph.initializer:
            if item.name in ("w_quantized", "v_quantized"):
                values = numpy_helper.to_array(item)
                assert np.abs(values).max() == limit
    assert set(emitted.weights) == {"w", "v"}
    assert emitted.weights["w"].axis == 0 and len(emitted.weights["w"].scales) == 6
    assert emitted.weights["v"].axis == 1 and len(emitted.weights["v"].scales) == 5


@pytest.mark.parametrize("correct", [True, False])
def test_a_nearly_dead_channel_does_not_overflow_its_bias(correct):
    w, b = weights(4, 4, 3, 3), weights(4)
    w[1] *= F(1e-9)
    w[2] = 0
    b[1:3] = 3, -2.5
    model = network([node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])], X, ["y"], {"w": w, "b": b})
    _, _, _, emitted = quantized(model, correct=correct)
    assert emitted.saturated == 0
    (feed,) = random_feeds(model, 1)
    expected = Reference(serialized(model)).run(feed)["y"]
    actual = Reference(serialized(emitted.model), "none").run(feed)["y"]
    assert np.abs(expected - actual)[:, 1:3].max() < 0.1
    assert all(scale >= np.finfo(F).tiny for scale in emitted.weights["w"].scales)


def test_a_constant_tensor_gets_a_scale_that_is_a_normal_number():
    model = small_cnn()
    feeds = [{"x": np.zeros((1, 4, 8, 8), F)}]
    _, _, scales, emitted = quantized(model, feeds=feeds)
    assert all(p.scale >= np.finfo(F).tiny for p in scales.slots.values())
    assert np.isfinite(Reference(serialized(emitted.model), "none").run(feeds[0])["y"]).all()
    assert emitted.saturated == 0


def test_weights_read_twice_are_written_once_unless_their_scales_differ():
    def model(bias):
        return network(
            [
                node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
                node("Conv", ["x", "w", "b"], ["d"], pads=[1, 1, 1, 1]),
                node("Add", ["a", "d"], ["y"]),
            ],
            X,
            ["y"],
            {"w": w, "b": bias},
        )

    w = weights(4, 4, 3, 3)
    w[0] *= F(1e-12)
    same = quantized(model(np.zeros(4, F)), correct=False)[3]
    unlike = quantized(model(np.ones(4, F)), correct=False)[3]
    assert list(same.weights) == ["w"]
    assert list(unlike.weights) == ["w", "w_2"]


def test_weights_that_a_float_node_reads_too_stay():
    model = network([conv(target="c"), node("Conv", ["c", "w"], ["y"], "second", pads=[1, 1, 1, 1])], X, ["y"], W)
    _, _, _, emitted = quantized(model, keep_float={"second": "a test"})
    names = [item.name for item in emitted.model.graph.initializer]
    assert "w" in names and "w_quantized" in names


def test_bias_correction_gives_a_matmul_without_bias_one():
    model = network([node("MatMul", ["x", "w"], ["y"], "m")], {"x": [1, 6, 8]}, ["y"], {"w": weights(8, 5)})
    with_bias = quantized(model)[3].model
    assert [n.op_type for n in with_bias.graph.node].count("Add") == 1
    assert "Add" not in [n.op_type for n in quantized(model, correct=False)[3].model.graph.node]


# --- the graph around ---


def test_an_output_that_is_also_consumed_keeps_its_name():
    model = network([conv(), node("Relu", ["c"], ["y"])], X, ["c", "y"], W)
    _, placement, _, emitted = quantized(model)
    assert placement.kernels["conv"].activation is None, "the caller sees what is before the activation"
    outputs = Reference(serialized(emitted.model), "none").run(random_feeds(model, 1)[0])
    assert np.array_equal(np.maximum(outputs["c"], 0) > 0, outputs["y"] > 0)


def test_the_body_of_an_if_reads_what_it_read_before():
    then = onnx.helper.make_graph(
        [node("Add", ["c", "c"], ["t"])], "then", [], [onnx.helper.make_tensor_value_info("t", 1, None)]
    )
    otherwise = onnx.helper.make_graph(
        [node("Identity", ["c"], ["e"])], "else", [], [onnx.helper.make_tensor_value_info("e", 1, None)]
    )
    model = network(
        [
            conv(),
            node("Relu", ["c"], ["r"]),
            node("If", ["flag"], ["y"], "if", then_branch=then, else_branch=otherwise),
        ],
        {**X, "flag": []},
        ["y", "r"],
        W,
        dtypes={"flag": TensorProto.BOOL},
    )
    _, placement, _, emitted = quantized(model)
    assert placement.kernels["conv"].activation is None, "the body of the If sees what is before the activation"
    assert "If" in placement.float_nodes["if"]
    feed = random_feeds(model, 1)[0]
    onnx.checker.check_model(emitted.model, full_check=True)
    expected = Reference(serialized(model)).run(feed)
    actual = Reference(serialized(emitted.model), "none").run(feed)
    assert sqnr(expected["y"], actual["y"]) > 25


def test_names_that_are_taken_are_not_taken_again():
    model = network([conv(target="x_quantized"), node("Relu", ["x_quantized"], ["x_scale"])], X, ["x_scale"], W)
    _, _, _, emitted = quantized(model)
    onnx.checker.check_model(emitted.model, full_check=True)


_SCRIPT = """
import sys, hashlib
from tests.quantization import test_emit as t
emitted = t.quantized(t.small_cnn())[3]
print(hashlib.sha256(t.serialized(emitted.model)).hexdigest())
"""


def test_two_processes_write_the_same_bytes():
    def digest(seed):
        run = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    assert digest("1") == digest("2") != ""


def test_an_initializer_that_is_also_an_input_does_not_become_a_required_input():
    model = network([conv(target="y")], X, ["y"], W)
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4, 3, 3]))
    _, _, _, emitted = quantized(model)
    assert [i.name for i in emitted.model.graph.input] == ["x"]


def test_weights_share_one_scale_where_the_engine_wants_it():
    model = small_cnn()
    operators = {node.op_type for node in model.graph.node}
    assert "Conv" in operators
    _, _, _, emitted = quantized(model, grid=WeightGrid(per_tensor=frozenset({"Conv"})))
    weights = emitted.weights["w"]
    assert weights.axis is None and weights.scales.shape == ()
    assert np.abs(weights.values).max() == 127
