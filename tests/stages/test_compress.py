"""Compress: refuses what it can't do in plain words, and says what stays float32."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from edgec.errors import UsageError
from edgec.spec import BuildSpec
from edgec.stage import StageContext
from edgec.stages import compress
from tests.contract import models


def run(folder, model, precision="int8-weights", keep_float=()):
    source, out = folder / "source", folder / "out"
    source.mkdir(exist_ok=True)
    out.mkdir()
    onnx.save(model, source / "model.onnx")
    notes = []
    params = compress.CompressParams(precision, keep_float)
    compress.run(source, params, StageContext("compress", out, lambda event: notes.append(getattr(event, "text", ""))))
    return json.loads((out / "compress.json").read_text()), [text for text in notes if text]


def test_what_was_stored_and_what_stays_is_written_down(tmp_path):
    document, _ = run(tmp_path, models.conv_float(), keep_float=("conv.c1",))
    assert {item["name"]: item["form"] for item in document["weights"]} == {"w2": "int8"}
    assert document["bytes_after"] < document["bytes_before"]
    assert (tmp_path / "out" / compress.REFERENCE).exists()


def test_a_weight_that_float16_can_not_hold_is_a_warning(tmp_path):
    net = models.Net()
    net.constant("fine", net.weights("fine", (32, 32)))
    net.constant("large", net.weights("large", (32, 32)) * np.float32(1e7))
    net.add("MatMul", ["x", "fine"], "h")
    net.add("MatMul", ["h", "large"], "y")
    document, notes = run(tmp_path, net.model({"x": (1, [1, 32])}, {"y": (1, [1, 32])}), "fp16")
    assert [item["name"] for item in document["weights"]] == ["fine"]
    assert [item["name"] for item in document["left"]] == ["large"]
    assert "large: its largest value is" in notes[-1]


def test_a_node_that_was_fused_away_means_the_one_it_went_into(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "canonicalize.json").write_text('{"became": {"scale": "conv.c1"}}')
    document, _ = run(tmp_path, models.conv_float(), keep_float=("scale",))
    assert {item["name"]: item["form"] for item in document["weights"]} == {"w2": "int8"}


def test_a_node_that_does_not_exist_is_named_with_one_that_does(tmp_path):
    with pytest.raises(UsageError, match=r"conv\.c11.*Did you mean 'conv\.c1'"):
        run(tmp_path, models.conv_float(), keep_float=("conv.c11",))


def test_a_model_whose_activations_came_quantized_is_refused(tmp_path):
    with pytest.raises(UsageError, match="came quantized") as caught:
        run(tmp_path, models.conv_int8())
    assert "--precision int8" in caught.value.fix


def test_a_model_without_weights_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No weight of the model gets smaller"):
        run(tmp_path, models.branches(), "fp16")


@pytest.mark.parametrize("precision", ["fp16", "int8-weights", "float"])
@pytest.mark.parametrize(
    "options",
    [
        {"profile": "islands"},
        {"force": ("gptq",)},
        {"forbid": ("gptq",)},
        {"search_seconds": 10.0},
        {"min_int8_macs": 0.5},
        {"max_float_macs": 0.5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_int8_are_refused_where_arithmetic_is_float(tmp_path, precision, options):
    (name,) = options
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} ") as caught:
        BuildSpec(tmp_path / "model.onnx", precision=precision, **options)
    assert "--precision int8" in caught.value.fix


def test_keep_float_means_weights_of_int8_weights_and_nothing_of_the_others(tmp_path):
    BuildSpec(tmp_path / "model.onnx", precision="int8-weights", keep_float=("conv",))
    for precision in ("fp16", "float"):
        with pytest.raises(UsageError, match="--keep-float"):
            BuildSpec(tmp_path / "model.onnx", precision=precision, keep_float=("conv",))
