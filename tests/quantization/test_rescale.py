"""Rescaling: the model computes the same, its channels are more even, and its statistics are the true ones."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.placement import place
from edgec.quantization.rescale import MOST_BELOW_MEDIAN, Rescaling
from edgec.quantization.scales import choose_scales
from edgec.reference import Reference
from tests.quantization.test_second_moments import runs_of
from tests.quantization.tiny import network, node, statistics_of

RNG = np.random.default_rng(11)
UNEVEN = np.array([30, 1, 0.5, 2, 1, 0.2], np.float32)
"""Factors of six channels."""


@pytest.fixture(autouse=True)
def small_tensors(monkeypatch):
    """Tests are too small to have many values of each channel."""
    monkeypatch.setattr("edgec.quantization.rescale.LEAST_VALUES", 1)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def feeds_of(model, count=4):
    graph = Graph(model)
    return [{name: weights(*graph.shape(name)) for name in graph.inputs} for _ in range(count)]


def rescaled(model, profile="islands", alpha=0.5, feeds=None):
    feeds = feeds or feeds_of(model)
    graph = Graph(model)
    statistics = statistics_of(model, feeds)
    placement = place(graph, profile, observed=statistics)
    return Rescaling(graph, placement, statistics, runs_of(model, [[feed] for feed in feeds])).rescaled(alpha)


def outputs_of(model, feeds):
    onnx.checker.check_model(model, full_check=True)
    reference = Reference(model.SerializeToString())
    return [reference.run(feed) for feed in feeds]


def assert_same(model, other, feeds):
    for before, after in zip(outputs_of(model, feeds), outputs_of(other, feeds), strict=True):
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-5 * max(1, np.abs(value).max()))


def multiplied(result):
    return sum(item.multiplied for item in result.tensors)


def channels(rank, axis=1):
    return UNEVEN.reshape([-1 if i == axis else 1 for i in range(rank)])


def between(*nodes, constants=None, reader=None, shape=(1, 6, 8, 8), outputs=("y",), opset=17):
    """A layer whose channels differ in range makes `a`, the nodes make `b` of it, and a layer reads that."""
    first = node("Conv", ["x", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1])
    reader = reader or node("Conv", ["b", "w2"], ["y"], "reader")
    values = {"w1": weights(6, 3, 3, 3) * UNEVEN.reshape(-1, 1, 1, 1), "b1": weights(6), "w2": weights(4, 6, 3, 3)}
    x = (shape[0], 3, *shape[2:])
    return network([first, *nodes, reader], {"x": x}, list(outputs), values | (constants or {}), opset=opset)


F = np.float32
FOLDED = {
    "nothing": lambda: between(node("Identity", ["a"], ["b"])),
    "Relu": lambda: between(node("Relu", ["a"], ["b"])),
    "Clip from 0": lambda: between(node("Clip", ["a", "zero"], ["b"]), constants={"zero": F(0)}),
    "LeakyRelu": lambda: between(node("LeakyRelu", ["a"], ["b"])),
    "PRelu": lambda: between(node("PRelu", ["a", "s"], ["b"]), constants={"s": np.abs(weights(6, 1, 1))}),
    "MaxPool": lambda: between(node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2])),
    "AveragePool": lambda: between(node("AveragePool", ["a"], ["b"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])),
    "Pad": lambda: between(
        node("Pad", ["a", "p"], ["b"]), constants={"p": np.array([0, 0, 1, 1, 0, 0, 0, 2], np.int64)}
    ),
    "affine of all": lambda: between(
        node("HardSwish", ["a"], ["h"]),
        node("Mul", ["h", "s"], ["m"]),
        node("Add", ["m", "t"], ["b"]),
        constants={"s": F(1.5), "t": F(0.25)},
    ),
    "affine of channels": lambda: between(
        node("Mul", ["a", "s"], ["m"]),
        node("Add", ["t", "m"], ["b"]),
        constants={"s": np.abs(weights(6, 1, 1)) + 0.1, "t": weights(1, 6, 1, 1)},
    ),
    "gate": lambda: between(
        node("GlobalAveragePool", ["x"], ["pooled"]),
        node("Conv", ["pooled", "g"], ["gate"]),
        node("Mul", ["gate", "a"], ["b"]),
        constants={"g": weights(6, 3, 1, 1)},
    ),
    "sum": lambda: between(
        node("Conv", ["x", "w3"], ["c"], pads=[1, 1, 1, 1]),
        node("Add", ["a", "c"], ["b"]),
        constants={"w3": weights(6, 3, 3, 3)},
    ),
    "depthwise reader": lambda: between(
        node("Relu", ["a"], ["b"]),
        constants={"w2": weights(12, 1, 3, 3)},
        reader=node("Conv", ["b", "w2"], ["y"], group=6),
    ),
    "grouped reader": lambda: between(
        node("Relu", ["a"], ["b"]),
        constants={"w2": weights(4, 3, 3, 3)},
        reader=node("Conv", ["b", "w2"], ["y"], group=2),
    ),
    "transposed reader": lambda: between(
        node("Relu", ["a"], ["b"]),
        constants={"w2": weights(6, 4, 3, 3)},
        reader=node("ConvTranspose", ["b", "w2"], ["y"], strides=[2, 2]),
    ),
    "flattened to a Gemm": lambda: between(
        node("GlobalAveragePool", ["a"], ["p"]),
        node("Flatten", ["p"], ["b"]),
        constants={"w2": weights(5, 6)},
        reader=node("Gemm", ["b", "w2"], ["y"], transB=1),
    ),
    "moved to a MatMul": lambda: between(
        node("Reshape", ["a", "to"], ["r"]),
        node("Transpose", ["r"], ["b"], perm=[0, 2, 1]),
        constants={"w2": weights(6, 5), "to": np.array([1, 6, 64], np.int64)},
        reader=node("MatMul", ["b", "w2"], ["y"]),
    ),
    "two readers": lambda: between(
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w4"], ["z"]),
        constants={"w4": weights(6, 1, 3, 3)[:, :, :1, :1].reshape(1, 6, 1, 1)},
        outputs=("y", "z"),
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_factors_cost_nothing_and_change_nothing(name):
    model = FOLDED[name]()
    feeds = feeds_of(model)
    result = rescaled(model, feeds=feeds)
    assert_same(model, result.model, feeds)
    assert multiplied(result) == 0
    assert len(result.model.graph.node) == len(model.graph.node)
    assert all(item.ratio_after < item.ratio_before for item in result.tensors)
    assert "b" in [item.tensor for item in result.tensors]


MULTIPLIED = {
    "what is no multiple": lambda: between(node("HardSwish", ["a"], ["b"])),
    "a bounded Clip": lambda: between(
        node("Clip", ["a", "zero", "most"], ["b"]), constants={"zero": F(0), "most": F(300)}
    ),
    "a residual": lambda: between(node("Relu", ["a"], ["b"]), node("Sigmoid", ["b"], ["z"]), outputs=("y", "z")),
    "an output": lambda: between(node("Relu", ["a"], ["b"]), outputs=("y", "b")),
    "a maker that others read": lambda: between(
        node("Relu", ["a"], ["b"]), node("Neg", ["a"], ["z"]), outputs=("y", "z")
    ),
    "a concatenation": lambda: between(
        node("Concat", ["x", "x"], ["c"], axis=1),
        node("Mul", ["c", "a"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("Mul", ["t", "u"], ["v"]),
        node("Softplus", ["v"], ["b"]),
        constants={"u": UNEVEN.reshape(1, -1, 1, 1)},
    ),
}


@pytest.mark.parametrize("name", MULTIPLIED)
def test_where_nothing_takes_the_factors_a_mul_does_and_changes_nothing(name):
    model = MULTIPLIED[name]()
    feeds = feeds_of(model)
    result = rescaled(model, feeds=feeds)
    assert_same(model, result.model, feeds)
    assert multiplied(result) > 0


def test_layer_normalization_takes_factors_into_its_gain_and_shift():
    nodes = [node("LayerNormalization", ["x", "g", "s"], ["b"]), node("MatMul", ["b", "w"], ["y"])]
    constants = {"g": UNEVEN, "s": weights(6), "w": weights(6, 5)}
    model = network(nodes, {"x": [1, 7, 6]}, ["y"], constants)
    feeds = feeds_of(model)
    result = rescaled(model, feeds=feeds)
    assert_same(model, result.model, feeds)
    assert multiplied(result) == 0 and result.tensors[0].tensor == "b"


@pytest.mark.parametrize("name", ["nothing", "Relu", "LeakyRelu", "PRelu", "MaxPool", "depthwise reader"])
def test_strict_rescales_across_homogeneous_chains(name):
    model = FOLDED[name]()
    feeds = feeds_of(model)
    result = rescaled(model, "strict", feeds=feeds)
    assert_same(model, result.model, feeds)
    assert multiplied(result) == 0 and len(result.tensors) >= 1


@pytest.mark.parametrize("name", ["what is no multiple", "a bounded Clip", "a residual", "an output"])
def test_strict_has_no_mul_of_its_own(name):
    assert rescaled(MULTIPLIED[name](), "strict") is None


@pytest.mark.parametrize("name", ["affine of all", "affine of channels", "gate", "sum"])
def test_strict_leaves_arithmetic_with_a_scale_of_its_own_alone(name):
    """Constants and sums in INT8 have one scale: what evens out one tensor would make another uneven."""
    assert rescaled(FOLDED[name](), "strict") is None


def layer(*nodes, outputs=("y",), constants=None, anchor=None):
    """A layer that writes `a` with uneven channels, and nodes that read it."""
    anchor = anchor or node("Conv", ["x", "w1", "b1"], ["a"], "layer", pads=[1, 1, 1, 1])
    values = {"w1": weights(6, 3, 3, 3) * UNEVEN.reshape(-1, 1, 1, 1), "b1": weights(6), "six": F(6), "zero": F(0)}
    return network([anchor, *nodes], {"x": (1, 3, 8, 8)}, list(outputs), values | (constants or {}))


def gemm_into(*nodes, **others):
    """The same with a layer whose channels are the last axis of its output."""
    constants = {"w1": weights(192, 6) * UNEVEN, "to": np.array([1, 192], np.int64)}
    flat = node("Reshape", ["x", "to"], ["f"])
    return layer(*nodes, anchor=flat, constants=constants | others)


RESTORED = {
    "no multiple": lambda: layer(node("HardSwish", ["a"], ["y"])),
    "behind a fused Relu": lambda: layer(node("Relu", ["a"], ["r"]), node("Softplus", ["r"], ["y"])),
    "an output": lambda: layer(outputs=("a",)),
    "an output that is read": lambda: layer(node("Softplus", ["a"], ["y"]), outputs=("a", "y")),
    "two readers": lambda: layer(node("Softplus", ["a"], ["s"]), node("Mul", ["a", "s"], ["y"])),
    "read by a layer too": lambda: layer(
        node("Conv", ["a", "w2"], ["z"]),
        node("Softplus", ["a"], ["y"]),
        constants={"w2": weights(4, 6, 3, 3)},
        outputs=("y", "z"),
    ),
    "a depthwise layer": lambda: layer(
        node("Conv", ["c", "w2", "b1"], ["a"], "depthwise", group=6),
        node("HardSwish", ["a"], ["y"]),
        constants={"w1": weights(6, 3, 3, 3), "w2": weights(6, 1, 3, 3) * UNEVEN.reshape(-1, 1, 1, 1)},
        anchor=node("Conv", ["x", "w1"], ["c"], "first"),
    ),
    "a Gemm": lambda: gemm_into(node("Gemm", ["f", "w1", "b1"], ["a"]), node("Softplus", ["a"], ["y"])),
    "a MatMul": lambda: gemm_into(node("MatMul", ["f", "w1"], ["a"]), node("Softplus", ["a"], ["y"])),
    "a MatMul and its bias": lambda: gemm_into(
        node("MatMul", ["f", "w1"], ["m"]), node("Add", ["m", "b1"], ["a"]), node("Softplus", ["a"], ["y"])
    ),
}


@pytest.mark.parametrize("name", RESTORED)
def test_float_readers_of_rounded_sums_read_behind_a_mul_what_they_read_before(name):
    model = RESTORED[name]()
    feeds = feeds_of(model)
    result = rescaled(model, "closed-islands", feeds=feeds)
    assert_same(model, result.model, feeds)
    check_statistics(result, feeds)
    assert multiplied(result) > 0 and all(item.ratio_after < item.ratio_before / 2 for item in result.tensors)
    assert rescaled(model, "strict", feeds=feeds) is None
    others = rescaled(model, "islands", feeds=feeds)  # what float nodes read is not rounded there
    assert others is None or all(item.readers for item in others.tensors)


def test_rounded_sums_have_in_effect_a_scale_for_each_channel():
    """What it is for: narrow channels are no longer lost in the steps of the widest."""
    model = RESTORED["an output"]()
    feeds = feeds_of(model)
    result = rescaled(model, "closed-islands", feeds=feeds)
    true = np.concatenate([found["a"] for found in outputs_of(model, feeds)])

    def errors(changed):
        graph, statistics = Graph(changed), statistics_of(changed, feeds)
        placement = place(graph, "closed-islands")
        emitted = emit(graph, placement, choose_scales(graph, placement, statistics, "minmax").slots)
        found = np.concatenate([found["a"] for found in outputs_of(emitted.model, feeds)])
        return np.square(found - true).mean(axis=(0, 2, 3)) / np.square(true).mean(axis=(0, 2, 3))

    before, after = errors(model), errors(result.model)
    assert before[5] > 30 * after[5]
    assert (after < 1e-3).all()


@pytest.mark.parametrize("op", ["Clip", "MatMul", "Transpose"])
def test_rounded_sums_are_left_alone_where(op):
    """... an activation bounds them in the same way for all channels, or another kernel reads the integers."""
    nodes = {
        "Clip": [node("Clip", ["a", "zero", "six"], ["r"]), node("Sigmoid", ["r"], ["y"])],
        "MatMul": [node("MatMul", ["a", "a"], ["y"]), node("Sigmoid", ["a"], ["z"])],
        "Transpose": [
            node("Transpose", ["a"], ["t"], perm=[0, 1, 3, 2]),
            node("Conv", ["t", "w2"], ["y"]),
            node("Sigmoid", ["a"], ["z"]),
        ],
    }[op]
    outputs = ["y"] if op == "Clip" else ["y", "z"]
    model = layer(*nodes, outputs=outputs, constants={"w2": weights(4, 6, 3, 3)})
    result = rescaled(model, "closed-islands")
    assert result is None or "a" not in {item.tensor for item in result.tensors}


def test_what_folds_into_a_layer_goes_before_what_is_given_back():
    """Behind a LeakyRelu a layer takes the factors, which even out what this one writes, too."""
    model = FOLDED["LeakyRelu"]()
    feeds = feeds_of(model)
    result = rescaled(model, "closed-islands", feeds=feeds)
    assert_same(model, result.model, feeds)
    assert {item.tensor: item.multiplied for item in result.tensors if item.tensor in "ab"} == {"b": 0}


@given(
    st.sampled_from(["islands", "strict", "closed-islands"]),
    st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    st.integers(0, 10_000),
)
@settings(max_examples=25)
def test_random_graphs_compute_the_same(profile, alpha, seed):
    rng = np.random.default_rng(seed)
    model = random_network(rng)
    graph = Graph(model)
    feeds = [{name: rng.normal(size=graph.shape(name)).astype(np.float32) for name in graph.inputs} for _ in range(3)]
    result = rescaled(model, profile, alpha, feeds)
    if result is not None:
        assert_same(model, result.model, feeds)
        check_statistics(result, feeds)


def random_network(rng):
    """A chain of layers and activations over six uneven channels, with residuals, pads and concatenations."""
    nodes, constants, tensors = [], {"zero": F(0), "five": F(5)}, ["x"]

    def constant(value):
        constants[f"c{len(constants)}"] = np.asarray(value, np.float32)
        return f"c{len(constants) - 1}"

    def emit(op, inputs, **attributes):
        nodes.append(node(op, inputs, [f"t{len(nodes)}"], **attributes))
        tensors.append(nodes[-1].output[0])

    def layer(source):
        uneven = (10 ** rng.uniform(-1.5, 1.5, 6)).reshape(-1, 1, 1, 1)
        kind = rng.integers(4)
        if kind == 0:
            w = [rng.normal(size=(6, 1, 3, 3)) * uneven, rng.normal(size=6)]
            emit("Conv", [source, *map(constant, w)], pads=[1, 1, 1, 1], group=6)
        elif kind == 1:
            w = [rng.normal(size=(6, 6, 3, 3)).swapaxes(0, 1) * uneven.reshape(1, -1, 1, 1), rng.normal(size=6)]
            emit("ConvTranspose", [source, *map(constant, w)], pads=[1, 1, 1, 1])
        else:
            w = [rng.normal(size=(6, 6 // kind if kind == 2 else 6, 1, 1)) * uneven, rng.normal(size=6)]
            emit("Conv", [source, *map(constant, w)], group=kind if kind == 2 else 1)

    layer("x")
    for _ in range(int(rng.integers(3, 9))):
        last = tensors[-1]
        step = rng.integers(10)
        if step <= 2:
            layer(last)
        elif step == 3:
            emit("Relu", [last])
        elif step == 4:
            emit("Add", [last, tensors[int(rng.integers(1, len(tensors)))]])
        elif step == 5:
            emit("HardSwish", [last])
        elif step == 6:
            emit("Mul", [last, constant(rng.uniform(0.1, 2, (6, 1, 1)))])
        elif step == 7:
            emit("Clip", [last, "zero", *(["five"] if rng.random() < 0.5 else [])])
        elif step == 8:
            emit("LeakyRelu", [last])
        else:
            emit("AveragePool", [last], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    layer(tensors[-1])
    emit("Concat", [tensors[-1], tensors[-2]], axis=1)
    emit("GlobalAveragePool", [tensors[-1]])
    emit("Flatten", [tensors[-1]])
    emit("Gemm", [tensors[-1], constant(rng.normal(size=(12, 4)))])
    return network(nodes, {"x": [1, 6, 8, 8]}, [tensors[-1]], constants)


def check_statistics(result, feeds):
    """What is said of a rescaled tensor holds for the values that it has now."""
    true = statistics_of(result.model, feeds)
    for item in result.tensors:
        said, found = result.statistics[item.rescaled], true[item.rescaled]
        for name in ("minimum", "maximum", "channel_min", "channel_max", "mean"):
            tolerance = 1e-4 * max(abs(found.minimum), abs(found.maximum))
            np.testing.assert_allclose(getattr(said, name), getattr(found, name), rtol=1e-3, atol=tolerance)
        for axis, means in enumerate(found.axis_means if said.axis_means else ()):
            np.testing.assert_allclose(said.axis_means[axis], means, rtol=1e-3, atol=tolerance)
        assert said.histogram.sum() > 0


def test_statistics_of_small_tensors_are_exact():
    model = FOLDED["Relu"]()
    feeds = feeds_of(model)
    result = rescaled(model, feeds=feeds)
    check_statistics(result, feeds)
    (item,) = [item for item in result.tensors if item.tensor == "b"]
    said, found = result.statistics[item.rescaled], statistics_of(result.model, feeds)[item.rescaled]
    assert said.bin_width == found.bin_width
    assert np.abs(said.histogram - found.histogram).sum() <= 4  # float32 may round across the edge of a bin
    assert "b" not in {name for n in result.model.graph.node for name in n.output}  # no name with another meaning


def test_factors_leave_the_largest_channel_as_large_as_it_was():
    model = FOLDED["Relu"]()
    feeds = feeds_of(model)
    (before,) = [statistics_of(model, feeds)["b"]]
    result = rescaled(model, feeds=feeds)
    (item,) = [item for item in result.tensors if item.tensor == "b"]
    assert result.statistics[item.rescaled].maximum == pytest.approx(before.maximum, rel=1e-5)


def test_a_silent_channel_is_not_blown_up():
    """It may speak up later: what is left for it is a fair part of what the median channel has."""
    silent = np.array([1, 1, 8, 1, 1, 0], np.float32).reshape(-1, 1, 1, 1)
    w = np.ones((6, 1, 1, 1), np.float32) * silent
    nodes = [node("Conv", ["x", "w1"], ["b"], "first", group=6), node("Conv", ["b", "w2"], ["y"], "dw", group=6)]
    model = network(nodes, {"x": [1, 6, 4, 4]}, ["y"], {"w1": w, "w2": weights(6, 1, 1, 1)})
    feeds = [{"x": np.sign(feed["x"])} for feed in feeds_of(model)]
    result = rescaled(model, alpha=1.0, feeds=feeds)
    item = next(item for item in result.tensors if item.tensor == "b")
    graph = Graph(result.model)
    before, after = w.reshape(-1), graph.constant(graph.producer[item.rescaled].input[1]).reshape(-1)
    assert after[:5] == pytest.approx(8)
    assert before[5] == after[5] == 0
    reader = next(n for n in graph.nodes if n.name == "dw")
    gained = graph.constant(reader.input[1]).reshape(-1) / Graph(model).constant("w2").reshape(-1)
    assert 8 * gained[5] == pytest.approx(1 / MOST_BELOW_MEDIAN)  # the largest value that can be told apart


def test_channels_that_were_hardly_seen_are_left_alone(monkeypatch):
    """Four pictures, and one value of each channel in each of them after pooling: the next picture exceeds them."""
    model = FOLDED["flattened to a Gemm"]()
    feeds = feeds_of(model)
    assert [item.tensor for item in rescaled(model, feeds=feeds).tensors] == ["b"]
    monkeypatch.setattr("edgec.quantization.rescale.LEAST_VALUES", 5)
    assert rescaled(model, feeds=feeds) is None


def test_even_tensors_are_left_alone():
    even = np.ones((6, 3, 3, 3), np.float32)
    model = between(node("Relu", ["a"], ["b"]), constants={"w1": even, "b1": np.zeros(6, np.float32)})
    assert rescaled(model) is None


def test_integers_that_are_padded_with_anything_but_zeros_are_left_alone():
    """Quantized before the Pad, whose value would have to differ by channel."""
    pad = node("Pad", ["a", "p", "one"], ["b"])
    sizes = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    assert rescaled(between(pad, constants={"p": sizes, "one": F(1)})) is None


def test_a_product_of_two_activations_is_left_alone():
    nodes = [node("Mul", ["x", "u"], ["b"]), node("MatMul", ["b", "z"], ["y"])]
    model = network(nodes, {"x": [1, 5, 6], "z": [1, 6, 3]}, ["y"], {"u": UNEVEN})
    assert rescaled(model) is None


def test_equal_models_give_equal_bytes():
    model = FOLDED["gate"]()
    feeds = feeds_of(model)
    one, other = (rescaled(model, feeds=feeds).model.SerializeToString(deterministic=True) for _ in range(2))
    assert one == other
