"""edgec.toml describes builds; its paths are relative to it."""

from pathlib import Path

import pytest

from edgec.errors import UsageError
from edgec.project_file import read_project
from edgec.spec import PRECISIONS

FULL = """
[[build]]
model = "models/a.onnx"
targets = ["host", "x86-64-vnni"]
calibration = "photos"
preprocess = "imagenet"
shapes = { x = [1, 3, 48, 192] }
state = { stateN = "state" }
gate = { cosine_p01 = 0.9 }
samples = 64
keep_float = ["conv1"]
force = ["gptq"]
forbid = ["rescale"]
search_seconds = 30
max_float_macs = 0.2
min_int8_macs = 0.9
metric = "own.py:accuracy"
labels = "labels.csv"
evaluation = "test"
max_drop = 0.01
threads = 2
search = true
optimize = "size"
max_latency = "20ms"
max_size = "5MB"
simplify = false

[[build]]
model = "b.onnx"
precision = "float"
search = true
"""


def read(tmp_path, text):
    path = tmp_path / "edgec.toml"
    path.write_text(text)
    return read_project(path, Path("out"))


def test_every_key_reaches_the_specification(tmp_path):
    first, second = read(tmp_path, FULL)
    assert first.model == tmp_path / "models" / "a.onnx"
    assert first.targets == ("host", "x86-64-vnni")
    assert first.calibration == tmp_path / "photos"
    assert first.recipe == "imagenet"
    assert first.shapes == {"x": (1, 3, 48, 192)}
    assert first.state == {"stateN": "state"}
    assert first.gate == {"cosine_p01": 0.9}
    assert first.max_samples == 64
    assert first.keep_float == ("conv1",)
    assert (first.force, first.forbid, first.search_seconds) == (("gptq",), ("rescale",), 30.0)
    assert (first.max_float_macs, first.min_int8_macs, first.max_drop) == (0.2, 0.9, 0.01)
    assert first.metric == f"{tmp_path / 'own.py'}:accuracy"
    assert (first.labels, first.evaluation) == (tmp_path / "labels.csv", tmp_path / "test")
    assert (first.threads, first.optimize, first.max_latency, first.max_size) == (2, "size", 20.0, 5_000_000)
    assert (first.search, second.search) == (PRECISIONS, ("float",))
    assert not first.simplify
    assert second.precision == "float"
    assert second.calibration is None
    assert second.output == Path("out")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no build"),
        ("[[build]]\n", "model is missing"),
        ('[[build]]\nmodel = "a"\nprecision = "int4"\n', "line 3"),
        ('[[build]]\nmodel = "a"\ntarget = "host"\n', "Did you mean 'targets'"),
        ('[[build]]\nmodel = "a"\nsamples = "many"\n', "line 3"),
        ('[build]\nmodel = "a"\n', r"\[\[build\]\]"),
        ("[[build]\n", "line 1"),
    ],
)
def test_mistakes_are_told_where_they_are(tmp_path, text, told):
    with pytest.raises(UsageError, match=told):
        read(tmp_path, text)
