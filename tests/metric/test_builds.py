"""A measure of the user's own, in a build: the digits example, as its README shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import edgec
from edgec.errors import CalibrationDataError, ParityGateError, UsageError
from edgec.spec import BuildSpec


@pytest.fixture
def metric(digits):
    return f"{digits.model.parent / 'metric.py'}:accuracy"


@pytest.fixture
def build(digits, store_with_front, tmp_path):
    """Build digits, in float and so in no time unless told otherwise."""

    def run(**changes):
        arguments = {"calibration": digits.calibration, "preprocess": digits.recipe, "output": tmp_path / "dist"}
        arguments |= {"precision": "float", "backend": "openvino"}
        return edgec.build(digits.model, **{**arguments, **changes})

    return run


def own_metric(folder, text):
    path = folder / "own.py"
    path.write_text(text)
    return f"{path}:m"


def seen(result):
    return result.builds[0].parity["metric"]


def test_the_example_measures_the_500_test_digits(digits, tmp_path, metric):
    test = str(digits.model.parent / "test.npz")
    command = [sys.executable, "-m", "edgec", "build", str(digits.model), "--calib", str(digits.calibration)]
    command += ["--preprocess", digits.recipe, "--backend", "openvino", "-o", str(tmp_path)]
    command += ["--metric", metric, "--eval", test, "--labels", test, "--max-drop", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "metric" in done.stdout and "on 500 samples, at most 0.01 lower" in done.stdout
    report = json.loads((tmp_path / "digits_cnn-host.report.json").read_text())
    found = report["parity"]["metric"]
    assert found["original"] == pytest.approx(0.976)
    assert found["drop"] == pytest.approx(found["original"] - found["artifact"])
    assert (found["samples"], found["max_drop"], found["labels"]) == (500, 0.01, "test.npz")
    assert "Your metric" in (tmp_path / "digits_cnn-host.report.html").read_text()


def test_without_eval_the_held_out_part_is_measured(build, digits, metric, tmp_path):
    names = sorted(path.name for path in digits.calibration.iterdir())
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{name},{name[8]}\n" for name in names))
    by_name, by_file = seen(build(metric=metric)), seen(build(metric=metric, labels=labels))
    assert by_name["evaluation"] == "held out"
    assert by_name["samples"] == by_file["samples"] < len(names)
    assert by_name["original"] == by_file["original"] == 1


def test_folders_may_be_the_classes(build, digits, tmp_path):
    for path in digits.calibration.iterdir():
        (tmp_path / "data" / path.name[8]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / path.name[8])
    text = "def m(outputs, labels):\n    return sum(o['logits'].argmax() == int(l) for o, l in zip(outputs, labels))\n"
    found = seen(build(calibration=tmp_path / "data", metric=own_metric(tmp_path, text), labels="folders"))
    assert found["original"] == found["samples"]


def test_what_is_stored_depends_on_the_text_of_the_metric_and_the_labels(build, tmp_path):
    def stages(text, labels):
        (tmp_path / "l.txt").write_text("\n".join(labels * 64))
        result = build(metric=own_metric(tmp_path, text), labels=tmp_path / "l.txt")
        return {stage.name: stage.cached for stage in result.builds[0].stages}

    first = "def m(outputs, labels): return float(labels[0])\n"
    assert not stages(first, ["1"])["metric"]
    again = stages(first, ["1"])
    assert again["metric"] and again["validate"]
    for changed in (stages(first + "\n", ["1"]), stages(first, ["2"])):
        assert not changed["metric"] and not changed["validate"]
        assert changed["lower"], "what does not depend on it is not made again"


def test_an_artifact_does_not_tell_where_metric_and_labels_were(build, tmp_path):
    digests = set()
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "l.txt").write_text("\n".join(["1"] * 64))
        metric = own_metric(folder, "def m(outputs, labels): return float(labels[0])\n")
        result = build(metric=metric, labels=folder / "l.txt", output=folder)
        assert (seen(result)["name"], seen(result)["labels"]) == ("own.py:m", "l.txt")
        digests.add(result.builds[0].artifact.sha256)
    assert len(digests) == 1


def test_a_fall_beyond_the_limit_refuses_the_artifact(build, tmp_path):
    """Whatever is not the original is worse, by how far the sum of all logits is from the original's."""
    total = "float(sum(o['logits'].sum() for o in outputs))"
    exact = seen(build(metric=own_metric(tmp_path, f"def m(outputs, labels): return {total}\n")))["original"]
    distance = own_metric(tmp_path, f"def m(outputs, labels): return 1 - abs({total} - {exact!r})\n")
    with pytest.raises(ParityGateError) as caught:
        build(metric=distance, max_drop=1e-4, precision="int8")
    assert caught.value.exit_code == 6
    assert any("the metric" in failure and "falls from" in failure for failure in caught.value.details["failures"])


