"""Placement: what computes in INT8, what shares a scale, and why the rest does not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgec.onnx_graph.canonicalization import canonical
from edgec.onnx_graph.graph import Graph
from edgec.quantization.emit import emit
from edgec.quantization.placement import place
from edgec.quantization.qparams import QParams
from edgec.quantization.rules import PROBABILITY, RULES
from edgec.quantization.scales import choose_scales, unlike_ranges
from edgec.quantization.ties import Ties
from edgec.reference import Reference
from tests.quantization.tiny import network, node, random_feeds, statistics_of

RNG = np.random.default_rng(5)
X = {"x": [1, 4, 8, 8]}
F = np.float32
W = {"w": RNG.normal(size=(4, 4, 3, 3)).astype(F)}


def conv(source="x", target="c", w="w", name="conv", **attributes):
    return node("Conv", [source, w], [target], name, kernel_shape=[3, 3], pads=[1, 1, 1, 1], **attributes)


def placed(nodes, outputs, constants=None, profile="strict", keep_float=None, inputs=None, **kwargs):
    model = network(nodes, inputs or X, outputs, {**W, **(constants or {})}, **kwargs)
    graph = Graph(canonical(model).model)
    return graph, place(graph, profile, keep_float)


def runs(nodes, outputs, constants=None, profile="strict", keep_float=None, inputs=None, **kwargs):
    """Place, choose scales, emit and run; returns (placement, scales, statistics, graph, model)."""
    model = network(nodes, inputs or X, outputs, {**W, **(constants or {})}, **kwargs)
    feeds = random_feeds(model)
    statistics = statistics_of(model, feeds)
    graph = Graph(canonical(model).model)
    placement = place(graph, profile, keep_float, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax")
    emitted = emit(graph, placement, scales.slots, statistics)
    onnx.checker.check_model(emitted.model, full_check=True)
    for value in Reference(emitted.model.SerializeToString(), "none").run(feeds[0]).values():
        assert np.isfinite(value).all()
    return placement, scales, statistics, graph, emitted.model


# --- kernels ---


def test_ties_are_a_partition():
    ties = Ties()
    ties.tie(["a", "b"])
    ties.tie(["c", "d"])
    assert ties.root("a") == ties.root("b") != ties.root("c") == ties.root("d")
    ties.tie(["d", "a"])
    assert len({ties.root(item) for item in "abcd"}) == 1
    assert ties.root("e") == "e"


def test_a_kernel_ends_behind_its_activation():
    _, placement = placed([conv(), node("Relu", ["c"], ["r"], "relu"), conv("r", "y", name="second")], ["y"])
    assert [member.name for member in placement.kernels["conv"].nodes] == ["conv", "relu"]
    assert list(placement.slots) == ["x", "r", "y"]


def test_an_activation_that_is_not_the_only_reader_is_a_kernel_of_its_own():
    nodes = [conv(), node("Relu", ["c"], ["r"], "relu"), node("Add", ["c", "r"], ["y"])]
    _, placement = placed(nodes, ["y"])
    assert placement.kernels["conv"].activation is None
    assert set(placement.slots) == {"x", "c", "r", "y"}


def test_a_matmul_takes_its_bias_and_its_activation():
    constants = {"v": RNG.normal(size=(8, 5)).astype(F), "b": np.ones((1, 5), F)}
    nodes = [
        node("MatMul", ["x", "v"], ["m"], "m"),
        node("Add", ["m", "b"], ["a"], "b"),
        node("Relu", ["a"], ["y"], "r"),
    ]
    _, placement = placed(nodes, ["y"], constants, inputs={"x": [2, 3, 8]})
    assert [member.name for member in placement.kernels["m"].nodes] == ["m", "b", "r"]


def test_an_add_that_is_no_bias_stays_an_add():
    constants = {"v": RNG.normal(size=(8, 5)).astype(F), "b": np.ones((3, 5), F)}
    nodes = [node("MatMul", ["x", "v"], ["m"], "m"), node("Add", ["m", "b"], ["y"], "add")]
    _, placement = placed(nodes, ["y"], constants, inputs={"x": [2, 3, 8]})
    assert placement.kernels["m"].bias_add is None
    assert "add" in placement.kernels


# --- float nodes and their reasons ---

LSTM = {"lw": RNG.normal(size=(1, 16, 8)).astype(F), "lr": RNG.normal(size=(1, 16, 4)).astype(F)}
SEQUENCE = {"x": [2, 1, 8]}
FLOAT_NODES = {
    "LSTM": ([node("LSTM", ["x", "lw", "lr"], ["y"], "n", hidden_size=4)], LSTM, SEQUENCE),
    "GRU": (
        [node("GRU", ["x", "gw", "gr"], ["y"], "n", hidden_size=4)],
        {"gw": RNG.normal(size=(1, 12, 8)).astype(F), "gr": RNG.normal(size=(1, 12, 4)).astype(F)},
        SEQUENCE,
    ),
    "Einsum": ([node("Einsum", ["x", "x"], ["y"], "n", equation="abc,abd->acd")], {}, SEQUENCE),
    "Erf": ([node("Erf", ["x"], ["y"], "n")], {}, SEQUENCE),
    "Div": ([node("Exp", ["x"], ["e"]), node("Div", ["x", "e"], ["y"], "n")], {}, SEQUENCE),
    "LayerNormalization": (
        [node("LayerNormalization", ["x", "s"], ["y"], "n", axis=-1)],
        {"s": np.ones(8, F)},
        SEQUENCE,
    ),
}


@pytest.mark.parametrize("op", FLOAT_NODES)
def test_ops_without_a_rule_are_named_with_the_reason(op):
    nodes, constants, inputs = FLOAT_NODES[op]
    nodes = [*nodes, node("MatMul", ["y", "v"], ["z"], "after")]
    width = network(nodes[:-1], inputs, ["y"], constants).graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    constants = {**constants, "v": RNG.normal(size=(width, 3)).astype(F)}
    placement, *_ = runs(nodes, ["z"], constants, inputs=inputs)
    assert op in placement.float_nodes["n"]
    assert "after" in placement.kernels


def test_several_outputs_of_a_float_node():
    nodes = [conv(), node("TopK", ["c", "k"], ["v", "i"], "topk", axis=1), node("Relu", ["v"], ["y"])]
    placement, *_ = runs(nodes, ["y", "i"], {"k": np.array([2])}, dtypes={"i": TensorProto.INT64})
    assert "TopK" in placement.float_nodes["topk"]


def test_boxes_and_scores_into_nonmaxsuppression_stay_float():
    constants = {"b": RNG.random((1, 6, 4)).astype(F), "most": np.array([3])}
    nodes = [
        node("MatMul", ["x", "v"], ["s"]),
        node("NonMaxSuppression", ["b", "s", "most"], ["y"], "nms"),
    ]
    constants["v"] = RNG.normal(size=(8, 6)).astype(F)
    placement, *_ = runs(nodes, ["y"], constants, inputs={"x": [1, 2, 8]}, dtypes={"y": TensorProto.INT64})
    assert "NonMaxSuppression" in placement.float_nodes["nms"]


def test_an_op_of_a_foreign_domain_is_named():
    nodes = [conv(), node("Frobnicate", ["c"], ["f"], "f", domain="org.example"), node("Relu", ["f"], ["y"], "r")]
    _, placement = placed(nodes, ["y"], shapes={"y": [1, 4, 8, 8]})
    assert "org.example" in placement.float_nodes["f"]


def test_a_loop_is_left_alone():
    body = helper.make_graph(
        [node("Add", ["state", "c"], ["next"], "inner"), node("Identity", ["going"], ["still"], "go")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 4, 8, 8]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 4, 8, 8]),
        ],
    )
    nodes = [
        conv(),
        node("Loop", ["n", "yes", "x"], ["l"], "loop", body=body),
        node("Relu", ["c"], ["z"]),
        node("Add", ["l", "x"], ["y"]),
    ]
    constants = {"n": np.array(3), "yes": np.array(True)}
    placement, _, _, _, model = runs(nodes, ["y", "z"], constants, shapes={"y": [1, 4, 8, 8]})
    assert "Loop" in placement.float_nodes["loop"]
    (loop,) = [n for n in model.graph.node if n.op_type == "Loop"]
    assert loop.attribute[0].g == body, "its body is as it was"


def test_weights_that_are_computed_stay_float():
    nodes = [
        node("Conv", ["x", "weights"], ["c"], "conv"),
        node("Relu", ["c"], ["r"], "relu"),
        conv("r", "y", name="second"),
    ]
    _, placement = placed(nodes, ["y"], inputs={**X, "weights": [4, 4, 1, 1]})
    assert "run time" in placement.float_nodes["conv"]
    assert "conv" in placement.float_nodes["relu"], "rounding between the two would lose a bit"
    assert "second" in placement.kernels


def test_values_that_are_not_float32_are_not_touched():
    nodes = [conv(), node("Cast", ["x"], ["d"], "cast", to=TensorProto.DOUBLE), node("Relu", ["d"], ["z"], "double")]
    placement, *_ = runs(nodes, ["c", "z"], dtypes={"z": TensorProto.DOUBLE})
    assert "float32" in placement.float_nodes["double"]
    assert "z" not in placement.slots


def test_integers_and_shapes_pass_unnoticed():
    nodes = [
        conv(),
        node("Shape", ["c"], ["s"], "shape"),
        node("Add", ["s", "s"], ["t"], "integers"),
    ]
    placement, *_ = runs(nodes, ["c", "t"], dtypes={"t": TensorProto.INT64})
    assert placement.float_nodes == {}


def test_empty_tensors_stay_float():
    nodes = [conv(), node("Slice", ["c", "one", "one"], ["e"], "slice"), node("Relu", ["e"], ["y"], "relu")]
    placement, *_ = runs(nodes, ["y", "c"], {"one": np.array([0])})
    assert "empty" in placement.float_nodes["slice"]
    assert "empty" in placement.float_nodes["relu"]


def test_scalars_are_tensors_too():
    nodes = [conv(), node("ReduceMean", ["c"], ["m"], keepdims=0), node("Mul", ["m", "k"], ["y"])]
    placement, scales, *_ = runs(nodes, ["y"], {"k": F(0.5)})
    assert not placement.float_nodes
    assert {"m", "y"} <= set(scales.slots)


@pytest.mark.parametrize("name", ["conv", "relu"])
def test_keep_float_keeps_the_whole_kernel(name):
    nodes = [conv(), node("Relu", ["c"], ["r"], "relu"), conv("r", "y", name="second")]
    placement, *_ = runs(nodes, ["y"], keep_float={name: "because"})
    assert placement.float_nodes[name] == "because"
    assert set(placement.float_nodes) == {"conv", "relu"}
    assert "second" in placement.kernels


def test_a_tensor_that_calibration_did_not_see_keeps_its_readers_in_float():
    model = network([conv(), conv("c", "y", name="second")], X, ["y"], W)
    graph = Graph(model)
    placement = place(graph, "strict", observed={"c", "y"})
    assert "'x'" in placement.float_nodes["conv"]
    assert "second" in placement.kernels


def test_int8_without_macs_nearby_buys_nothing():
    nodes = [
        node("Exp", ["x"], ["e"]),
        node("Mul", ["e", "k"], ["m"], "mul"),
        node("Exp", ["m"], ["f"]),
        conv("f", "y"),
    ]
    _, placement = placed(nodes, ["y"], {"k": F(0.5)})
    assert "mul" in placement.float_nodes
    assert "conv" in placement.kernels


def test_an_output_that_passes_an_input_on_stays_exact():
    nodes = [
        conv(),
        node("Reshape", ["x", "shape"], ["flat"], "flatten"),
        node("Transpose", ["flat"], ["y"], "turn", perm=[1, 0]),
        node("Identity", ["x"], ["same"], "same"),
    ]
    placement, _, _, _, model = runs(nodes, ["c", "y", "same"], {"shape": np.array([4, -1])})
    assert set(placement.kernels) == {"conv"}
    assert {"flatten", "turn"} <= placement.float_nodes.keys()
    (feed,) = random_feeds(model, 1)
    outputs = Reference(model.SerializeToString(), "none").run(feed)
    assert np.array_equal(outputs["y"], feed["x"].reshape(4, -1).T)
    assert np.array_equal(outputs["same"], feed["x"])


def test_what_moves_values_beside_arithmetic_stays_in_int8():
    nodes = [
        node("Transpose", ["x"], ["t"], "before", perm=[0, 1, 3, 2]),
        conv("t"),
        node("Transpose", ["c"], ["y"], "behind", perm=[0, 1, 3, 2]),
        node("Reshape", ["t", "shape"], ["z"], "aside"),
    ]
    placement, *_ = runs(nodes, ["y", "z"], {"shape": np.array([1, -1])})
    assert set(placement.kernels) == {"before", "conv", "behind"}


# --- scales ---


def test_fixed_scales_are_those_of_the_tflite_specification():
    prescribed = {op: rule.output for op, rule in RULES.items() if rule.output is not None}
    assert prescribed["Sigmoid"] == prescribed["Softmax"] == QParams(1 / 256, -128) == PROBABILITY
    assert prescribed["LogSoftmax"] == QParams(16 / 256, 127)
    assert prescribed["Tanh"] == QParams(1 / 128, 0)


def test_a_fixed_scale_passes_through_what_only_moves_values():
    nodes = [conv(), node("Sigmoid", ["c"], ["s"]), node("Reshape", ["s", "shape"], ["y"])]
    _, scales, *_ = runs(nodes, ["y"], {"shape": np.array([1, -1])})
    assert scales.slots["s"] == scales.slots["y"] == PROBABILITY


def test_a_fixed_scale_that_a_concat_cannot_share_is_rescaled_at_its_edge():
    nodes = [conv(), node("Sigmoid", ["c"], ["s"]), node("Concat", ["s", "c"], ["y"], "cat", axis=1)]
    placement, scales, *_ = runs(nodes, ["y"])
    own = placement.reads["cat", 0]
    assert own != "s"
    assert scales.slots["s"] == PROBABILITY
    assert scales.slots[own] == scales.slots["y"] == scales.slots["c"] != PROBABILITY


def test_equal_fixed_scales_stay_fixed_over_a_concat():
    nodes = [
        conv(),
        node("Sigmoid", ["c"], ["s"]),
        node("Softmax", ["c"], ["t"]),
        node("Concat", ["s", "t"], ["y"], axis=1),
    ]
    _, scales, *_ = runs(nodes, ["y"])
    assert scales.slots["s"] == scales.slots["t"] == scales.slots["y"] == PROBABILITY


def test_ties_reach_over_chains_and_take_in_all_values():
    nodes = [
        conv(),
        node("Concat", ["c", "x"], ["k"], axis=1),
        node("MaxPool", ["k"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", ["p"], ["y"], perm=[0, 2, 3, 1]),
    ]
    placement, scales, statistics, *_ = runs(nodes, ["y"])
    assert len({placement.ties.root(name) for name in ("x", "c", "k", "p", "y")}) == 1
    low = min(statistics["c"].minimum, statistics["x"].minimum)
    high = max(statistics["c"].maximum, statistics["x"].maximum)
    assert scales.slots["y"].low == pytest.approx(low, abs=scales.slots["y"].scale)
    assert scales.slots["y"].high == pytest.approx(high, abs=scales.slots["y"].scale)


def test_tied_constants_fit_into_the_shared_range():
    nodes = [conv(), node("Concat", ["c", "k"], ["y"], axis=1)]
    _, scales, *_ = runs(nodes, ["y"], {"k": np.full((1, 1, 8, 8), 300, F)})
    assert scales.slots["c"].high == pytest.approx(300, abs=scales.slots["c"].scale)


def test_a_concat_of_unlike_ranges_is_named():
    nodes = [conv(), node("Mul", ["c", "big"], ["boxes"]), node("Concat", ["boxes", "c"], ["y"], "head", axis=1)]
    placement, _, statistics, graph, _ = runs(nodes, ["y", "c"], {"big": np.full((1, 1, 8, 8), 300, F)})
    ((name, wide, narrow, ratio),) = unlike_ranges(graph, placement, statistics)
    assert (name, wide, narrow) == ("head", "boxes", "c")
    assert ratio == pytest.approx(300, rel=0.01)


# --- islands ---


def test_islands_hold_macs_and_what_moves_values_between_them():
    nodes = [
        conv(),
        node("Relu", ["c"], ["r"], "relu"),
        node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[1, 1]),
        conv("p", "d", name="second"),
        node("HardSwish", ["d"], ["h"], "swish"),
        node("Transpose", ["h"], ["t"], "transpose", perm=[0, 1, 3, 2]),
        conv("t", "e", name="third"),
        node("Softmax", ["e"], ["y"], "softmax"),
    ]
    placement, *_ = runs(nodes, ["y"], profile="islands")
    assert set(placement.kernels) == {"conv", "pool", "second", "transpose", "third"}
    assert set(placement.slots) == {"x", "r", "p", "h", "t"}, "d and e are read in float"
    assert placement.float_nodes.keys() == {"swish", "softmax"}


def test_in_islands_a_float_reader_reads_the_float_value():
    nodes = [conv(), conv("c", "d", name="second"), node("Add", ["c", "d"], ["y"], "add")]
    *_, model = runs(nodes, ["y"], profile="islands")
    (add,) = [n for n in model.graph.node if n.op_type == "Add"]
    assert list(add.input) == ["c", "d"]


def test_in_strict_a_float_reader_reads_what_the_integers_stand_for():
    nodes = [conv(), node("Erf", ["c"], ["y"], "erf")]
    *_, model = runs(nodes, ["y"])
    (erf,) = [n for n in model.graph.node if n.op_type == "Erf"]
    assert list(erf.input) == ["c_dequantized"]


def test_in_islands_what_moves_values_to_a_float_reader_stays_float():
    nodes = [conv(), node("Reshape", ["c", "shape"], ["y"], "reshape")]
    placement, *_ = runs(nodes, ["y"], {"shape": np.array([1, -1])}, profile="islands")
    assert "reshape" in placement.float_nodes


def test_closed_islands_are_islands_whose_sums_are_rounded_too():
    nodes = [conv(), node("Sigmoid", ["c"], ["gate"], "gate"), node("Mul", ["c", "gate"], ["y"], "product")]
    _, islands = placed(nodes, ["y"], profile="islands")
    _, closed = placed(nodes, ["y"], profile="closed-islands")
    assert list(islands.kernels) == list(closed.kernels) == ["conv"]
    assert islands.integer == set() and closed.integer == {"c"}
    assert set(islands.slots) == {"x"} and set(closed.slots) == {"x", "c"}
