"""Where readers saturate, and only there, a range may be cut."""

import math

import numpy as np
import pytest
from onnx import helper

from edgec.onnx_graph.canonicalization import canonical
from edgec.onnx_graph.graph import Graph
from edgec.quantization.placement import place
from edgec.quantization.qparams import affine, on_grid
from edgec.quantization.scales import choose_scales
from edgec.quantization.useful_range import useful_range
from edgec.reference import Reference
from tests.quantization.tiny import network, node, random_feeds, statistics_of

X = {"x": [1, 4, 8, 8]}
W = {"w": np.ones((4, 4, 1, 1), np.float32)}
INF = math.inf


def useful(nodes, outputs, constants=(), opset=17, profile="strict", tensor="c"):
    """The useful range of what a Conv puts out, when `nodes` read it."""
    conv = node("Conv", ["x", "w"], ["c"], "conv")
    graph = Graph(canonical(network([conv, *nodes], X, outputs, {**W, **dict(constants)}, opset=opset)).model)
    return useful_range(graph, place(graph, profile), tensor)


def limits(low, high):
    return {"lo": np.float32(low), "hi": np.float32(high)}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("HardSwish", ["c"], ["y"])], (-3, INF)),
        ([node("HardSigmoid", ["c"], ["y"], alpha=0.25, beta=0.5)], (-2, 2)),
        ([node("Sigmoid", ["c"], ["y"])], (-7, 7)),
        ([node("Tanh", ["c"], ["y"])], (-4, 4)),
        ([node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["y"])], (-9, INF)),
        ([node("HardSigmoid", ["c"], ["s"], alpha=0.25), node("Mul", ["s", "c"], ["y"])], (-2, INF)),
        ([node("Reshape", ["c", "shape"], ["r"]), node("HardSwish", ["r"], ["y"])], (-3, INF)),
        ([node("MaxPool", ["c"], ["r"], kernel_shape=[2, 2]), node("Sigmoid", ["r"], ["y"])], (-7, 7)),
        ([node("Tanh", ["c"], ["a"]), node("HardSwish", ["c"], ["b"]), node("Add", ["a", "b"], ["y"])], (-4, INF)),
        # ... and here there is none:
        ([node("LeakyRelu", ["c"], ["y"])], None),
        ([node("Sigmoid", ["c"], ["a"]), node("Add", ["a", "c"], ["y"])], None),
        ([node("Sigmoid", ["c"], ["s"]), node("Sub", ["c", "s"], ["y"])], None),
        ([node("AveragePool", ["c"], ["r"], kernel_shape=[2, 2]), node("Sigmoid", ["r"], ["y"])], None),
        ([node("Mul", ["c", "c"], ["y"])], None),
    ],
)  # fmt: skip
def test_readers(nodes, expected):
    assert useful(nodes, ["y"], {"shape": np.array([1, -1])}) == expected


FACTORS = np.array([1, 2, 4, 0.5], np.float32).reshape(1, 4, 1, 1)


def behind_factors(op="HardSwish", by=FACTORS, statistics=None, profile="closed-islands"):
    """The useful range of what a Conv puts out, when a node reads it behind a Mul by constants."""
    nodes = [node(*item) for item in (("Conv", ["x", "w"], ["c"]), ("Mul", ["c", "by"], ["m"]), (op, ["m"], ["y"]))]
    graph = Graph(network(nodes, X, ["y"], {**W, "by": by}))
    return useful_range(graph, place(graph, profile), "c", statistics)


@pytest.mark.parametrize(
    ("op", "by", "expected"),
    [
        ("HardSwish", np.float32(2), (-1.5, INF)),
        ("HardSwish", FACTORS, (-6, INF)),
        ("Sigmoid", FACTORS, (-14, 14)),
        ("HardSwish", -FACTORS, None),
        ("HardSwish", np.ones((1, 4, 8, 1), np.float32), None),
        ("LeakyRelu", FACTORS, None),
    ],
)  # fmt: skip
def test_behind_a_mul_that_computes_in_float(op, by, expected):
    assert behind_factors(op, by) == expected