def test_with_a_limit_the_metric_decides_in_place_of_limits_that_were_not_given(build, metric):
    arguments = {"metric": metric, "max_drop": 1.0, "precision": "int8-weights"}
    assert build(**arguments).builds[0].parity["passed"]
    with pytest.raises(ParityGateError):
        build(**arguments, gate={"sqnr": 200})


def test_a_metric_of_chance_is_told(build, tmp_path):
    text = "import random\ndef m(outputs, labels): return random.random()\n"
    notes = build(metric=own_metric(tmp_path, text)).builds[0].notes
    assert any("depends on chance" in note.text and note.level == "warning" for note in notes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def m(outputs, labels): return outputs[0]['nope']\n", "failed with KeyError"),
        ("def m(outputs, labels): return float('nan')\n", "gives nan"),
        ("def m(outputs): return 1.0\n", "can't be called"),
        ("def other(outputs, labels): return 1.0\n", "no function called"),
    ],
)
def test_a_metric_that_fails_is_told_before_the_long_work(build, tmp_path, text, told):
    heard = []
    with pytest.raises(UsageError, match=told) as caught:
        build(metric=own_metric(tmp_path, text), listener=lambda event: heard.append(event))
    assert caught.value.exit_code == 2
    assert not any(getattr(event, "stage", "") in ("lower", "validate") for event in heard)


@pytest.mark.parametrize(
    ("what", "told"),
    [("nothing", "There is no"), ("empty", "no samples"), ("shape", "shape"), ("few", "holds 3 labels")],
)
def test_data_and_labels_that_do_not_fit_are_told(build, metric, tmp_path, what, told):
    data = tmp_path / "eval"
    changes = {"evaluation": data}
    if what != "nothing":
        data.mkdir()
    if what == "shape":
        np.save(data / "a.npy", np.zeros((2, 3, 7, 9), np.float32))
        np.save(tmp_path / "calib.npy", np.random.default_rng(0).random((16, 1, 1, 8, 8), np.float32))
        changes = {"evaluation": data, "calibration": tmp_path / "calib.npy", "preprocess": None}
    if what == "few":
        (tmp_path / "l.txt").write_text("1\n2\n3\n")
        changes = {"labels": tmp_path / "l.txt"}
    with pytest.raises(CalibrationDataError) as caught:
        build(metric=metric, **changes)
    assert told in str(caught.value)
    assert "--calib" not in caught.value.fix


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"labels": "l.csv"}, "--labels was given without a metric"),
        ({"evaluation": "e"}, "--eval was given without a metric"),
        ({"max_drop": 0.1}, "--max-drop was given without a metric"),
        ({"metric": "m.py:m", "max_drop": -1.0}, "is no limit"),
        ({"metric": "m.py:m", "max_drop": float("nan")}, "is no limit"),
        ({"metric": "m.py:m", "calibration": None}, "nothing to measure the metric on"),
        ({"metric": "m.py:m", "calibration": "random"}, "random numbers"),
    ],
)
def test_flags_that_make_no_sense_together(tmp_path, flags, told):
    with pytest.raises(UsageError) as caught:
        BuildSpec(**{"model": tmp_path / "m.onnx", "calibration": tmp_path, **flags})
    assert told in str(caught.value)
