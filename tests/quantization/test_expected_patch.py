"""E[patch] against brute force: pad, cut out every window, average."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.quantization.expected_patch import expected_patch, mean_shift
from edgec.quantization.statistics import BINS, TensorStatistics


def statistics_of(x):
    """Exact statistics of x [N, C, *spatial]."""
    others = [tuple(i for i in range(x.ndim) if i not in (1, axis)) for axis in range(2, x.ndim)]
    return TensorStatistics(
        float(x.min()),
        float(x.max()),
        x.size,
        1,
        np.zeros(BINS, np.int64),
        1.0,
        shape=x.shape,
        channel_axis=1,
        mean=x.mean(axis=tuple(i for i in range(x.ndim) if i != 1)).astype(np.float32),
        axis_means=tuple(x.mean(axis=axes).astype(np.float32) for axes in others),
    )


def additive(rng, channels, height, width):
    """Images in which rows and columns do not interact: there the formula is exact."""
    return rng.normal(size=(2, channels, height, 1)) + rng.normal(size=(2, channels, 1, width))


def brute_force(x, kernel, strides, pads, dilations):
    padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    counts = [(padded.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(2)]
    patch = np.zeros((x.shape[1], *kernel))
    for i in range(counts[0]):
        for j in range(counts[1]):
            window = padded[:, :, i * strides[0] :, j * strides[1] :][:, :, :: dilations[0], :: dilations[1]]
            patch += window[:, :, : kernel[0], : kernel[1]].mean(axis=0)
    return patch / (counts[0] * counts[1])


windows = st.fixed_dictionaries(
    {
        "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "pads": st.tuples(*[st.integers(0, 2)] * 4),
        "dilations": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    }
)


@given(windows, st.integers(5, 9), st.integers(5, 9), st.integers(0, 9))
def test_exact_where_rows_and_columns_do_not_interact(window, height, width, seed):
    x = additive(np.random.default_rng(seed), 2, height, width)
    attributes = {name: list(window[name]) for name in ("strides", "pads", "dilations")}
    found = expected_patch(statistics_of(x), "Conv", attributes, (4, 2, *window["kernel"]))
    np.testing.assert_allclose(found, brute_force(x, **window), atol=1e-5)


def test_a_same_padded_window_over_noise_is_off_in_the_corners_only():
    x = np.random.default_rng(0).normal(1.0, 1.0, size=(4, 3, 12, 12))
    attributes = {"pads": [1, 1, 1, 1]}
    found = expected_patch(statistics_of(x), "Conv", attributes, (8, 3, 3, 3))
    exact = brute_force(x, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    off = np.abs(found - exact)
    assert off[:, [0, 1, 1, 1, 2], [1, 0, 1, 2, 1]].max() < 1e-6  # whole rows or whole columns: exact
    assert 1e-6 < off.max() < 0.02  # one corner element in 144 output positions


@given(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]), st.integers(1, 2), st.integers(5, 8))
def test_auto_pad_means_the_pads_that_it_stands_for(auto_pad, stride, extent):
    x = additive(np.random.default_rng(extent), 2, extent, extent)
    total = 0 if auto_pad == "VALID" else max(0, (-(-extent // stride) - 1) * stride + 3 - extent)
    before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
    explicit = {"strides": [stride] * 2, "pads": [before, before, total - before, total - before]}
    shape = (1, 2, 3, 3)
    one = expected_patch(statistics_of(x), "Conv", {"strides": [stride] * 2, "auto_pad": auto_pad}, shape)
    two = expected_patch(statistics_of(x), "Conv", explicit, shape)
    np.testing.assert_array_equal(one, two)


def run_node(op, x, weights, **attributes):
    """The node's output on x in ONNX Runtime."""
    from onnx import TensorProto, helper, numpy_helper

    from edgec.reference import Reference

    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Reference(model.SerializeToString()).run({"x": x})["y"]


@pytest.mark.parametrize(
    ("op", "shape", "weights", "attributes"),
    [
        ("Conv", (2, 4, 9, 8), (6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 1]}),
        ("Conv", (2, 4, 9, 8), (4, 1, 3, 2), {"group": 4, "dilations": [2, 1]}),
        ("ConvTranspose", (2, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 0, 1, 1]}),
        ("ConvTranspose", (2, 4, 5, 6), (4, 2, 3, 2), {"group": 2, "strides": [2, 1], "output_padding": [1, 0]}),
        ("Gemm", (8, 5), (3, 5), {"transB": 1, "alpha": 0.5}),
        ("MatMul", (2, 7, 5), (5, 3), {}),
    ],
)
def test_the_shift_is_what_the_change_of_weights_adds_to_the_mean_output(op, shape, weights, attributes):
    rng = np.random.default_rng(1)
    change = rng.normal(size=weights).astype(np.float32)
    if op in ("Gemm", "MatMul"):
        x = rng.normal(1.0, 1.0, size=shape).astype(np.float32)
        axis, moved = -1, np.moveaxis(x, -1, 1)
    else:
        x = additive(rng, *shape[1:]).astype(np.float32)
        axis, moved = 1, x
    output = run_node(op, x, change, **attributes)
    expected = np.moveaxis(output, axis, 0).reshape(output.shape[axis], -1).mean(axis=1)
    found = mean_shift(statistics_of(moved), op, attributes, change)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_a_mean_nothing_is_made_up():
    statistics = TensorStatistics(0.0, 1.0, 1, 1, np.zeros(BINS, np.int64), 1.0)
    with pytest.raises(ValueError, match="no mean"):
        expected_patch(statistics, "Conv", {}, (1, 1, 1, 1))
