"""Latency of a packed artifact beside the original. The figures are the machine's; their form is ours."""

from __future__ import annotations

import json
import platform
from dataclasses import replace

import pytest

from edgec.errors import ArtifactError
from edgec.runners.execution import choose
from edgec.stage import StageContext
from edgec.stages import pack, validate
from edgec.stages.measure import MeasureParams, run
from edgec.targets import load_target

pytest.importorskip("openvino")

from tests.stages.small_models import Arrays, convolution, ingested, lowered


def context(folder):
    folder.mkdir()
    return StageContext(folder.name, folder, lambda event: None)


@pytest.fixture
def build(tmp_path):
    """Validate and pack a small float model; returns what measure works on."""

    def go(target, tmp_path=tmp_path):
        read, low = ingested(tmp_path / "ingested", convolution()), lowered(tmp_path / "lowered", convolution())
        validate.run(
            ingested=read,
            quantized=None,
            lowered=low,
            samples=Arrays(8),
            params=validate.ValidateParams(target, choose(target, "", emulate=False)),
            context=context(tmp_path / "validated"),
        )
        pack.run(
            ingested=read,
            lowered=low,
            validated=tmp_path / "validated",
            params=pack.PackParams("m", target, choose(target, "", emulate=False), "openvino", "float", "0" * 64),
            context=context(tmp_path / "packed"),
        )
        return read, tmp_path / "packed"

    return go


def test_both_sides_are_measured_with_the_same_threads(build, tmp_path):
    read, packed = build(load_target("host"))
    run(read, packed, MeasureParams("m-host.edgec", 1, 0.3), context(tmp_path / "measured"))
    latency = json.loads((tmp_path / "measured" / "latency.json").read_text())
    assert latency["baseline"]["engine"] == "onnxruntime"
    assert latency["threads"] == 1
    assert latency["runs"] >= 10
    for side in (latency["artifact"], latency["baseline"]):
        assert 0 < side["p25"] <= side["p50"] <= side["p75"] <= side["p95"] <= side["p99"]
        assert sum(side["histogram"]["counts"]) == latency["runs"]
    low, high = latency["ratio_interval"]
    assert low <= latency["ratio_of_medians"] <= high
    assert sum(step["share"] for step in latency["profile"]) == pytest.approx(1, abs=0.01)
    expected = latency["artifact"]["p50"] / latency["baseline"]["p50"]
    assert latency["ratio_of_medians"] == pytest.approx(expected, rel=0.02)


def test_what_can_not_run_here_is_not_measured(build, tmp_path):
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    read, packed = build(replace(load_target("host"), name="other", arch=other))
    run(read, packed, MeasureParams("m-other.edgec", 1, 0.3), context(tmp_path / "measured"))
    latency = json.loads((tmp_path / "measured" / "latency.json").read_text())
    assert "Not measured" in latency["note"]
    assert latency["threads"] == 1
    assert latency["runs"] == 0
    assert latency["noisy"] is False
    nothing = ("artifact", "baseline", "ratio_of_medians", "ratio_quartiles", "ratio_interval")
    assert all(latency[key] is None for key in nothing)


def test_the_document_has_the_same_keys_with_figures_and_without(build, tmp_path):
    other = "aarch64" if platform.machine() != "aarch64" else "x86_64"
    keys = []
    for target in (load_target("host"), replace(load_target("host"), name="other", arch=other)):
        folder = tmp_path / target.name
        folder.mkdir()
        read, packed = build(target, folder)
        run(read, packed, MeasureParams(f"m-{target.name}.edgec", 1, 0.1), context(folder / "measured"))
        keys.append(set(json.loads((folder / "measured" / "latency.json").read_text())))
    assert keys[0] == keys[1]


def test_a_damaged_artifact_is_an_error(build, tmp_path):
    read, packed = build(load_target("host"))
    artifact = packed / "m-host.edgec"
    content = bytearray(artifact.read_bytes())
    content[len(content) // 2] ^= 1
    artifact.write_bytes(content)
    with pytest.raises(ArtifactError):
        run(read, packed, MeasureParams("m-host.edgec", 1, 0.3), context(tmp_path / "measured"))


def test_a_target_with_an_accelerator_is_not_measured_on_a_processor(tmp_path):
    folder = tmp_path / "measured"
    params = MeasureParams("unread.edgec", accelerator="Edge TPU")
    run(tmp_path, tmp_path, params, context(folder))
    document = json.loads((folder / "latency.json").read_text())
    assert document["artifact"] is None and document["runs"] == 0
    assert "Edge TPU" in document["note"]
