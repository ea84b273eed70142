"""One planted fault a network: the diagnosis names that cause, there, and no other; a healthy one has none."""

import re
import subprocess
import sys

import numpy as np
import onnx
import pytest

from edgec.diagnosis.document import diagnose
from edgec.reference import Reference
from tests.diagnosis import planted
from tests.diagnosis.planted import case, images

FAULTS = {
    "outlier channel": (planted.outlier_channel, "outlier-channel", "middle"),
    "mask constant": (planted.mask_constant, "mask-constant", "masked"),
    "tied ranges": (planted.tied_concat, "tied-ranges", "joined"),
    "decomposed LayerNorm": (planted.layer_norm, "decomposed-normalization", "squared"),
    "near-dead channels": (planted.near_dead_channels, "near-dead-channels", "middle"),
}


@pytest.mark.parametrize(("network", "cause", "node"), FAULTS.values(), ids=FAULTS)
def test_the_planted_fault_is_named_where_it_was_planted(network, cause, node, tmp_path):
    found = diagnose(case(network(), images()), tmp_path)
    assert not found["passed"]
    assert [(each["cause"], each["node"]) for each in found["causes"]] == [(cause, node)]
    assert found["first"]["cause"]["cause"] == cause
    assert f"{node}" in found["causes"][0]["sentence"] + found["causes"][0]["remedy"] + found["causes"][0]["node"]


def test_a_healthy_model_has_no_cause(tmp_path):
    found = diagnose(case(planted.healthy(), images()), tmp_path)
    assert found["healthy"]
    assert found["causes"] == []
    assert found["first"] is None
    assert found["smallest"] is None
    assert not list(tmp_path.iterdir())


def test_ranges_learned_from_too_narrow_data_saturate_inside(tmp_path):
    """Calibrated on noise, judged on pictures of the same range: what sums neighbours up goes beyond what was seen."""
    found = diagnose(case(planted.smoothing(), planted.noise(), planted.plain_pictures()), tmp_path)
    assert [each["cause"] for each in found["causes"]] == ["saturation"]
    assert found["causes"][0]["node"] == "smooth"
    assert found["causes"][0]["evidence"]["clipped_share"] > 0.01


@pytest.mark.parametrize(
    ("calibration", "judged"),
    [
        (images(scale=100, offset=128), images(seed=2)),
        (images(seed=2), images(scale=100, offset=128)),
    ],
    ids=["calibrated on raw pixels", "judged on raw pixels"],
)
def test_data_of_another_domain_is_the_cause_of_all_that_follows(calibration, judged, tmp_path):
    found = diagnose(case(planted.healthy(), calibration, judged), tmp_path)
    assert [(each["cause"], each["node"]) for each in found["causes"]] == [("data-mismatch", None)]
    assert "'image'" in found["causes"][0]["sentence"]
    assert "--preprocess" in found["causes"][0]["remedy"]


def test_few_samples_are_named_when_they_were_too_few(tmp_path):
    few = planted.squeezing_feeds(2, seed=5)
    found = diagnose(case(planted.squeezing(), few, planted.squeezing_feeds(24, seed=6)), tmp_path)
    assert found["first"]["cause"]["cause"] == "little-data"
    assert "--calib" in found["first"]["cause"]["remedy"]


@pytest.mark.parametrize(("network", "cause", "node"), FAULTS.values(), ids=FAULTS)
def test_the_smallest_failing_part_fails_by_itself_in_plain_onnx_runtime(network, cause, node, tmp_path):
    found = diagnose(case(network(), images()), tmp_path)["smallest"]
    assert len(found["layers"]) <= 2
    model, inputs, script = (tmp_path / name for name in found["files"])
    onnx.checker.check_model(onnx.load(model))
    archive = np.load(inputs)
    reference = Reference(model, "none")
    outputs = reference.run({str(name): archive[f"input{i}"] for i, name in enumerate(archive["names"])})
    before, after = (outputs[name] for name in reference.outputs[:2])
    assert before.shape == after.shape
    assert not np.array_equal(before, after)
    done = subprocess.run(
        [sys.executable, str(tmp_path / script)], cwd=tmp_path.parent, capture_output=True, text=True, check=True
    )
    printed = [float(level) for level in re.findall(r"(-?[0-9.]+) dB", done.stdout)]
    assert min(printed) == pytest.approx(found["local_db"], abs=0.1)


def test_the_bisection_finds_the_planted_layer(tmp_path):
    found = diagnose(case(planted.outlier_channel(), images()), tmp_path)["smallest"]
    assert found["layers"] == ["middle"]
    assert found["alone_db"] <= found["total_db"] + 3


def test_the_same_case_gives_the_same_document_and_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (diagnose(case(planted.mask_constant(), images()), tmp_path / name) for name in ("a", "b"))
    assert first == second
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("profile", ["strict", "islands"])
def test_layers_of_all_of_the_model_make_the_quantized_model(profile):
    from edgec.diagnosis.layers import Twins
    from edgec.diagnosis.walk import Walker

    given = case(planted.near_dead_channels(), images(), profile=profile)
    walker = Walker(Twins(given.floats, given.quantized))
    whole = Reference(given.quantized.model.SerializeToString(), "none")
    every = range(len(walker.twins.layers))
    for sample in given.samples[:3]:
        feeds = dict(sample.steps[0])
        assert np.array_equal(walker.outputs(feeds, every)["scores"], whole.run(feeds)["scores"])
        floats = Reference(given.floats.model.SerializeToString(), "none").run(feeds)
        assert np.array_equal(walker.outputs(feeds, ())["scores"], floats["scores"])
