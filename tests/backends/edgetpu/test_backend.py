"""What the backend makes of a file that was lowered, with and without a compiler.

The compiler is a stand-in, and the TensorFlow Lite backend one that writes a file made by hand:
what that backend really writes is for tests/contract and tests/backends/tflite to see.
"""

import json

import numpy as np
import pytest

from edgec.backends.base import LowerJob, Payload
from edgec.backends.edgetpu import backend
from edgec.errors import UnsupportedOp, WorkerCrashed
from edgec.targets import Accelerator, Target
from tests.backends.edgetpu.networks import Net
from tests.backends.edgetpu.stand_in import WRITES_MODEL, write_stand_in
from tests.backends.edgetpu.test_log import SIXTEEN
from tests.backends.edgetpu.test_mapping import chain

TARGET = Target("coral", "", "x86_64", (), 0, ("edgetpu",), Accelerator("edgetpu", 13))


@pytest.fixture
def lower(tmp_path, monkeypatch):
    """Lowers a .tflite file as if the TensorFlow Lite backend had written it."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    def run(file, target=TARGET):
        class WritesFile:
            def lower(self, job):
                (job.out / "model.tflite").write_bytes(file)
                return Payload("tflite", ("model.tflite",), {"inputs": []}, {"operators": {}, "remarks": ["first"]})

        monkeypatch.setattr(backend, "_tflite", WritesFile)
        out = tmp_path / "payload"
        out.mkdir()
        return out, backend.BACKEND.lower(LowerJob(tmp_path / "model.onnx", target, "int8", out, "int8"))

    return run


def test_without_the_compiler_the_payload_is_uncompiled_and_the_mapping_predicted(lower):
    _, payload = lower(chain("LEAKY_RELU"))
    assert payload.files == ("model.tflite",)
    assert "edgetpu" not in payload.options
    facts = payload.facts["edgetpu"]
    assert facts["label"] == "uncompiled" and facts["actual"] is None and facts["comparison"] is None
    assert facts["predicted"]["mapped"] == 1 and facts["predicted"]["runtime"] == 13
    assert payload.facts["remarks"][0] == "first"
    assert "uncompiled" in payload.facts["remarks"][1] and "1 of 3 operations" in payload.facts["remarks"][1]
    json.dumps(payload.facts)


def test_with_the_compiler_its_file_lies_beside_and_its_log_is_compared(lower, tmp_path):
    write_stand_in(tmp_path, WRITES_MODEL + f"cat <<'LOG'\n{SIXTEEN}\nLOG\ntouch $out/model_edgetpu.log\n")
    out, payload = lower(chain("LEAKY_RELU"))
    assert payload.files == ("model.tflite", "model_edgetpu.tflite", "edgetpu_compiler.log")
    assert sorted(path.name for path in out.iterdir()) == sorted(payload.files)
    assert payload.options["edgetpu"] == {"file": "model_edgetpu.tflite", "delegate": "libedgetpu.so.1"}
    facts = payload.facts["edgetpu"]
    assert facts["label"] == "compiled"
    assert facts["actual"]["version"] == "16.0.384591198"
    assert facts["comparison"]["agrees"] is False and facts["comparison"]["mapped"] == (1, 2)
    assert "mapped 2 of 3 operations" in payload.facts["remarks"][1]
    assert "13" in (tmp_path / "arguments").read_text().split()


def test_a_compiler_that_fails_fails_the_build(lower, tmp_path):
    write_stand_in(tmp_path, "echo 'Model not quantized'; exit 1\n")
    with pytest.raises(WorkerCrashed, match="exit code 1"):
        lower(chain())


def test_a_model_that_computes_in_float_is_refused_by_the_names_of_its_operations(lower):
    made = Net()
    made.input("x", (1, 8), "float32")
    made.add("QUANTIZE", ["x"], "q", (1, 8))
    made.add("RELU", ["q"], "r", (1, 8))
    made.add("DEQUANTIZE", ["r"], "d", (1, 8), "float32")
    made.add("EXP", ["d"], "e", (1, 8), "float32")
    with pytest.raises(UnsupportedOp) as caught:
        lower(made.file("e"))
    assert caught.value.details["operations"] == ["d", "e"]
    assert "tflite" in caught.value.fix


def test_float_inputs_and_outputs_are_no_float_computation(lower):
    made = Net()
    made.input("x", (1, 8), "float32")
    made.add("QUANTIZE", ["x"], "q", (1, 8))
    made.constant("w", np.zeros((4, 8)), "int8")
    made.add("FULLY_CONNECTED", ["q", "w", None], "r", (1, 4), version=4)
    made.add("DEQUANTIZE", ["r"], "y", (1, 4), "float32")
    _, payload = lower(made.file("y"))
    assert payload.facts["edgetpu"]["predicted"]["mapped"] == 1


def test_a_target_that_names_no_runtime_gets_the_newest(lower):
    _, payload = lower(chain(), Target("coral", "", "x86_64", (), 0, ("edgetpu",)))
    assert payload.facts["edgetpu"]["predicted"]["runtime"] == 14
