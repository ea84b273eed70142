"""The model as an object file: linked into the example's program, it computes on each core what the library does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgec.backends.base import LowerJob
from edgec.backends.support import require_c_object
from edgec.emulator import qemu
from edgec.errors import UsageError
from edgec.ir.reference import execute
from edgec.targets import load_target

pytest.importorskip("tvm")

from edgec.backends.tvm.backend import BACKEND
from edgec.backends.tvm.lowering import lowered_graph
from tests.backends.tvm import symbols

PROGRAM = Path(__file__).parents[3] / "examples/c/main.c"
FREE_OF_A_SYSTEM = {"memset", "memcpy", "memmove", "__aeabi_memset", "__aeabi_memcpy", "__aeabi_memclr"}
UNWINDING = re.compile(r"__aeabi_unwind_cpp_pr[01]")  # what ARM's tables for debuggers name; the compiler's own library


@pytest.fixture(scope="module", params=["rpi4", "rpi2"])
def lowered(request, model, tmp_path_factory):
    """A target, and the folder of its payload."""
    out = tmp_path_factory.mktemp(request.param)
    target = load_target(request.param)
    payload = BACKEND.lower(LowerJob(model, target, "int8", out, c_object=True))
    assert payload.files == ("model.so", "edgec_model.h", "model.o")
    return target, out


def test_it_needs_no_operating_system(lowered):
    _, folder = lowered
    wanted = symbols.wanted(folder / "model.o")
    assert {name for name in wanted if not UNWINDING.fullmatch(name)} <= FREE_OF_A_SYSTEM


def test_the_example_computes_what_the_reference_does(lowered, model):
    target, folder = lowered
    emulator = qemu.find(target.emulator.qemu)
    if emulator is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{target.emulator.qemu} is not installed")
    shutil.copy(PROGRAM, folder)
    triple = target.triple.replace("gnu", "musl")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, "-O1", "main.c", "model.o", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    graph = lowered_graph(onnx.load(model))
    rng = np.random.default_rng(3)
    for _ in range(5):
        image = rng.random((1, 1, 8, 8), np.float32)
        ran = subprocess.run(
            [emulator.program, "-cpu", target.emulator.cpu, folder / "main"],
            input=image.tobytes(), capture_output=True, check=True,
        )  # fmt: skip
        (expected,) = execute(graph, {"image": image.transpose(0, 2, 3, 1)}).values()
        np.testing.assert_array_equal(np.frombuffer(ran.stdout, np.float32), expected.ravel())


def test_equal_jobs_give_equal_objects(lowered, model, tmp_path):
    target, folder = lowered
    BACKEND.lower(LowerJob(model, target, "int8", tmp_path, c_object=True))
    assert (tmp_path / "model.o").read_bytes() == (folder / "model.o").read_bytes()


@pytest.mark.parametrize("name", ["openvino", "tflite", "edgetpu"])
def test_other_backends_refuse_plainly(name):
    with pytest.raises(UsageError, match="no object files"):
        require_c_object(name)
