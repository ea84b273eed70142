"""Products that the dense kernel computes in another way than its own: exact, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from edgec.ir import kinds
from edgec.ir.graph import Quantization
from edgec.ir.kinds import Padding2D
from tests.backends.tvm.cases import Cases, padded

pytest.importorskip("tvm")

from tests.backends.tvm.compiled import HOST_RUNS_IT
from tests.backends.tvm.test_kernels import ACTIVATIONS, assert_exact, few, seeds

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")


def settings_of(cases: Cases) -> dict[str, object]:
    rng = cases.rng
    return {
        "per_channel": bool(rng.integers(2)),
        "bias": bool(rng.integers(4)),
        "gain": float(rng.choice([1, 3, 1e9])),
    }


def grouped(cases: Cases, groups: int, depth: int, each: int) -> None:
    """One convolution. depth, each: input and output channels of a group."""
    rng = cases.rng
    window, stride = (tuple(int(n) for n in rng.integers(1, most, 2)) for most in (4, 3))
    dilation, padding = tuple(int(n) for n in rng.choice([1, 1, 2], 2)), padded(rng, 2)
    shape = (int(rng.integers(1, 3)), int(rng.integers(6, 9)), int(rng.integers(6, 20)), groups * depth)
    dtype, activation = str(rng.choice(["int8", "uint8"])), str(rng.choice(ACTIVATIONS))
    kind = kinds.Conv2D(stride, dilation, padding, groups, activation)  # type: ignore[arg-type]
    x = cases.activations(shape, dtype)
    settings = settings_of(cases)
    name = cases.product(kind, x, (*window, depth), groups * each, dtype=dtype, **settings)  # type: ignore[arg-type]
    cases.result(name, f"{kind} of {shape} {dtype}, {window} to {groups * each}, {settings}")


def convolutions_with_groups(cases: Cases) -> None:
    for groups, depth, each in ((2, 3, 5), (32, 4, 4), (3, 20, 20), (5, 16, 32), (3, 80, 80), (7, 5, 1), (2, 64, 96)):
        grouped(cases, groups, depth, each)
    for groups, each in ((1, 8), (3, 2), (24, 4), (40, 2), (9, 16)):  # depthwise, with a multiplier
        grouped(cases, groups, 1, each)


@few
@given(seeds)
def test_convolutions_with_groups(tmp_path_factory, seed):
    cases = Cases(seed)
    convolutions_with_groups(cases)
    assert_exact(cases, tmp_path_factory.mktemp("groups"))


def transposed(cases: Cases, real: bool = False) -> None:
    rng = cases.rng
    window = tuple(int(n) for n in rng.integers(1, 6, 2))
    stride = tuple(int(n) for n in rng.integers(1, 4, 2))
    dilation = tuple(int(n) for n in rng.choice([1, 1, 1, 2, 3], 2))
    groups, depth, each = (int(n) for n in rng.choice([(1, 17, 20), (1, 3, 40), (2, 8, 16), (3, 5, 7)], axis=0))
    reach = [(n - 1) * d + 1 for n, d in zip(window, dilation, strict=True)]
    padding = Padding2D(*(int(rng.integers(0, r)) for r in (reach[0], reach[0], reach[1], reach[1])))
    shape = (int(rng.integers(1, 3)), int(rng.integers(6, 9)), int(rng.integers(6, 20)), groups * depth)
    more = tuple(int(rng.integers(0, s)) for s in stride)
    kind = kinds.TransposeConv2D(
        stride,
        dilation,
        padding,
        more,
        groups,
        str(rng.choice(ACTIVATIONS)),  # type: ignore[arg-type]
    )
    dtype, settings = str(rng.choice(["int8", "uint8"])), settings_of(cases)
    x = cases.activations(shape, dtype)
    name = cases.product(kind, x, (*window, depth), groups * each, dtype=dtype, **settings)  # type: ignore[arg-type]
    cases.result(name, f"{kind} of {shape} {dtype}, {window} to {groups * each}, {settings}")


def transposed_convolutions_of_any_shape(cases: Cases) -> None:
    for _ in range(10):
        transposed(cases)


@few
@given(seeds)
def test_transposed_convolutions_of_any_shape(tmp_path_factory, seed):
    cases = Cases(seed)
    transposed_convolutions_of_any_shape(cases)
    assert_exact(cases, tmp_path_factory.mktemp("transposed"))


def products_of_two_activations(cases: Cases) -> None:
    rng = cases.rng
    shapes = (
        ((5, 9), (9, 7)),
        ((1, 64), (64, 50)),
        ((3, 20, 33), (3, 33, 40)),
        ((2, 3, 49, 32), (2, 3, 32, 49)),
        ((2, 3, 10, 21), (21, 17)),
        ((7, 40), (2, 2, 40, 65)),
        ((2, 1, 6, 8), (3, 8, 20)),
        ((1, 3, 6, 80), (2, 1, 80, 16)),
        ((2, 1, 2, 4, 9), (1, 3, 1, 9, 100)),
        ((3, 1, 2, 4, 9), (1, 3, 1, 9, 33)),
    )
    for a_shape, b_shape in shapes:
        turned = [bool(rng.integers(2)) for _ in range(2)]
        operands, grids = [], []
        for shape, swap in zip((a_shape, b_shape), turned, strict=True):
            dtype = str(rng.choice(["int8", "uint8"]))
            grid = cases.grid(dtype)
            if rng.integers(3) == 0:
                grid = Quantization.per_tensor(grid.scale[0], 0 if dtype == "int8" else 128)
            shape = (*shape[:-2], shape[-1], shape[-2]) if swap else shape
            operands.append(cases.activations(shape, dtype, grid))
            grids.append(grid)
        result, depth = str(rng.choice(["int8", "uint8"])), a_shape[-1]
        typical = grids[0].scale[0] * grids[1].scale[0] * 100 * 100 * np.sqrt(depth) / 60
        grid = cases.grid(result, typical / float(rng.choice([1, 3, 1e9])))
        name = cases.builder.add(kinds.BatchMatMul(*turned), operands, "product", dtype=result, quantization=grid)
        cases.result(name, f"{a_shape} @ {b_shape}, {turned}, on {grids} to {result} {grid}")


@few
@given(seeds)
def test_products_of_two_activations(tmp_path_factory, seed):
    cases = Cases(seed)
    products_of_two_activations(cases)
    assert_exact(cases, tmp_path_factory.mktemp("matmul"))


def products_whose_result_is_float(cases: Cases) -> None:
    """Equal to the last bit: the exact sum is rounded once, and multiplied once."""
    rng = cases.rng
    for shape, outputs in (((1, 100), 10), ((3, 40), 33), ((2, 5, 17), 100), ((2, 2, 3, 4, 9), 16), ((30,), 7)):
        x = cases.activations(shape, str(rng.choice(["int8", "uint8"])))
        kind = kinds.FullyConnected(str(rng.choice(ACTIVATIONS)))  # type: ignore[arg-type]
        real_product(cases, kind, x, (shape[-1],), outputs)
    for groups, depth, each in ((1, 20, 21), (2, 8, 16), (5, 1, 1), (16, 1, 1), (32, 1, 1), (100, 1, 1)):
        x = cases.activations((2, 7, 9, groups * depth))
        kind = kinds.Conv2D((2, 1), (1, 1), padded(rng, 2), groups, str(rng.choice(ACTIVATIONS)))  # type: ignore
        real_product(cases, kind, x, (3, 2, depth), groups * each)
    for outputs in (7, 33, 64, 100):
        operands = [cases.activations(of) for of in ((2, 3, 10, 30), (2, 3, 30, outputs))]
        name = cases.builder.add(kinds.BatchMatMul(), operands, "product", dtype="float32")
        cases.outputs.append(name)
        cases.labels[name] = f"a product of two activations to {outputs}, in float32"
    kind = kinds.TransposeConv2D((2, 2), (1, 1), Padding2D(1, 1, 1, 1))
    real_product(cases, kind, cases.activations((1, 5, 6, 12)), (3, 3, 12), 20)


@few
@given(seeds)
def test_products_whose_result_is_float(tmp_path_factory, seed):
    cases = Cases(seed)
    products_whose_result_is_float(cases)
    assert_exact(cases, tmp_path_factory.mktemp("real"))


def fully_connected_layers_of_any_rank(cases: Cases) -> None:
    rng = cases.rng
    for rank in (1, 2, 3, 4, 5):
        shape = (*(int(n) for n in rng.integers(1, 6, rank - 1)), int(rng.integers(1, 100)))
        kind = kinds.FullyConnected(str(rng.choice(ACTIVATIONS)))  # type: ignore[arg-type]
        dtype, outputs = str(rng.choice(["int8", "uint8"])), int(rng.integers(1, 100))
        x = cases.activations(shape, dtype)
        name = cases.product(kind, x, shape[-1:], outputs, dtype=dtype, **settings_of(cases))  # type: ignore[arg-type]
        cases.result(name, f"{kind} of {shape} {dtype} to {outputs}")


@few
@given(seeds)
def test_fully_connected_layers_of_any_rank(tmp_path_factory, seed):
    cases = Cases(seed)
    fully_connected_layers_of_any_rank(cases)
    assert_exact(cases, tmp_path_factory.mktemp("ranks"))


def real_product(cases: Cases, kind: kinds.Kind, x: str, window: tuple[int, ...], outputs: int) -> None:
    """A product of integers whose result is an output, in float32."""
    name = cases.product(kind, x, window, outputs, dtype="float32")  # type: ignore[arg-type]
    cases.outputs.append(name)
    cases.labels[name] = f"{kind} of {cases.builder.type(x)} to {outputs}, in float32"


def signals_of_one_row_or_column(cases: Cases) -> None:
    rng = cases.rng
    for length, channels, outputs, groups in ((50, 24, 40, 1), (31, 80, 33, 1), (64, 32, 32, 4), (20, 18, 18, 18)):
        for upright in (False, True):
            taps, step, stride = int(rng.integers(2, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
            before = int(rng.integers(0, 3))
            shape, window = (2, 1, length, channels), (1, taps, channels // groups)
            kind = kinds.Conv2D((1, stride), (1, step), Padding2D(0, 0, before, 1), groups)
            if upright:
                shape, window = (2, length, 1, channels), (taps, 1, channels // groups)
                kind = kinds.Conv2D((stride, 1), (step, 1), Padding2D(before, 1, 0, 0), groups)
            name = cases.product(kind, cases.activations(shape), window, outputs)
            cases.result(name, f"{kind} of {shape} to {outputs}")
            if groups == 1:
                other = cases.activations(cases.builder.type(name).shape)
                product = cases.product(kind, cases.activations(shape), window, outputs)
                cases.result(cases.sum(other, product), f"{kind} of {shape} to {outputs}, and a sum")
    x = cases.activations((2, 30, 2, 20))
    name = cases.product(kinds.TransposeConv2D((2, 1), (1, 1), Padding2D(1, 0, 0, 0)), x, (4, 1, 20), 24)
    cases.result(name, "transposed, upright")


@few
@given(seeds)
def test_signals_of_one_row_or_column(tmp_path_factory, seed):
    cases = Cases(seed)
    signals_of_one_row_or_column(cases)
    assert_exact(cases, tmp_path_factory.mktemp("signals"))
