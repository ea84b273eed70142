"""A compiled payload on a machine without an Edge TPU: the same model on the CPU, and the version says so."""

import numpy as np
import pytest

from edgec.runtime.engines import open_engine
from edgec.runtime.errors import BundleError
from tests.backends.edgetpu.networks import Net

BORDER = {"permutation": None, "dtype": "int8", "scale": 0.1, "zero_point": 0}
OPTIONS = {
    "inputs": [{"name": "x", "index_name": "x", **BORDER}],
    "outputs": [{"name": "y", "index_name": "y", **BORDER}],
    "edgetpu": {"file": "model_edgetpu.tflite", "delegate": "libedgetpu-that-nobody-has.so.1"},
}


def relu():
    made = Net()
    made.input("x", (1, 4))
    made.add("RELU", ["x"], "y", (1, 4), version=2)
    return made.file("y")


def test_without_the_library_the_cpu_computes_the_same_model(capfd):
    engine = open_engine("tflite", {"model.tflite": relu(), "model_edgetpu.tflite": b"compiled"}, OPTIONS, threads=1)
    out = engine.run({"x": np.array([[-1, 0, 0.5, 1]], np.float32)})["y"]
    np.testing.assert_allclose(out, [[0, 0, 0.5, 1]], atol=1e-6)
    assert "on the CPU: libedgetpu-that-nobody-has.so.1" in engine.version
    assert "Traceback" not in capfd.readouterr().err


def test_a_payload_without_the_compiled_file_is_damaged():
    with pytest.raises(BundleError, match="incomplete"):
        open_engine("tflite", {"model.tflite": relu()}, OPTIONS, threads=1)
