"""A target that this machine can't stand in for: the build ends well, its report claims nothing that was not seen."""

from __future__ import annotations

import json
import platform

import pytest

import edgec
from edgec.targets import X86_FEATURES, host_features

pytest.importorskip("openvino")

import onnx

from tests.report.test_html import Page
from tests.stages.small_models import convolution

OTHER = "aarch64" if platform.machine() != "aarch64" else "x86_64"


def target(folder, arch, features=()):
    path = folder / "far.toml"
    path.write_text(
        f'name = "far"\ntitle = "A far device"\narch = "{arch}"\nfeatures = {json.dumps(list(features))}\n'
        'backends = ["openvino"]\n'
    )
    return str(path)


def build(folder, far):
    onnx.save(convolution(), folder / "m.onnx")
    result = edgec.build(folder / "m.onnx", targets=[far], precision="float", output=folder / "dist")
    (built,) = result.builds
    assert built.status == "ok", built.error
    return built


def assert_honest(folder, built, why, reason):
    """why: it was not executed; reason: it was not measured."""
    assert built.parity["runner"] == "none"
    assert built.latency["artifact"] is None
    assert built.latency["threads"] == 1
    page = Page(built.report.read_text()).text
    text = (folder / "dist" / "m-far.report.md").read_text().replace("\\", "")
    for report in (page, text):
        assert "Not executed" in report
        assert f"It was not executed: {why}. " in report
        assert "not measured" in report
        assert reason in report
        assert report.count("The artifact was not executed") == 1
        assert "did not test itself" not in report
        assert "holds on" not in report
        assert "as fast" not in report
    assert json.loads((folder / "dist" / "m-far.report.json").read_text())["latency"]["runs"] == 0


def test_another_architecture(tmp_path):
    built = build(tmp_path, target(tmp_path, OTHER))
    why = f"the target is {OTHER}, and this machine is {platform.machine()}"
    assert_honest(tmp_path, built, why, f"This artifact is for {OTHER}, and this machine is {platform.machine()}")


def test_a_missing_feature(tmp_path):
    missing = next((name for name in reversed(X86_FEATURES) if name not in host_features()), None)
    if platform.machine() != "x86_64" or missing is None:
        pytest.skip("this machine has every CPU feature that a target may name")
    built = build(tmp_path, target(tmp_path, "x86_64", [missing]))
    why = f"this machine's CPU lacks {missing}, which the target has"
    assert_honest(tmp_path, built, why, f"This CPU lacks what the artifact relies on: {missing}")
