"""Products that the dense kernel computes in another way than its own: exact, whatever the shape."""

from __future__ import annotations

import pytest
from hypothesis import given

from edgec.ir import kinds
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


@few
@given(seeds)
def test_convolutions_with_groups(tmp_path_factory, seed):
    cases = Cases(seed)
    for groups, depth, each in ((2, 3, 5), (32, 4, 4), (3, 20, 20), (5, 16, 32), (3, 80, 80), (7, 5, 1), (2, 64, 96)):
        grouped(cases, groups, depth, each)
    for groups, each in ((1, 8), (3, 2), (24, 4), (40, 2), (9, 16)):  # depthwise, with a multiplier
        grouped(cases, groups, 1, each)
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


@few
@given(seeds)
def test_transposed_convolutions_of_any_shape(tmp_path_factory, seed):
    cases = Cases(seed)
    for _ in range(10):
        transposed(cases)
    assert_exact(cases, tmp_path_factory.mktemp("transposed"))
