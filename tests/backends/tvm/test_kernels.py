"""Every kernel gives the integers that the reference executor defines, whatever the shape.

Each test compiles a graph of many random cases at once. A case that fails is named with all that it was made from.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgec.ir import kinds
from edgec.ir.graph import Quantization
from edgec.ir.kinds import Padding2D
from tests.backends.tvm.cases import Cases, padded

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import HOST_RUNS_IT, differences, engine_of

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

few = settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],  # a smaller seed is no simpler case
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
seeds = st.integers(0, 2**32 - 1)
ACTIVATIONS = ("none", "relu", "relu6")


def assert_exact(cases: Cases, folder, threads: int = 1) -> None:
    graph = cases.finish()
    found = differences(graph, engine_of(graph, folder, threads), cases.feeds(graph))
    wrong = {cases.labels[name]: count for name, count in found.items() if count}
    assert not wrong


def convolution(cases: Cases, depthwise: bool) -> None:
    """One convolution of any shape."""
    rng = cases.rng
    images, height, width = (int(n) for n in (rng.integers(1, 3), rng.integers(1, 20), rng.integers(1, 34)))
    channels = int(rng.choice([1, 3, 4, 5, 16, 24, 31, 32, 48, 63, 64, 65, 80, 144]))
    window = tuple(int(n) for n in rng.integers(1, 6, 2))
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    dilation = tuple(int(n) for n in rng.choice([1, 1, 1, 2, 3], 2))
    padding = padded(rng, 2)
    reach = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
    height = max(height, reach[0] - padding.top - padding.bottom, 1)
    width = max(width, reach[1] - padding.left - padding.right, 1)
    outputs = channels if depthwise else int(rng.choice([1, 7, 16, 17, 32, 40, 64, 72, 100]))
    dtype = str(rng.choice(["int8", "uint8"]))
    kind = kinds.Conv2D(
        stride,
        dilation,
        padding,
        channels if depthwise else 1,
        str(rng.choice(ACTIVATIONS)),  # type: ignore[arg-type]
    )
    x = cases.activations((images, height, width, channels), dtype)
    settings = {
        "per_channel": bool(rng.integers(2)),
        "bias": bool(rng.integers(4)),
        "gain": float(rng.choice([1, 3, 1e9])),
    }
    name = cases.product(kind, x, (*window, 1 if depthwise else channels), outputs, dtype=dtype, **settings)
    cases.result(name, f"{kind} of {(images, height, width, channels)} {dtype}, {window} to {outputs}, {settings}")


def dense_convolutions_of_any_shape(cases: Cases) -> None:
    for _ in range(12):
        convolution(cases, depthwise=False)


@few
@given(seeds)
def test_dense_convolutions_of_any_shape(tmp_path_factory, seed):
    cases = Cases(seed)
    dense_convolutions_of_any_shape(cases)
    assert_exact(cases, tmp_path_factory.mktemp("dense"))


def depthwise_convolutions_of_any_shape(cases: Cases) -> None:
    for _ in range(16):
        convolution(cases, depthwise=True)


@few
@given(seeds)
def test_depthwise_convolutions_of_any_shape(tmp_path_factory, seed):
    cases = Cases(seed)
    depthwise_convolutions_of_any_shape(cases)
    assert_exact(cases, tmp_path_factory.mktemp("depthwise"))


def shapes_of_mobile_networks(cases: Cases) -> None:
    """Those that the tiles were chosen for, and windows that are a loop."""
    for channels, side, window, stride in (
        (32, 14, 3, 1),
        (96, 15, 3, 2),
        (144, 14, 5, 2),
        (240, 9, 5, 1),
        (64, 7, 7, 1),
    ):
        low, high = (window - 1) // 2, window // 2
        kind = kinds.Conv2D((stride, stride), (1, 1), Padding2D(low, high, low, high), channels, "relu6")
        x = cases.activations((1, side, side, channels))
        cases.result(cases.product(kind, x, (window, window, 1), channels), f"depthwise {channels} {window} {stride}")
    for channels, outputs, side in ((16, 96, 14), (144, 24, 14), (40, 240, 7), (672, 112, 5)):
        x = cases.activations((1, side, side, channels))
        cases.result(cases.product(kinds.Conv2D(), x, (1, 1, channels), outputs), f"{channels} to {outputs}")


def test_the_shapes_of_mobile_networks(tmp_path):
    cases = Cases(0)
    shapes_of_mobile_networks(cases)
    assert_exact(cases, tmp_path)


def fully_connected_layers_of_any_size(cases: Cases) -> None:
    for _ in range(8):
        rows, depth, outputs = (
            int(n) for n in (cases.rng.integers(1, 40), cases.rng.integers(1, 300), cases.rng.integers(1, 200))
        )
        kind = kinds.FullyConnected(str(cases.rng.choice(ACTIVATIONS)))  # type: ignore[arg-type]
        x = cases.activations((rows, depth))
        cases.result(cases.product(kind, x, (depth,), outputs), f"{kind} {rows} x {depth} to {outputs}")


@few
@given(seeds)
def test_fully_connected_layers_of_any_size(tmp_path_factory, seed):
    cases = Cases(seed)
    fully_connected_layers_of_any_size(cases)
    assert_exact(cases, tmp_path_factory.mktemp("full"))


def lowest_weights(cases: Cases) -> None:
    """Two products of -128 by -128 are the only ones whose sum does not fit into 16 bits."""
    x = cases.activations((1, 24, 24, 64))
    for window, depthwise in (((1, 1), False), ((2, 3), True)):
        kind = kinds.Conv2D(groups=64 if depthwise else 1)
        weights = (*window, 1 if depthwise else 64)
        cases.result(cases.product(kind, x, weights, 64, of=(-128, -127, 127)), f"weights of -128: {kind}")


def test_the_lowest_weights(tmp_path):
    cases = Cases(3)
    lowest_weights(cases)
    assert_exact(cases, tmp_path)


def sums_alone_and_with_the_product_before(cases: Cases) -> None:
    for activation in ACTIVATIONS:
        for channels in (3, 24, 72, 200):
            shape = (
                int(cases.rng.integers(1, 3)),
                int(cases.rng.integers(1, 9)),
                int(cases.rng.integers(1, 9)),
                channels,
            )
            a, b = cases.activations(shape), cases.activations(shape)
            cases.result(cases.sum(a, b, activation), f"sum {shape} {activation}")
            product = cases.product(kinds.Conv2D(), a, (1, 1, channels), channels)
            cases.result(cases.sum(b, product, activation), f"sum with a product {shape} {activation}")


@few
@given(seeds)
def test_sums_alone_and_with_the_product_before(tmp_path_factory, seed):
    cases = Cases(seed)
    sums_alone_and_with_the_product_before(cases)
    assert_exact(cases, tmp_path_factory.mktemp("sums"))


def test_a_sum_whose_operand_has_a_border(tmp_path):
    """What is added was padded for another reader."""
    cases = Cases(1)
    x = cases.activations((1, 9, 9, 40))
    first = cases.product(kinds.Conv2D(), x, (1, 1, 40), 40)
    kind = kinds.Conv2D((1, 1), (1, 1), Padding2D(1, 1, 1, 1), 40)
    second = cases.product(kind, first, (3, 3, 1), 40)
    third = cases.product(kinds.Conv2D(), second, (1, 1, 40), 40)
    cases.result(cases.sum(third, first), "an inverted residual")
    assert_exact(cases, tmp_path)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(tmp_path, threads):
    cases = Cases(threads)
    for depthwise in (False, True):
        for _ in range(6):
            convolution(cases, depthwise)
    graph = cases.finish()
    engine = engine_of(graph, tmp_path, threads)
    for _ in range(5):
        assert not any(differences(graph, engine, cases.feeds(graph)).values())


def test_infinite_inputs_saturate(tmp_path):
    cases = Cases(2)
    x = cases.activations((1, 1, 40, 3))
    cases.result(x, "quantized alone")
    graph = cases.finish()
    feeds = cases.feeds(graph)
    (array,) = feeds.values()
    array[..., :8, :] = np.inf
    array[..., 8:16, :] = -np.inf
    array[..., 16:20, :] = 3e38
    assert not any(differences(graph, engine_of(graph, tmp_path), feeds).values())


def test_products_are_rounded_before_they_are_added(tmp_path):
    """All pairs of integers, on grids where nearly every sum is a tie: a product that was fused with the sum would
    break some of them the other way."""
    scale = float(np.float32(0.1))
    a, b = np.meshgrid(*[np.arange(-128, 128, dtype=np.float64)] * 2)
    rounded = (a.astype(np.float32) * np.float32(scale)).astype(np.float64)
    exact, other = a * scale, (b.astype(np.float32) * np.float32(scale)).astype(np.float64)
    twice, once = ((first + other).astype(np.float32) / np.float32(2 * scale) for first in (rounded, exact))
    assert np.count_nonzero(np.rint(twice) != np.rint(once)) > 100

    cases = Cases(3)
    grid, coarse = Quantization.per_tensor(scale, 0), Quantization.per_tensor(2 * scale, 0)
    x = cases.activations((1, 256, 256, 1), grid=grid)
    y = cases.activations((1, 256, 256, 1), grid=grid)
    add = cases.builder.add(kinds.Binary("add"), [x, y], "sum", dtype="int8", quantization=coarse)
    cases.result(add, "a sum alone")
    one = cases.builder.constant("one", np.ones((1, 1, 1, 1), np.int8), Quantization.per_tensor(1, 0))
    same = cases.builder.add(kinds.Conv2D(), [x, one], "same", dtype="int8", quantization=grid)
    add = cases.builder.add(kinds.Binary("add"), [same, y], "sum", dtype="int8", quantization=coarse)
    cases.result(add, "a sum with the product before")
    graph = cases.finish()
    feeds = {
        name: (values * scale).astype(np.float32)[None, :, :, None]
        for name, values in zip(graph.inputs, (a, b), strict=True)
    }
    assert not any(differences(graph, engine_of(graph, tmp_path), feeds).values())
