"""Pooling, reductions, resizing and softmax of integers: exact, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from edgec.ir import kinds
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.kinds import Padding2D
from tests.backends.tvm.cases import Cases

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import HOST_RUNS_IT
from tests.backends.tvm.test_kernels import assert_exact, few, seeds

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")


def image(cases: Cases, dtype: str) -> tuple[str, tuple[int, ...], Quantization]:
    """A new input, its shape and its grid."""
    rng = cases.rng
    shape = tuple(int(n) for n in (rng.integers(1, 3), rng.integers(3, 12), rng.integers(3, 12), rng.integers(1, 150)))
    x = cases.activations(shape, dtype)
    grid = cases.builder.type(x).quantization
    assert grid is not None
    return x, shape, grid


def computed(cases: Cases, kind: kinds.Kind, x: str, dtype: str, grid: Quantization) -> None:
    name = cases.builder.add(kind, [x], "y", dtype=dtype, quantization=grid)
    cases.result(name, f"{kind} of {cases.builder.type(x)} to {dtype} {grid}")


def pooling(cases: Cases) -> None:
    rng = cases.rng
    for dtype in ("int8", "uint8") * 4:
        x, shape, grid = image(cases, dtype)
        window, stride = (tuple(int(n) for n in rng.integers(1, most, 2)) for most in (4, 4))
        padding = Padding2D(*(int(rng.integers(0, size)) for size in (window[0], window[0], window[1], window[1])))
        dilation = tuple(int(n) for n in rng.choice([1, 1, 2], 2))
        reach = [(taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True)]
        if all(size >= needed for size, needed in zip(shape[1:3], reach, strict=True)):
            computed(cases, kinds.MaxPool2D(window, stride, dilation, padding), x, dtype, grid)
        other = str(rng.choice(["int8", "uint8"]))
        scale = grid.scale[0] * float(rng.choice([0.5, 1, 1e-12]))
        computed(cases, kinds.AveragePool2D(window, stride, padding), x, other, cases.grid(other, scale))


@few
@given(seeds)
def test_pooling(tmp_path_factory, seed):
    cases = Cases(seed)
    pooling(cases)
    assert_exact(cases, tmp_path_factory.mktemp("pooling"))


def reductions_over_any_axes(cases: Cases) -> None:
    rng = cases.rng
    for rank in (1, 2, 3, 4, 4, 5):
        for function in ("mean", "sum", "max", "min"):
            shape = tuple(int(n) for n in (*rng.integers(1, 6, rank - 1), rng.integers(1, 150)))
            axes = tuple(axis for axis in range(rank) if rng.integers(2)) or (int(rng.integers(rank)),)
            keepdims = bool(rng.integers(2)) or len(axes) == rank
            dtype = str(rng.choice(["int8", "uint8"]))
            x = cases.activations(shape, dtype)
            grid, result = cases.builder.type(x).quantization, dtype
            assert grid is not None
            if function in ("mean", "sum"):
                result = str(rng.choice(["int8", "uint8"]))
                count = np.prod([shape[axis] for axis in axes]) if function == "sum" else 1
                scale = float(grid.scale[0] * np.sqrt(count) * rng.choice([0.3, 1, 1e-12]))
                grid = cases.grid(result, scale)
            computed(cases, kinds.Reduce(function, axes, keepdims), x, result, grid)


@few
@given(seeds)
def test_reductions_over_any_axes(tmp_path_factory, seed):
    cases = Cases(seed)
    reductions_over_any_axes(cases)
    assert_exact(cases, tmp_path_factory.mktemp("reductions"))


def bilinear_resizing(cases: Cases) -> None:
    rng = cases.rng
    for align_corners, half_pixel_centers in ((False, False), (False, True), (True, False)) * 2:
        dtype, result = (str(name) for name in rng.choice(["int8", "uint8"], 2))
        x, shape, grid = image(cases, dtype)
        size = int(rng.integers(1, 20)), int(rng.choice([2 * shape[2], int(rng.integers(1, 20))]))
        kind = kinds.ResizeBilinear(size, align_corners, half_pixel_centers)
        computed(cases, kind, x, result, cases.grid(result, grid.scale[0] * float(rng.choice([0.5, 1, 1e-12]))))


@few
@given(seeds)
def test_bilinear_resizing(tmp_path_factory, seed):
    cases = Cases(seed)
    bilinear_resizing(cases)
    assert_exact(cases, tmp_path_factory.mktemp("bilinear"))


def softmax(cases: Cases) -> None:
    """Of steps so short that all exponentials are nearly 1, and so long that one is left."""
    rng = cases.rng
    for channels in (1, 2, 10, 16, 63, 64, 65, 197, 1000):
        rank = int(rng.integers(1, 5))
        shape = (*(int(n) for n in rng.integers(1, 4, rank - 1)), channels)
        dtype, result = (str(name) for name in rng.choice(["int8", "uint8"], 2))
        x = cases.activations(shape, dtype, cases.grid(dtype, float(rng.choice([0.001, 0.1, 4]))))
        grid = Quantization.per_tensor(1 / 256, -128 if result == "int8" else 0)
        if rng.integers(3) == 0:
            grid = cases.grid(result, float(rng.choice([1 / 2000, 1e-12])))
        computed(cases, kinds.Softmax(), x, result, grid)


@few
@given(seeds)
def test_softmax(tmp_path_factory, seed):
    cases = Cases(seed)
    softmax(cases)
    assert_exact(cases, tmp_path_factory.mktemp("softmax"))


def positions_of_the_largest_and_the_smallest(cases: Cases) -> None:
    """Of few different integers, so that equal ones are common."""
    rng = cases.rng
    for rank in (1, 2, 3, 4, 5):
        for function in ("max", "min"):
            shape = tuple(int(n) for n in (*rng.integers(1, 6, rank - 1), rng.integers(1, 150)))
            x = cases.activations(shape, str(rng.choice(["int8", "uint8"])))
            kind = kinds.ArgReduce(function, int(rng.integers(rank)), str(rng.choice(["int32", "int64"])))
            name = cases.builder.add(kind, [x], "position")
            cases.outputs.append(name)
            cases.labels[name] = f"{kind} of {shape}"
        dtype = str(rng.choice(["int8", "uint8"]))
        x = cases.activations(shape, dtype)
        of, k = cases.builder.type(x), int(rng.integers(1, shape[-1] + 1))
        types = [of.of_shape((*shape[:-1], k)), TensorType((*shape[:-1], k), "int32")]
        values, places = f"values{rank}", f"places{rank}"
        cases.builder.add(kinds.TopK(k), [x], (values, places), types=types)
        cases.result(values, f"the {k} largest of {shape}")
        cases.outputs.append(places)
        cases.labels[places] = f"places of the {k} largest of {shape}"


@few
@given(seeds)
def test_positions_of_the_largest_and_the_smallest(tmp_path_factory, seed):
    cases = Cases(seed)
    positions_of_the_largest_and_the_smallest(cases)
    assert_exact(cases, tmp_path_factory.mktemp("positions"))


def running_sums(cases: Cases) -> None:
    rng = cases.rng
    for rank in (1, 2, 3, 4, 5):
        for exclusive, reverse in ((False, False), (True, False), (False, True), (True, True)):
            shape = tuple(int(n) for n in (*rng.integers(1, 6, rank - 1), rng.integers(1, 100)))
            axis, (dtype, result) = int(rng.integers(rank)), (str(name) for name in rng.choice(["int8", "uint8"], 2))
            x = cases.activations(shape, dtype)
            grid = cases.builder.type(x).quantization
            assert grid is not None
            scale = grid.scale[0] * float(np.sqrt(shape[axis]) * rng.choice([0.3, 1, 1e-12]))
            computed(cases, kinds.CumSum(axis, exclusive, reverse), x, result, cases.grid(result, scale))


@few
@given(seeds)
def test_running_sums(tmp_path_factory, seed):
    cases = Cases(seed)
    running_sums(cases)
    assert_exact(cases, tmp_path_factory.mktemp("running"))
