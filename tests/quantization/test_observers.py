"""Which tensors are observed, and that what the probes find is what the activations hold."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgec.errors import CalibrationDataError
from edgec.onnx_graph.graph import Graph
from edgec.quantization import collector as collector_module
from edgec.quantization.collector import RUNS_WITH_MEANS, Collector
from edgec.quantization.expected_patch import expected_patch
from edgec.quantization.observers import choose_observed
from edgec.quantization.statistics import BINS
from edgec.reference import Reference
from tests.quantization.small_graphs import Builder, conv_net, with_all_outputs


def observed(model):
    return {tensor.name: tensor for tensor in choose_observed(Graph(model))}


def test_what_is_stored_is_observed_and_what_is_fused_away_is_not():
    found = observed(conv_net())
    assert list(found) == [
        "image", "stem_relu", "depthwise_clip", "project", "sum", "odd_relu", "pooled", "flat", "logits"
    ]  # fmt: skip
    assert found["flat"].alias_of is None  # a Gemm reads it: its means are wanted in its own layout
    assert found["depthwise_clip"].lower_bound == 0.0
    assert found["depthwise_clip"].upper_bound == 6.0
    assert found["stem_relu"].needs_profile
    assert not found["depthwise_clip"].needs_profile


def test_a_sum_with_a_second_reader_is_stored_before_its_relu():
    make = Builder()
    make.node("Add", ["x", "x"], "twice")
    make.node("Relu", ["twice"], "relu")
    make.node("Mul", ["relu", "twice"], "y")
    model = make.model({"x": ("float32", (1, 4))}, {"y": ("float32", (1, 4))})
    assert list(observed(model)) == ["x", "twice", "relu", "y"]


def test_shapes_constants_integers_and_unread_outputs_are_left_out():
    make = Builder()
    make.node("Shape", ["x"], "shape")
    make.node("Cast", ["shape"], "float_shape", to=TensorProto.FLOAT)
    make.node("ReduceProd", ["float_shape"], "size", keepdims=0)
    make.weight("table", np.ones((9, 4), np.float32))
    make.node("Gather", ["table", "ids"], "rows")
    make.node("Div", ["rows", "size"], "scaled")
    make.node("Add", ["scaled", "x"], "sum")
    make.nodes.append(helper.make_node("TopK", ["sum", "k"], ["best", "where"], "top"))
    make.weight("k", np.array([1], np.int64))
    model = make.model({"x": ("float32", (2, 4)), "ids": ("int64", (2,))}, {"where": ("int64", (2, 1))})
    assert list(observed(model)) == ["x", "rows", "scaled", "sum"]


def test_a_tensor_that_is_only_rearranged_is_measured_once():
    make = Builder()
    make.node("Transpose", ["x"], "turned", perm=[0, 2, 1])
    make.weight("shape", np.array([1, -1], np.int64))
    make.node("Reshape", ["turned", "shape"], "flat")
    make.node("Sigmoid", ["flat"], "y")
    model = make.model({"x": ("float32", (1, 4, 6))}, {"y": ("float32", (1, 24))})
    found = observed(model)
    assert (found["turned"].alias_of, found["flat"].alias_of) == ("x", "x")


def with_branches():
    """If picks one of two branches; both read `half` of the main graph."""

    def branch(op):
        node = helper.make_node(op, ["half", "x"], [f"{op}_result"])
        info = helper.make_tensor_value_info(f"{op}_result", TensorProto.FLOAT, (1, 4))
        return helper.make_graph([node], op, [], [info])

    make = Builder()
    make.weight("two", np.float32(2))
    make.node("Div", ["x", "two"], "half")
    make.nodes.append(
        helper.make_node("If", ["flag"], ["chosen"], "if", then_branch=branch("Add"), else_branch=branch("Sub"))
    )
    make.node("Relu", ["chosen"], "y")
    return make.model({"x": ("float32", (1, 4)), "flag": ("bool", ())}, {"y": ("float32", (1, 4))})


def test_a_branch_keeps_its_tensors_to_itself_but_its_result_is_observed():
    assert list(observed(with_branches())) == ["x", "half", "chosen", "y"]


def collected(model, samples, folder, runs=None):
    path = folder / "model.onnx"
    onnx.save(model, path)
    collector = Collector(path, len(samples) if runs is None else runs)
    for i, feeds in enumerate(samples):
        collector.run(feeds, f"sample {i}")
    return collector.finish()


def activations(model, samples, names):
    """Every named tensor on every sample, from a plain session: name to [samples, ...]."""
    reference = Reference(with_all_outputs(model, names).SerializeToString())
    runs = [{**feeds, **reference.run(feeds)} for feeds in samples]
    return {name: np.stack([run[name] for run in runs]) for name in names}


def images(count, shape=(1, 3, 24, 24), seed=0):
    random = np.random.default_rng(seed)
    return [{"image": (random.normal(size=shape) * random.uniform(0.5, 2)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("opset", [17, 18, 21])
@pytest.mark.parametrize("count", [5, RUNS_WITH_MEANS + 40])
def test_extremes_are_exact_over_every_element(count, opset, tmp_path):
    """The second count goes through the lean graph."""
    model, samples = conv_net(opset=opset), images(count)
    found = collected(model, samples, tmp_path)
    for name, values in activations(model, samples, list(found)).items():
        assert found[name].minimum == pytest.approx(values.min(), rel=1e-5, abs=1e-5), name
        assert found[name].maximum == pytest.approx(values.max(), rel=1e-5, abs=1e-5), name
        assert found[name].count == values.size
        assert found[name].steps == count
        per_channel = np.moveaxis(values, found[name].channel_axis + 1, 0).reshape(values.shape[2], -1)
        if found[name].maximum < 6:  # else the probe of the Clip may have gone
            np.testing.assert_allclose(found[name].channel_max, per_channel.max(axis=1), rtol=1e-5, atol=1e-5)


def test_a_late_extreme_is_seen_where_the_lean_graph_has_dropped_probes(tmp_path):
    samples = images(RUNS_WITH_MEANS + 40)
    samples[-1] = {"image": samples[-1]["image"] * 20}
    model = conv_net()
    found = collected(model, samples, tmp_path)
    for name, values in activations(model, samples, list(found)).items():
        assert found[name].minimum == pytest.approx(values.min(), rel=1e-5, abs=1e-5), name
        assert found[name].maximum == pytest.approx(values.max(), rel=1e-5, abs=1e-5), name


def test_histograms_of_small_tensors_are_complete_and_those_of_large_ones_are_like_the_whole(tmp_path):
    model, samples = conv_net(size=64), images(50, (1, 3, 64, 64))
    found = collected(model, samples, tmp_path)
    whole = activations(model, samples, list(found))
    assert found["logits"].histogram.sum() == whole["logits"].size
    for name, values in whole.items():
        bins = np.floor(values.reshape(-1).astype(np.float64) / found[name].bin_width).astype(int) + BINS // 2
        exact = np.cumsum(np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)) / values.size
        sampled = np.cumsum(found[name].histogram) / found[name].histogram.sum()
        assert np.abs(exact - sampled).max() < 0.05, name


@pytest.mark.parametrize("count", [8, 2 * RUNS_WITH_MEANS + 24])
def test_means_give_the_expected_patch_of_every_convolution(count, tmp_path):
    model, samples = conv_net(), images(count)
    found = collected(model, samples, tmp_path)
    whole = activations(model, samples, ["image", "stem_relu", "sum", "flat"])
    for name in ("image", "stem_relu", "sum"):
        values = whole[name][:RUNS_WITH_MEANS, 0].astype(np.float64)
        np.testing.assert_allclose(found[name].mean, values.mean(axis=(0, 2, 3)), atol=1e-4)
        np.testing.assert_allclose(found[name].axis_means[0], values.mean(axis=(0, 3)), atol=1e-4)
        np.testing.assert_allclose(found[name].axis_means[1], values.mean(axis=(0, 2)), atol=1e-4)
    np.testing.assert_allclose(
        expected_patch(found["flat"], "Gemm", {"transB": 1}, (5, 19)),
        whole["flat"][:RUNS_WITH_MEANS].mean(axis=(0, 1)),
        atol=1e-4,
    )


def test_an_alias_has_the_values_of_its_source_and_its_own_shape(tmp_path):
    make = Builder()
    make.node("Transpose", ["x"], "turned", perm=[0, 2, 1])
    make.node("Sigmoid", ["turned"], "y")
    model = make.model({"x": ("float32", (1, 4, 6))}, {"y": ("float32", (1, 6, 4))})
    samples = [{"x": np.random.default_rng(i).normal(size=(1, 4, 6)).astype(np.float32)} for i in range(3)]
    found = collected(model, samples, tmp_path)
    np.testing.assert_array_equal(found["turned"].histogram, found["x"].histogram)
    assert (found["turned"].shape, found["x"].shape) == ((1, 6, 4), (1, 4, 6))
    assert found["turned"].channel_max is None


def test_models_of_any_dtype_rank_and_control_flow(tmp_path):
    samples = [{"x": np.full((1, 4), i, np.float32) - 3, "flag": np.array(i % 2 == 0)} for i in range(8)]
    found = collected(with_branches(), samples, tmp_path)
    assert (found["chosen"].minimum, found["chosen"].maximum) == (-4.5, 4.5)
    assert found["y"].minimum == 0.0


def test_a_tensor_of_dynamic_shape_is_observed_too(tmp_path):
    make = Builder()
    make.weight("zero", np.float32(0))
    make.node("Greater", ["x", "zero"], "mask")
    make.node("Compress", ["x", "mask"], "positive", axis=0)
    make.node("ReduceSum", ["positive"], "y", keepdims=0)
    model = make.model({"x": ("float32", (6,))}, {"y": ("float32", ())})
    samples = [{"x": np.arange(6, dtype=np.float32) - i} for i in range(7)]
    found = collected(model, samples, tmp_path)
    assert (found["positive"].minimum, found["positive"].maximum) == (1.0, 5.0)
    assert found["positive"].count == found["positive"].histogram.sum() == 15


def test_an_integer_model_is_calibrated_on_what_is_float_inside(tmp_path):
    make = Builder()
    make.weight("table", np.arange(40, dtype=np.float32).reshape(10, 4))
    make.node("Gather", ["table", "ids"], "embedded")
    make.weight("w", np.ones((4, 2), np.float32))
    make.node("MatMul", ["embedded", "w"], "y")
    model = make.model({"ids": ("int64", (1, 3))}, {"y": ("float32", (1, 3, 2))})
    samples = [{"ids": np.array([[i, i + 1, i + 2]])} for i in range(5)]
    found = collected(model, samples, tmp_path)
    assert list(found) == ["embedded", "y"]
    np.testing.assert_allclose(found["embedded"].mean, np.arange(40).reshape(10, 4)[:7][[0, 1, 2, 3, 4, 5, 6]].mean(0))
    assert found["embedded"].channel_axis == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_refused_by_name(bad, tmp_path):
    samples = images(3)
    samples[2]["image"][0, 1, 5, 5] = bad
    with pytest.raises(CalibrationDataError, match=r"image .*sample 2"):
        collected(conv_net(), samples, tmp_path)


@pytest.mark.parametrize("when", [2, RUNS_WITH_MEANS + 5])
def test_an_activation_that_is_not_finite_is_refused_by_name(when, tmp_path):
    make = Builder()
    make.node("Log", ["x"], "log")
    make.node("Relu", ["log"], "y")
    model = make.model({"x": ("float32", (1, 50))}, {"y": ("float32", (1, 50))})
    samples = [{"x": np.linspace(0.1, 2 + i, 50, dtype=np.float32)[None]} for i in range(when + 1)]
    samples[when]["x"][0, 7] = 0.0
    with pytest.raises(CalibrationDataError, match=f"tensor log for sample sample {when}") as caught:
        collected(model, samples, tmp_path, runs=200)
    assert "Log" in caught.value.why


def test_no_data_and_constant_data_are_refused(tmp_path):
    with pytest.raises(CalibrationDataError, match="no calibration data"):
        collected(conv_net(), [], tmp_path)
    gray = [{"image": np.full((1, 3, 24, 24), 0.5, np.float32)}] * 3
    with pytest.raises(CalibrationDataError, match="constant"):
        collected(conv_net(), gray, tmp_path)


def test_statistics_do_not_depend_on_the_order_of_samples(tmp_path):
    samples = images(12)
    one, two = (collected(conv_net(), order, tmp_path) for order in (samples, samples[::-1]))
    for name, found in one.items():
        other = two[name]
        np.testing.assert_array_equal(found.histogram, other.histogram)
        assert dataclasses.astuple(found)[:4] == dataclasses.astuple(other)[:4]


def test_the_lean_graph_is_really_used(tmp_path, monkeypatch):
    """Otherwise the tests above would prove nothing about it."""
    slimmed = []
    original = collector_module.ProbedSession.slim
    monkeypatch.setattr(
        collector_module.ProbedSession,
        "slim",
        lambda self, *args, **kwargs: slimmed.append((args, kwargs)) or original(self, *args, **kwargs),
    )
    collected(conv_net(), images(RUNS_WITH_MEANS + 40), tmp_path)
    assert [kwargs["means"] for _, kwargs in slimmed] == [True, False]
    assert "stem_relu" in slimmed[0][0][0]["minimum"]
