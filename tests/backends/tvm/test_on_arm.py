"""The kernels for ARM, on emulated cores: the same integers, and only there where the instructions are."""

from __future__ import annotations

import shutil
import signal
import subprocess

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.reference import execute
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

from tests.backends.tvm.emulated import program, run
from tests.backends.tvm.test_kernels import ACTIVATIONS, convolution

pytestmark = pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="there is no qemu-aarch64")


@pytest.fixture(scope="module")
def cases() -> Cases:
    """Every kind of kernel."""
    made = Cases(4)
    for depthwise in (False, True):
        for _ in range(10):
            convolution(made, depthwise)
    for depth, outputs in ((33, 10), (128, 72)):
        x = made.activations((1, depth))
        made.result(made.product(kinds.FullyConnected(), x, (depth,), outputs), f"{depth} to {outputs}")
    for activation in ACTIVATIONS:
        a, b = made.activations((1, 5, 6, 40)), made.activations((1, 5, 6, 40))
        made.result(made.sum(a, b, activation), f"sum {activation}")
        product = made.product(kinds.Conv2D(), a, (1, 1, 40), 40)
        made.result(made.sum(product, b, activation), f"sum with a product {activation}")
    x = made.activations((1, 6, 6, 24))
    grid = made.builder.type(x).quantization
    pool = made.builder.add(kinds.MaxPool2D((2, 2), (2, 2)), [x], "pool", dtype="int8", quantization=grid)
    made.result(pool, "pool")
    mean = made.builder.add(kinds.Reduce("mean", (1, 2), True), [x], "mean", dtype="int8", quantization=grid)
    made.result(mean, "mean")
    return made


@pytest.fixture(scope="module")
def compiled(cases, tmp_path_factory):
    graph = cases.finish()
    return graph, program(graph, "neon_dotprod", "rpi5", tmp_path_factory.mktemp("rpi5"))


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_with_dot_products_are_exact(cases, compiled, threads):
    graph, main = compiled
    feeds = cases.feeds(graph)
    expected, found = execute(graph, feeds), run(graph, main, "cortex-a76", feeds, threads)
    assert {cases.labels[name] for name in expected if not np.array_equal(expected[name], found[name])} == set()


def test_a_core_without_dot_products_dies(cases, compiled):
    graph, main = compiled
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(graph, main, "cortex-a72", cases.feeds(graph))
    assert error.value.returncode == -signal.SIGILL