def test_a_mul_in_int8_rounds_all_values():
    assert behind_factors(profile="strict") is None


def test_a_channel_needs_no_more_room_than_it_reaches():
    """The channel whose factor is 0.5 would tell values apart down to -6, but has none below -1."""
    model = network([node("Identity", ["x"], ["y"])], X, ["y"])
    low = np.array([-20, -20, -20, -1], np.float32).reshape(1, 4, 1, 1)
    known = statistics_of(model, [{"x": np.broadcast_to(low, (1, 4, 8, 8)).astype(np.float32)}])["x"]
    assert known.channel_axis == 1
    assert behind_factors(statistics=known) == (-3, INF)
    assert behind_factors("Sigmoid", statistics=known) == (-7, pytest.approx(-1))


def test_gelu():
    assert useful([node("Gelu", ["c"], ["y"])], ["y"], opset=20) == (-3.5, INF)


def test_a_value_that_leaves_the_graph_is_whole():
    assert useful([node("Sigmoid", ["c"], ["y"])], ["y", "c"]) is None


def test_a_value_that_leaves_the_graph_under_another_name_is_whole():
    nodes = [node("Reshape", ["c", "shape"], ["z"]), node("Sigmoid", ["z"], ["y"])]
    assert useful(nodes, ["y", "z"], {"shape": np.array([1, -1])}) is None


def test_a_value_that_the_body_of_an_if_reads_is_whole():
    value = helper.make_tensor_value_info("t", 1, None)
    body = helper.make_graph([node("Abs", ["c"], ["t"])], "body", [], [value])
    nodes = [node("Sigmoid", ["c"], ["s"]), node("If", ["flag"], ["y"], then_branch=body, else_branch=body)]
    assert useful(nodes, ["y", "s"], {"flag": np.array(True)}) is None


def test_in_islands_only_int8_readers_count():
    nodes = [node("Sigmoid", ["c"], ["s"]), node("Conv", ["s", "w"], ["y"])]
    conv = node("Conv", ["x", "w"], ["c"], "conv")
    graph = Graph(network([conv, *nodes], X, ["y"], W))
    placement = place(graph, "islands")
    assert set(placement.slots) == {"x", "s"}, "the first Conv's result stays in float"
    assert useful_range(graph, placement, "s") is None


@pytest.mark.parametrize(
    ("op", "half_a_step"), [("Sigmoid", 1 / 512), ("Tanh", 1 / 256), ("HardSwish", 1e-6), ("Gelu", 2e-3)]
)
def test_beyond_the_useful_range_the_output_stays_within_half_a_step(op, half_a_step):
    low, high = useful([node(op, ["c"], ["y"])], ["y"], opset=20)
    model = network([node(op, ["x"], ["y"])], {"x": [1000]}, ["y"], opset=20)
    run = Reference(model.SerializeToString()).run
    x = np.linspace(-60, 60, 1000).astype(np.float32)
    change = run({"x": x})["y"] - run({"x": np.clip(x, low, high).astype(np.float32)})["y"]
    assert np.abs(change).max() <= half_a_step


def test_clipping_pays_where_it_should():
    nodes = [node("Conv", ["x", "w"], ["c"]), node("HardSwish", ["c"], ["y"])]
    model = network(nodes, X, ["y"], {"w": np.full((4, 4, 1, 1), 20, np.float32)})
    feeds = random_feeds(model)
    statistics = statistics_of(model, feeds)
    graph = Graph(canonical(model).model)
    placement = place(graph, "strict")
    whole = choose_scales(graph, placement, statistics, "minmax", clip=False)
    cut = choose_scales(graph, placement, statistics, "minmax", clip=True)
    assert cut.clipped == ("c",) and whole.clipped == ()
    assert cut.slots["c"].low == pytest.approx(-3, abs=cut.slots["c"].scale)
    assert cut.slots["c"].scale < whole.slots["c"].scale * 0.7
    assert affine(-3, statistics["c"].maximum) == cut.slots["c"]
    assert on_grid(np.float32(-50), cut.slots["c"]) == pytest.approx(cut.slots["c"].low)
