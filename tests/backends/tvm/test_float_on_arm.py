"""The kernels on float32 for ARM, on emulated cores: vectors of 4, with instructions for a product and a sum in one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

from edgec.ir.reference import execute
from tests.backends.tvm import test_float_kernels
from tests.backends.tvm.emulated import Emulated
from tests.backends.tvm.float_cases import FloatCases

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("qemu-aarch64", "qemu-arm")), reason="there is no QEMU for ARM"
)

CORES = {"aarch64-generic": "cortex-a53", "rpi2": "cortex-a7"}


@pytest.mark.parametrize("target", CORES)
def test_kernels_are_near_the_reference(tmp_path, target, monkeypatch):
    """Each target computes another half of the cases: compiling costs most."""
    if target == "rpi2":
        # NEON of ARMv7 takes denormal numbers for 0.
        normal = np.where(np.abs(test_float_kernels.SPECIAL) == np.float32(1e-40), 0, test_float_kernels.SPECIAL)
        monkeypatch.setattr(test_float_kernels, "SPECIAL", normal)
    cases = FloatCases(5)
    for write in test_float_kernels.WRITERS:
        before = len(cases.outputs)
        write(cases)
        cases.outputs[before:] = cases.outputs[before + list(CORES).index(target) :: len(CORES)]
    graph = cases.finish()
    feeds = {name: cases.feeds[name] for name in graph.inputs}
    found = Emulated.of(graph, target, tmp_path).run(CORES[target], feeds, 2)
    assert cases.wrong(execute(graph, feeds), found) == {}
