"""Builds for devices that this machine can't stand in for: executed on an emulated one, or honestly not at all."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

import edgec
from edgec.diagnosis.command import command
from edgec.emulator.machine import Machine
from edgec.errors import DeviceError, ToolMissing, UsageError
from edgec.pipeline import plan
from edgec.runtime.bundle import Bundle
from edgec.runtime.golden import read_golden
from edgec.spec import BuildSpec
from tests.report.test_html import Page

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="an ARM machine may stand in for an ARM target")

WITHOUT_A_DEVICE = ["ingest", "simplify", "canonicalize", "analyze"]
"""What targets share, and what needs nothing of a target but its description."""


@pytest.fixture
def build(digits, store_with_front, tmp_path):
    """Build digits, in float unless told otherwise."""

    def run(**changes):
        arguments = {"calibration": digits.calibration, "preprocess": digits.recipe, "output": tmp_path / "dist"}
        arguments |= {"precision": "float", "backend": "tflite"}
        return edgec.build(digits.model, **{**arguments, **changes})

    return run


@pytest.fixture
def no_device(monkeypatch, tmp_path):
    """There is no root."""
    monkeypatch.setenv("EDGEC_ROOTS_DIR", str(tmp_path / "no-roots"))

    def of(target):
        raise ToolMissing(f"There is no root for {target.name}", "It was not set up.", "Use --no-emulate.")

    monkeypatch.setattr(Machine, "of", of)


def test_a_missing_device_ends_the_build_before_any_work(build, no_device, tmp_path):
    events = []
    with pytest.raises(ToolMissing, match="no root for rpi4") as caught:
        build(targets="rpi4", listener=events.append)
    assert caught.value.exit_code == 8
    assert events == []
    assert not list((tmp_path / "dist").glob("*"))


def test_a_plan_tells_which_device_is_missing_and_what_is_to_be_done_without_it(digits, no_device):
    planned = plan(BuildSpec(model=digits.model, targets=("host", "rpi4"), precision="float"))
    assert "no root for rpi4" in planned.missing["rpi4"].what
    details = [stage.detail for stage in planned.stages if stage.name == "validate"]
    assert details and all("for host" in detail for detail in details)
    assert planned.missing.keys() == {"rpi4"}
    alone = plan(BuildSpec(model=digits.model, targets=("rpi4",), precision="float"))
    assert [stage.name for stage in alone.stages] == WITHOUT_A_DEVICE


def test_a_missing_device_of_one_target_does_not_stop_the_others(build, no_device):
    with pytest.raises(ToolMissing, match="no root for rpi4") as caught:
        build(targets=["rpi4", "host"])
    missing, made = caught.value.result.builds
    assert (missing.target, missing.status) == ("rpi4", "failed")
    assert (made.target, made.status) == ("host", "ok")
    assert [stage.name for stage in missing.stages] == WITHOUT_A_DEVICE


def test_a_diagnosis_needs_the_device_too(digits, no_device, tmp_path):
    with pytest.raises(ToolMissing, match="no root for rpi4"):
        edgec.diagnose(
            digits.model,
            targets="rpi4",
            calibration=digits.calibration,
            preprocess=digits.recipe,
            output=tmp_path / "diagnosis",
        )
    assert not list((tmp_path / "diagnosis").glob("*"))


def test_a_backend_that_the_target_does_not_list_is_told_before_any_work(build, no_device):
    events = []
    with pytest.raises(UsageError, match="does not list the backend 'openvino'"):
        build(targets="rpi2", backend="openvino", listener=events.append)
    assert events == []


def test_without_emulation_the_artifact_is_made_and_says_that_it_was_not_executed(build, no_device, tmp_path):
    (built,) = build(targets="rpi4", emulate=False).builds
    assert built.status == "ok"
    assert (built.parity["runner"], built.parity["executed_samples"]) == ("none", 0)
    assert built.parity["emulator"] is None
    why = "the target is aarch64, and this machine is x86_64, and --no-emulate leaves out its emulator"
    assert built.parity["not_executed"] == why
    assert built.to_json()["executed"] == f"not executed: {why}"
    page = Page(built.report.read_text()).text
    text = (tmp_path / "dist" / "digits_cnn-rpi4.report.md").read_text().replace("\\", "")
    for report in (page, text):
        assert "Not executed" in report
        assert f"It was not executed: {why}" in report
    assert json.loads((tmp_path / "dist" / "digits_cnn-rpi4.report.json").read_text())["parity"]["runner"] == "none"


def test_a_backend_whose_engine_can_not_be_emulated_is_not_executed(build, no_device):
    (built,) = build(targets="rpi4", backend="openvino").builds
    assert built.parity["runner"] == "none"
    assert built.parity["not_executed"].endswith("an emulated device has no OpenVINO")


def test_the_flag_and_the_project_file_say_the_same(digits, tmp_path):
    """Without a root, each of them makes the artifact, and the command without them says what is missing."""
    (tmp_path / "edgec.toml").write_text(
        f'[[build]]\nmodel = "{digits.model}"\ntargets = ["rpi4"]\nprecision = "float"\nemulate = false\n'
    )
    edgec_build = [sys.executable, "-m", "edgec", "build"]
    flags = ["--target", "rpi4", "--precision", "float", "--json", "--dry-run"]
    found = {}
    for name, arguments in {
        "file": ["--json", "--dry-run"],
        "flag": [str(digits.model), *flags, "--no-emulate"],
        "neither": [str(digits.model), *flags],
    }.items():
        done = subprocess.run(
            [*edgec_build, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={"EDGEC_CACHE_DIR": str(tmp_path / "store"), "EDGEC_ROOTS_DIR": str(tmp_path / "none"), "PATH": ""},
        )
        found[name] = done.returncode, json.loads(done.stdout)
    assert found["file"][0] == found["flag"][0] == 0
    assert found["neither"][0] == 8
    assert "--no-emulate" in found["neither"][1]["missing"]["rpi4"]["fix"]
    for name in ("file", "flag"):
        (validate,) = (stage for stage in found[name][1]["stages"] if stage["name"] == "validate")
        assert validate["detail"] == "tflite for rpi4, not executed"


def test_the_command_that_explains_a_build_leaves_emulation_out_as_it_did(digits):
    spec = BuildSpec(model=digits.model, targets=("rpi4",), precision="float", emulate=False)
    assert command(spec, "rpi4").endswith(" --no-emulate")


# --- really emulated ---


@pytest.mark.parametrize(("target", "core", "engine"), [("rpi4", "cortex-a72", "2."), ("rpi2", "cortex-a7", "2.14")])
def test_an_artifact_ends_its_build_as_one_that_has_run_on_the_targets_core(
    build, request, tmp_path, target, core, engine
):
    machine = request.getfixturevalue(f"{target}_machine")
    (built,) = build(targets=target, precision="int8").builds
    assert built.status == "ok"
    parity = built.parity
    assert (parity["runner"], parity["passed"]) == (machine.label, True)
    assert parity["emulator"] == {
        "name": machine.qemu.name,
        "version": machine.qemu.version,
        "core": core,
        "root": machine.root.digest,
    }
    assert parity["executed_samples"] == parity["samples"] == 32
    assert parity["engine_version"].startswith(engine)
    assert parity["lowering"]["outputs"][0]["max_lsb"] <= 2
    bundle = Bundle.open(built.artifact.path)
    assert json.loads(bundle.read("parity.json")) == parity
    assert len(read_golden(bundle.read("golden.npz")).samples) == 3
    assert parity["golden"]["outputs_of"] == "payload"
    assert not any(str(machine.root.path) in bundle.read(name).decode(errors="replace") for name in bundle.verify())
    assert not [note for note in built.notes if "not executed" in note.text or "did not test itself" in note.text]
    where = f"{machine.qemu.name} {machine.qemu.version} as {core}, 32 samples; emulated: says nothing about speed"
    page = Page(built.report.read_text()).text
    assert where in page
    assert f"The shipped bytes ran on 32 held-out samples as an emulated {core}: of" in page
    assert "not measured" in page
    assert built.latency["artifact"] is None


def test_two_emulated_builds_give_the_same_bytes(build, rpi4_machine, tmp_path, monkeypatch):
    digests = set()
    for number in range(2):
        monkeypatch.setenv("EDGEC_CACHE_DIR", str(tmp_path / f"store{number}"))
        monkeypatch.setenv("PYTHONHASHSEED", str(number))
        digests.add(build(targets="rpi4", precision="int8").builds[0].artifact.sha256)
    assert len(digests) == 1


def test_another_core_is_another_result(build, rpi4_machine):
    first = build(targets="rpi4").builds[0]
    assert all(stage.cached for stage in build(targets="rpi4").builds[0].stages)
    other = build(targets="rpi4", emulate=False).builds[0]
    assert {stage.name for stage in other.stages if not stage.cached} == {"validate", "pack", "measure"}
    assert other.artifact.sha256 != first.artifact.sha256


def test_the_edge_tpu_is_not_said_to_have_run(build, rpi3_machine):
    (built,) = build(targets="coral-dev-board", precision="int8", backend="edgetpu").builds
    assert built.status == "ok"
    assert built.parity["runner"] == "qemu-aarch64:cortex-a53"
    assert built.parity["idle_accelerator"] == "Edge TPU"
    assert built.to_json()["executed"].endswith("the Edge TPU did not run")
    assert "as an emulated cortex-a53, without the Edge TPU" in Page(built.report.read_text()).text


def test_a_target_that_promises_more_than_its_core_has_ends_with_10(build, rpi4_machine, tmp_path):
    path = tmp_path / "wishful.toml"
    path.write_text(
        'name = "wishful"\ntitle = "A board"\narch = "aarch64"\nfeatures = ["asimd", "asimddp"]\n'
        'backends = ["tflite"]\n[emulator]\nqemu = "qemu-aarch64"\ncpu = "cortex-a72"\n'
    )
    with pytest.raises(DeviceError, match="refuses to run on the emulated device") as caught:
        build(targets=str(path))
    assert "asimddp" in caught.value.why


def test_a_diagnosis_runs_the_payload_on_the_emulated_device(digits, rpi4_machine, tmp_path):
    found = edgec.diagnose(
        digits.model,
        targets="rpi4",
        calibration=digits.calibration,
        preprocess=digits.recipe,
        output=tmp_path / "diagnosis",
    )
    assert found.document["loss"]["lowering_db"] > 30
    assert any("ran on qemu-aarch64:cortex-a72, an emulated device" in note for note in found.document["notes"])
