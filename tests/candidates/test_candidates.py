"""Which of several backends is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgec.candidates.attempts import attempts
from edgec.candidates.candidate import Candidate
from edgec.candidates.choice import keep
from edgec.errors import ParityGateError, UnsupportedOp
from edgec.runners.execution import Execution
from edgec.spec import BuildSpec
from edgec.targets import load_target


def candidate(backend, ratio=None, error=None, executed=None):
    latency = {"artifact": ratio and {"p50": ratio}, "ratio_of_medians": ratio}
    return Candidate(backend, "int8", None if error else 1000, None if error else latency, error, {"engine": executed})


REFUSED = ParityGateError("It differs too much", "", "")
UNSUPPORTED = UnsupportedOp("There is no kernel for TopK", "", "")


def test_the_fastest_is_kept_and_by_how_much_is_said():
    choice = keep([candidate("openvino", 0.5), candidate("tflite", 0.8), candidate("tvm", 0.25)])
    assert choice.candidates[choice.kept].backend == "tvm"
    assert choice.why == "It is the fastest: 2.00 times as fast as the next one."


def test_one_that_failed_is_not_kept_however_fast():
    choice = keep([candidate("openvino", 0.5), candidate("tvm", error=REFUSED)])
    assert choice.kept == 0
    assert [item["status"] for item in choice.to_json()["candidates"]] == ["kept", "refused"]


def test_for_a_device_that_is_not_here_instructions_are_compared_and_not_called_time():
    choice = keep([candidate("tflite", executed=3_000_000), candidate("tvm", executed=2_000_000)])
    assert choice.candidates[choice.kept].backend == "tvm"
    assert "1.50 times as many" in choice.why and "work, not time" in choice.why


def test_instructions_and_times_are_not_compared():
    choice = keep([candidate("tflite", executed=3_000_000), candidate("tvm", 0.5)])
    assert choice.kept == 0


def test_where_one_could_not_be_timed_the_order_of_the_target_decides():
    choice = keep([candidate("tflite"), candidate("tvm", 0.1)])
    assert choice.kept == 0
    assert "not all could be measured" in choice.why


def test_where_all_failed_the_error_of_the_first_is_told():
    choice = keep([candidate("tflite", error=UNSUPPORTED), candidate("tvm", error=REFUSED)])
    assert choice.kept == 0
    items = choice.to_json()["candidates"]
    assert [item["status"] for item in items] == ["failed", "refused"]
    assert items[0]["error"]["what"] == "There is no kernel for TopK"


def spec(**changes):
    return BuildSpec(**{"model": Path("m.onnx"), "precision": "float", **changes})


def test_a_backend_that_can_not_do_what_is_asked_is_left_out():
    tried = attempts(spec(precision="fp16"), load_target("host"))
    assert "openvino" in [each.spec.backend for each in tried]
    assert all("fp16" in _precisions(each.spec.backend) for each in tried)


def test_a_backend_that_was_named_is_the_only_one_and_its_error_stays():
    (only,) = attempts(spec(precision="int8", interface="int8", backend="openvino"), load_target("host"))
    assert "openvino" in str(only.where)


def test_what_can_not_be_executed_is_left_out_where_something_can(monkeypatch):
    monkeypatch.setattr(
        "edgec.candidates.attempts.choose",
        lambda target, against, emulate: Execution("none", "none") if against else Execution("qemu", "qemu:a72"),
    )
    tried = [each.spec.backend for each in attempts(spec(), load_target("rpi4"))]
    assert "tflite" in tried and "openvino" not in tried


def _precisions(backend):
    from edgec.backends import load_backend

    return load_backend(backend).precisions


@pytest.mark.slow
def test_a_build_without_a_backend_tries_all_and_reports_each(digits, warm_store, tmp_path):
    command = [sys.executable, "-m", "edgec", "build", str(digits.model), "--calib", str(digits.calibration)]
    command += ["--preprocess", digits.recipe, "-o", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    (built,) = json.loads(done.stdout)["builds"]
    tried = {item["backend"]: item for item in built["choice"]["candidates"]}
    assert set(tried) == {each.spec.backend for each in attempts(spec(precision="int8"), load_target("host"))}
    measured = {name: item["ratio_of_medians"] for name, item in tried.items() if item["status"] in ("kept", "ok")}
    assert built["backend"] == min(measured, key=measured.get)
    assert tried[built["backend"]]["status"] == "kept"
    page = (tmp_path / "digits_cnn-host.report.html").read_text()
    assert "What was tried" in page
    assert all(name in page for name in tried)
    assert "## What was tried" in (tmp_path / "digits_cnn-host.report.md").read_text()
