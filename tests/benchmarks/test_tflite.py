"""The comparison of .tflite files runs each as the ONNX model is run, and says who is faster and what failed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgec.backends.base import LowerJob
from edgec.backends.tflite.backend import BACKEND
from edgec.reference import Reference
from edgec.targets import load_target
from tests.contract import models

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def tflite(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import tflite

    yield tflite
    for name in ("tflite", "tflite_peers", "quantizers", "quantizer_peers", "int8_share"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("interface", ["float", "int8"])
def test_a_file_is_run_as_the_model_is(tflite, interface, tmp_path):
    """Channels last and integers at the border are the benchmark's business, not the judge's."""
    model = models.conv_int8()
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    BACKEND.lower(LowerJob(tmp_path / "model.onnx", load_target("host"), "int8", tmp_path, interface))
    file = tflite.File(tmp_path / "model.tflite", {"scores": (1, 10)})
    feeds = models.feeds_for(model)
    expected = Reference(model.SerializeToString(), "none").run(feeds)["scores"]
    np.testing.assert_allclose(file.run(feeds)["scores"], expected, atol=2 / 32)
    assert file.interface == {"float": "float32", "int8": "int8"}[interface]


def test_each_is_compared_with_edgecs_file_of_its_kind(tflite):
    def row(name, times):
        return tflite.Row(name, times=times, scores={"accuracy": 1.0, "sqnr_db": 30.0})

    rows = [
        row("edgec float", [10.0]),
        row("edgec INT8", [4.0]),
        row("onnx2tf 1 float", [5.0]),
        row("onnx2tf 1 INT8", [8.0]),
        tflite.Row("onnx2tf 2 INT8", failure="refused: 3 | 4"),
    ]
    lines = tflite.table(rows).splitlines()
    assert "0.50x as fast" in lines[4]
    assert "2.00x as fast" in lines[5]
    assert "fails: refused" in lines[6]
    columns = lines[0].count("|")
    assert all(line.replace(r"\|", "").count("|") == columns for line in lines)
