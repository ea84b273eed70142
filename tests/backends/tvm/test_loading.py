"""Where the library is loaded from: a temporary file, or memory where no such file can be."""

from __future__ import annotations

import ctypes
import tempfile

import numpy as np
import pytest

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import TensorType
from edgec.runtime.engines import tvm as engine
from edgec.runtime.errors import EngineMissing

pytest.importorskip("tvm")

from edgec.backends.tvm.building import build_program
from edgec.backends.tvm.isa import named
from edgec.backends.tvm.lowering import program_of
from tests.backends.tvm.compiled import HOST_RUNS_IT, ISA, TARGET

pytestmark = pytest.mark.skipif(not HOST_RUNS_IT, reason="this machine lacks the instructions")

NOEXEC = "{}: failed to map segment from shared object"
X = np.array([-1.5, 2.0, 0.0], np.float32)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> list[bytes]:
    """-x and |x|."""
    made = []
    for function in ("neg", "abs"):
        builder = GraphBuilder()
        x = builder.input("x", TensorType((3,), "float32"))
        graph = builder.finish([builder.add(kinds.Unary(function), [x], "y")])  # type: ignore[arg-type]
        path = tmp_path_factory.mktemp("made") / "model.so"
        build_program(program_of(graph, named(ISA)), ISA, TARGET, path)
        made.append(path.read_bytes())
    return made


def refuse(monkeypatch, everything: bool, text: str) -> None:
    """Have the linker refuse files, or also what lies in memory."""
    load = ctypes.CDLL

    def loaded(path):
        if everything or not path.startswith("/proc/"):
            raise OSError(text.format(path))
        return load(path)

    monkeypatch.setattr(engine.ctypes, "CDLL", loaded)


def results(libraries: list[bytes]) -> list[list[float]]:
    engines = [engine.load({"model.so": content}, {}, 1) for content in libraries]
    return [each.run({"x": X})["y"].tolist() for each in engines]


def test_a_folder_that_forbids_code_is_done_without(libraries, monkeypatch):
    refuse(monkeypatch, False, NOEXEC)
    assert results(libraries) == [(-X).tolist(), np.abs(X).tolist()], "each library is its own"


def test_a_system_without_a_folder_for_temporary_files_is_enough(libraries, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert results(libraries) == [(-X).tolist(), np.abs(X).tolist()]


def test_where_nothing_may_be_loaded_the_folder_is_named_as_the_reason(libraries, monkeypatch):
    refuse(monkeypatch, True, NOEXEC)
    with pytest.raises(EngineMissing, match="can't be loaded here") as caught:
        results(libraries)
    assert "noexec" in caught.value.why
    assert "TMPDIR" in caught.value.fix


def test_a_library_for_another_device_is_refused_for_that(monkeypatch):
    with pytest.raises(EngineMissing, match="can't be loaded here") as caught:
        engine.load({"model.so": b"\x7fELF of something else"}, {}, 1)
    assert "noexec" not in caught.value.why
    assert "Build the artifact for this device" in caught.value.fix
