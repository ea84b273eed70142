"""Second moments against the definition: cut out every patch, multiply, average."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.contract import Contract, TensorSpec
from edgec.onnx_graph.graph import Graph
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.patches import Patches, from_rows, rows_of
from edgec.quantization.placement import place
from edgec.quantization.second_moments import MOST_INPUTS, gather, objection
from edgec.reference import Reference
from edgec.samples import Sample
from tests.quantization.tiny import network, node

RNG = np.random.default_rng(5)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Source:
    """Samples in memory."""

    digest, notes = "", ()

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def read(self, indices=None):
        for index in range(len(self)) if indices is None else indices:
            yield Sample(str(index), tuple(self.samples[index]))


def runs_of(model, feeds, state=None):
    """Runs on all feeds (a list of steps each)."""
    graph = Graph(model)
    spec = [
        [TensorSpec(n, str(graph.dtype(n)), graph.shape(n)) for n in names] for names in (graph.inputs, graph.outputs)
    ]
    contract = Contract(tuple(spec[0]), tuple(spec[1]))
    return CalibrationRuns(model, Source(feeds), contract, state, range(len(feeds)))


def normal_feeds(shape, count=3):
    return [[{"x": (RNG.normal(size=shape) + 1).astype(np.float32)}] for _ in range(count)]


def moments_of(model, feeds):
    graph = Graph(model)
    kernels = place(graph, "islands").kernels.values()
    return {name: moments for names, moments in gather(graph, kernels, runs_of(model, feeds)) for name in names}


CASES = {
    "1x1": (node("Conv", ["x", "w"], ["y"]), (1, 6, 5, 4), (4, 6, 1, 1)),
    "padded 3x3": (node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), (1, 4, 5, 4), (3, 4, 3, 3)),
    "two pictures": (node("Conv", ["x", "w"], ["y"], pads=[1, 0, 1, 0]), (2, 3, 5, 4), (3, 3, 3, 3)),
    "depthwise": (node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 0, 0]), (1, 4, 6, 5), (4, 1, 3, 3)),
    "depthwise, two each": (node("Conv", ["x", "w"], ["y"], group=3, strides=[2, 1]), (1, 3, 6, 5), (6, 1, 3, 2)),
    "grouped": (node("Conv", ["x", "w"], ["y"], group=2), (1, 6, 5, 5), (8, 3, 2, 2)),
    "dilated, strided": (
        node("Conv", ["x", "w"], ["y"], dilations=[2, 1], strides=[1, 2], pads=[2, 0, 1, 1]),
        (1, 3, 7, 6),
        (2, 3, 3, 2),
    ),
    "same": (node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 2]), (1, 3, 7, 6), (2, 3, 3, 3)),
    "1-D": (node("Conv", ["x", "w"], ["y"], pads=[2, 1]), (1, 3, 9), (2, 3, 4)),
    "3-D": (node("Conv", ["x", "w"], ["y"], pads=[0, 1, 0, 0, 1, 0]), (1, 2, 3, 4, 3), (2, 2, 2, 3, 2)),
    "transposed": (
        node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 0, 0, 1]),
        (1, 4, 3, 4),
        (4, 3, 3, 2),
    ),
    "transposed, grouped": (
        node("ConvTranspose", ["x", "w"], ["y"], group=2, strides=[2, 1], output_padding=[1, 0], dilations=[1, 2]),
        (1, 4, 3, 4),
        (4, 3, 2, 2),
    ),
    "Gemm": (node("Gemm", ["x", "w"], ["y"]), (3, 8), (8, 5)),
    "Gemm, transposed": (node("Gemm", ["x", "w"], ["y"], transB=1), (3, 8), (5, 8)),
    "MatMul": (node("MatMul", ["x", "w"], ["y"]), (2, 6, 8), (8, 5)),
    "MatMul from the left": (node("MatMul", ["w", "x"], ["y"]), (2, 8, 6), (5, 8)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_predicted_output_error_is_the_measured_one(name):
    """E[(E . x)^2] from the moments, for an arbitrary change E of the weights, against running the changed layer."""
    op, shape, weight_shape = CASES[name]
    feeds, change = normal_feeds(shape), weights(*weight_shape)
    model = network([op], {"x": shape}, ["y"], {"w": change})
    outputs = np.stack([Reference(model.SerializeToString()).run(*feed)["y"] for feed in feeds]).astype(np.float64)
    last = name.startswith(("Gemm", "MatMul")) and name != "MatMul from the left"
    channel = outputs.ndim - 1 if last else 2
    axes = tuple(i for i in range(outputs.ndim) if i != channel)
    (moments,) = moments_of(model, feeds).values()
    rows = rows_of(op, 0 if name == "MatMul from the left" else 1, change).astype(np.float64)
    power = np.einsum("gmi,gij,gmj->gm", rows, moments.products(), rows).reshape(-1)
    np.testing.assert_allclose(power, (outputs**2).mean(axis=axes), rtol=1e-5)
    np.testing.assert_allclose(np.einsum("gmk,gk->gm", rows, moments.mean).reshape(-1), outputs.mean(axes), atol=1e-5)
    assert moments.runs == 3


@pytest.mark.parametrize("name", CASES)
def test_weights_come_back_from_their_rows(name):
    op, _, shape = CASES[name]
    w, operand = weights(*shape), int(op.input[0] == "x")
    assert np.array_equal(from_rows(op, operand, rows_of(op, operand, w), shape), w)


@given(
    st.sampled_from(["Conv", "ConvTranspose"]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 1)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.integers(1, 2),
)
def test_patches_times_rows_is_the_layer(op_type, kernel, strides, pads, dilations, group):
    shape, weight_shape = (2, 4, 6, 7), (4, 4 // group if op_type == "Conv" else 3, *kernel)
    op = node(op_type, ["x", "w"], ["y"], strides=strides, pads=pads, dilations=dilations, group=group)
    w, x = weights(*weight_shape), weights(*shape)
    expected = Reference(network([op], {"x": shape}, ["y"], {"w": w}).SerializeToString()).run({"x": x})["y"]
    patches = Patches.of(op, 1, weight_shape, shape)
    cut = patches.cut(x, np.arange(patches.positions))
    found = cut @ rows_of(op, 1, w).swapaxes(1, 2)  # [G, P, M / G]
    by_channel = np.moveaxis(expected, 1, 0).reshape(group, -1, found.shape[1]).swapaxes(1, 2)
    np.testing.assert_allclose(found, by_channel, atol=1e-5)


def test_moments_are_rescaled_as_if_the_input_had_been():
    op, factors = node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], group=2), np.array([0.5, 3, 7, 1e-3])
    model = network([op], {"x": [1, 4, 5, 4]}, ["y"], {"w": weights(6, 2, 3, 3)})
    feeds = normal_feeds((1, 4, 5, 4))
    divided = [
        [{"x": (step["x"] / factors.reshape(1, -1, 1, 1)).astype(np.float32)} for step in steps] for steps in feeds
    ]
    (before,), (after,) = moments_of(model, feeds).values(), moments_of(model, divided).values()
    scale = np.sqrt(np.einsum("gkk->gk", after.covariance))
    tolerance = scale[:, :, None] * scale[:, None, :] * 1e-5
    assert (np.abs(before.rescaled(factors).covariance - after.covariance) <= tolerance).all()
    np.testing.assert_allclose(before.rescaled(factors).mean, after.mean, rtol=1e-5)


def test_a_small_variance_on_a_large_mean_is_not_lost():
    x = (1000 + 0.01 * RNG.normal(size=(64, 4))).astype(np.float32)
    model = network([node("Gemm", ["x", "w"], ["y"])], {"x": [64, 4]}, ["y"], {"w": weights(4, 2)})
    (moments,) = moments_of(model, [[{"x": x}]]).values()
    np.testing.assert_allclose(moments.covariance[0], np.cov(x.astype(np.float64).T, bias=True), rtol=0.01, atol=1e-6)


def test_kernels_that_see_the_same_patches_share_their_moments():
    nodes = [
        node("MatMul", ["x", "q"], ["a"], "query"),
        node("MatMul", ["x", "k"], ["b"], "key"),
        node("Conv", ["z", "v"], ["c"], "conv"),
        node("Conv", ["z", "v"], ["d"], "strided", strides=[2, 2]),
    ]
    constants = {"q": weights(8, 5), "k": weights(8, 3), "v": weights(4, 2, 3, 3)}
    model = network(nodes, {"x": [4, 8], "z": [1, 2, 7, 7]}, ["a", "b", "c", "d"], constants)
    graph = Graph(model)
    runs = runs_of(model, [[{"x": weights(4, 8), "z": weights(1, 2, 7, 7)}] for _ in range(2)])
    found = [names for names, _ in gather(graph, place(graph, "islands").kernels.values(), runs)]
    assert found == [["query", "key"], ["conv"], ["strided"]]


def test_equal_runs_give_equal_bytes_and_no_more_patches_than_asked_for(monkeypatch):
    monkeypatch.setattr("edgec.quantization.second_moments.PATCHES", 30)
    op = node("Conv", ["x", "w"], ["y"])
    model = network([op], {"x": [1, 4, 12, 12]}, ["y"], {"w": weights(3, 4, 3, 3)})
    feeds = normal_feeds((1, 4, 12, 12))
    (first,), (second,) = moments_of(model, feeds).values(), moments_of(model, feeds).values()
    assert first.count == 30
    assert first.covariance.tobytes() == second.covariance.tobytes()


def test_what_does_not_fit_into_memory_at_once_is_done_in_parts(monkeypatch):
    def chain():
        nodes = [node("Conv", [f"t{i}", f"w{i}"], [f"t{i + 1}"], pads=[1, 1, 1, 1]) for i in range(4)]
        return network(nodes, {"t0": [1, 4, 6, 6]}, ["t4"], {f"w{i}": weights(4, 4, 3, 3) for i in range(4)})

    model = chain()
    feeds = [[{"t0": weights(1, 4, 6, 6)}] for _ in range(2)]
    whole = moments_of(model, feeds)
    monkeypatch.setattr("edgec.quantization.second_moments._MOST_BYTES", 1)
    parts = moments_of(model, feeds)
    assert list(parts) == list(whole) and len(whole) == 4
    for name, moments in whole.items():
        np.testing.assert_allclose(parts[name].covariance, moments.covariance, rtol=1e-5, atol=1e-6)


def test_kernels_without_moments_say_why():
    wide = np.zeros((MOST_INPUTS + 1, 1), np.float32)
    nodes = [
        node("MatMul", ["x", "wide"], ["a"], "wide"),
        node("MatMul", ["y", "z"], ["b"], "activations"),
        node("MatMul", ["z", "batch"], ["c"], "batch"),
        node("MatMul", ["z", "fine"], ["d"], "fine"),
    ]
    model = network(
        nodes,
        {"x": [1, MOST_INPUTS + 1], "y": [2, 3, 4], "z": [2, 4, 5]},
        ["a", "b", "c", "d"],
        {"wide": wide, "batch": weights(2, 5, 3), "fine": weights(5, 2)},
    )
    graph = Graph(model)
    reasons = {name: objection(graph, kernel) for name, kernel in place(graph, "islands").kernels.items()}
    assert "4609 products" in reasons["wide"]
    assert "two activations" in reasons["activations"]
    assert "not matrices" in reasons["batch"]
    assert reasons["fine"] is None


def test_a_recurrent_model_is_seen_in_the_states_that_it_gets_into():
    """The state counts steps: a layer that reads it sees 0, 1, 2, ... and not the zeros that a sample begins with."""
    nodes = [node("Add", ["s", "x"], ["s_next"]), node("MatMul", ["s", "w"], ["y"], "reads the state")]
    model = network(nodes, {"x": [1, 1], "s": [1, 1]}, ["y", "s_next"], {"w": weights(1, 2)})
    feeds = [[{"x": np.ones((1, 1), np.float32)}] * 5, [{"x": np.ones((1, 1), np.float32)}] * 3]
    graph = Graph(model)
    runs = runs_of(model, feeds, {"s_next": "s"})
    ((_, moments),) = gather(graph, place(graph, "islands").kernels.values(), runs)
    seen = [*range(5), *range(3)]
    assert moments.runs == len(runs) == 8
    assert moments.mean.item() == pytest.approx(np.mean(seen))
    assert moments.covariance.item() == pytest.approx(np.var(seen))


def test_tensors_come_out_as_the_model_computes_them():
    nodes = [node("Relu", ["x"], ["r"]), node("Neg", ["r"], ["y"]), node("Abs", ["x"], ["z"])]
    model = network(nodes, {"x": [2, 3]}, ["y", "z"])
    feeds = normal_feeds((2, 3))
    for values, (feed,) in itertools.zip_longest(runs_of(model, feeds).values(["r", "x"]), feeds):
        assert np.array_equal(values["r"], np.maximum(feed["x"], 0)) and np.array_equal(values["x"], feed["x"])
    with pytest.raises(ValueError, match="nowhere"):
        next(runs_of(model, feeds).values(["nowhere"]))
