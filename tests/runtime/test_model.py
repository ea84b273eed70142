"""A loaded model takes what fits its contract, and says what does not."""

from __future__ import annotations

import dataclasses
import json
import zipfile

import numpy as np
import pytest

from edgec.bundle.write import write_bundle
from edgec.runtime import device, load
from edgec.runtime.bundle import MANIFEST
from edgec.runtime.engines import open_engine
from edgec.runtime.errors import BundleError, DeviceUnfit, EngineMissing, InputError
from edgec.runtime.golden import read_golden
from edgec.runtime.model import check_engine
from edgec.runtime.selftest import largest_difference, replay


def _changed(built, folder, **changes):
    """The artifact with another manifest, and whole again."""
    with zipfile.ZipFile(built.path) as archive:
        manifest = {**json.loads(archive.read(MANIFEST)), **changes}
        files = {name: archive.read(name) for name in manifest["files"] if not name.endswith(".py")}
    path = folder / "changed.edgec"
    write_bundle(path, manifest, files)
    return path


def test_a_bare_array_is_the_only_input(cnn):
    model = load(cnn.path)
    image = np.ones((1, 3, 16, 16), np.float32)
    np.testing.assert_array_equal(model.run(image)["scores"], model.run({"image": image})["scores"])


def test_a_model_shows_itself_in_one_line(cnn):
    assert repr(load(cnn.path)) == "<edgec model: int8 net for host; image: float32 1x3x16x16 -> scores: float32 1x10>"


def test_outputs_come_in_the_order_and_under_the_names_of_the_contract(mixed):
    model = load(mixed.path)
    outputs = model.run({"in,put/ü:0": np.ones((2, 3), np.float32), "count": np.array([1, 2])})
    assert list(outputs) == ["to/tal", "same", "twice", "index", "positive"]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8])
def test_numbers_of_the_same_kind_or_a_smaller_one_are_converted(cnn, dtype):
    model = load(cnn.path)
    image = np.ones((1, 3, 16, 16))
    np.testing.assert_array_equal(
        model.run(image.astype(dtype))["scores"], model.run(image.astype(np.float32))["scores"]
    )


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"image": np.ones((1, 3, 16, 15), np.float32)}, "fixed when an artifact is built"),
        ({"image": np.ones((1, 3, 16, 16), np.complex64)}, "complex64"),
        (
            {"image": np.ones((1, 3, 16, 16), np.float32), "picture": np.ones(1)},
            "no input 'picture'",
        ),
        ({}, "'image' was not given"),
    ],
)
def test_what_does_not_fit_is_refused(cnn, feeds, said):
    with pytest.raises(InputError) as caught:
        load(cnn.path).run(feeds)
    assert said in str(caught.value)


def test_floats_are_not_taken_for_integers(mixed):
    with pytest.raises(InputError, match="float32"):
        load(mixed.path).run({"in,put/ü:0": np.ones((2, 3), np.float32), "count": np.ones(2, np.float32)})


def test_one_array_for_several_inputs_is_refused(mixed):
    with pytest.raises(InputError, match="several inputs"):
        load(mixed.path).run(np.ones((2, 3), np.float32))


def test_a_state_starts_as_zeros_and_is_carried_along_a_sequence(lstm):
    model = load(lstm.path)
    steps = list(np.random.default_rng(0).normal(size=(3, 1, 1, 3)).astype(np.float32))
    zeros = np.zeros((1, 1, 4), np.float32)
    first = model.run({"x": steps[0], "h": zeros, "c": zeros})
    second = model.run({"x": steps[1], "h": first["h_next"], "c": first["c_next"]})
    sequence = list(model.run_sequence(steps))
    np.testing.assert_array_equal(sequence[0]["y"], model.run(steps[0])["y"])
    np.testing.assert_array_equal(sequence[1]["y"], second["y"])
    assert not np.array_equal(second["y"], model.run(steps[1])["y"])


def test_another_architecture_is_refused(cnn, tmp_path):
    path = _changed(cnn, tmp_path, arch="aarch64" if device.architecture() != "aarch64" else "x86_64")
    with pytest.raises(DeviceUnfit, match="this machine is"):
        load(path)


def test_a_missing_cpu_feature_is_refused_before_it_is_an_illegal_instruction(cnn, tmp_path):
    with pytest.raises(DeviceUnfit, match="avx9000") as caught:
        load(_changed(cnn, tmp_path, cpu_features=["avx9000"]))
    assert caught.value.exit_code == 10


def test_where_the_system_does_not_tell_its_features_that_is_said(cnn, monkeypatch):
    monkeypatch.setattr(device, "cpu_features", lambda: None)
    with pytest.warns(RuntimeWarning, match="does not tell"):
        load(cnn.path)


def test_the_features_of_this_machine_are_those_of_the_target_host():
    from edgec.targets import host_features

    features = device.cpu_features()
    assert features is not None
    assert set(host_features()) <= features


def test_an_engine_that_is_older_than_the_artifact_wants_is_a_warning(cnn, tmp_path):
    options = {"outputs": ["scores"]}
    needed = {"name": "openvino", "distribution": "openvino", "minimum_version": "9999.1", "options": options}
    with pytest.warns(RuntimeWarning, match="older than 9999.1"):
        load(_changed(cnn, tmp_path, engine=needed))


def test_versions_are_compared_as_numbers():
    installed = check_engine({"name": "numpy", "minimum_version": "1.9"})
    assert installed == []  # "2.4" < "1.9" would be wrong, and so would "1.26" < "1.9" as text


def test_an_engine_that_is_not_installed_is_named():
    with pytest.raises(EngineMissing, match="not installed") as caught:
        check_engine({"name": "tflite", "distribution": "no-such-package", "minimum_version": "1.0"})
    assert 'pip install "no-such-package>=1.0"' in caught.value.fix


def test_a_payload_that_is_its_own_engine_needs_nothing_installed():
    assert check_engine({"name": "tvm", "distribution": "", "minimum_version": ""}) == []


def test_an_engine_that_the_runtime_does_not_know_is_refused():
    with pytest.raises(EngineMissing, match="needs the engine 'abacus'"):
        open_engine("abacus", {}, {})


def test_an_option_that_the_engine_does_not_know_is_not_ignored():
    with pytest.raises(EngineMissing, match="'turbo'"):
        open_engine("openvino", {"model.xml": b"", "model.bin": b""}, {"outputs": ["y"], "turbo": True})


def test_a_payload_without_the_names_of_its_outputs_is_incomplete():
    with pytest.raises(BundleError, match="incomplete"):
        open_engine("openvino", {"model.xml": b"", "model.bin": b""}, {})


def test_the_self_test_notices_another_output(cnn):
    model = load(cnn.path)
    with zipfile.ZipFile(cnn.path) as archive:
        golden = read_golden(archive.read("golden.npz"))
    (feeds, outputs), *_ = golden.samples[0]
    wrong = {"scores": outputs["scores"] + 3 / 32}
    altered = dataclasses.replace(golden, samples=(((feeds, wrong),),))
    (result,) = replay(model, altered, {"scores": 2 / 32})
    assert not result.passed
    assert result.max_lsb == pytest.approx(3, abs=0.01)
    (result,) = replay(model, altered, {"scores": 4 / 32})
    assert result.passed


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        ([np.nan, np.inf], [np.nan, np.inf], 0.0),
        ([1.0], [np.nan], np.inf),
        ([np.inf], [-np.inf], np.inf),
        ([1.0, 2.0], [1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_differences_with_values_that_are_no_numbers(expected, actual, difference):
    assert largest_difference(np.array(expected), np.array(actual)) == difference
