"""The loop of products that a step's speed is compared with: it multiplies as the instruction set's kernels do."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("tvm")

from edgec.backends.tvm.isa import named
from tests.backends.tvm.compiled import X86, runs_here

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import tvm_layers

    yield tvm_layers
    for name in ("tvm_layers", "tvm_models"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", X86)
def test_the_loop_multiplies_each_time(layers: ModuleType, tmp_path: Path, name: str) -> None:
    isa, product = named(name), layers.PRODUCTS[name]
    made = layers.peak_program(isa, X86[name], tmp_path)
    if not runs_here(name):
        pytest.skip("this machine lacks the instructions, which compile")
    bytes_of_lane = np.random.default_rng(0).integers(0, 128, (2, isa.lanes, 4)).astype(np.int8)
    given = bytes_of_lane.reshape(-1).view(np.int32).copy()
    parts = given.view(np.int16 if product.of == 2 else np.int8).reshape(2, isa.lanes, product.of).astype(np.int64)
    out, rounds = np.zeros(isa.lanes, np.int32), 5
    function = ctypes.CDLL(str(made)).products
    function(ctypes.c_void_p(out.ctypes.data), ctypes.c_void_p(given.ctypes.data), ctypes.c_long(rounds))
    begun = product.sums * given[isa.lanes :].astype(np.int64) + sum(range(product.sums))
    wanted = begun + rounds * product.sums * (parts[0] * parts[1]).sum(axis=1)
    assert np.array_equal(out, wanted.astype(np.int32))
