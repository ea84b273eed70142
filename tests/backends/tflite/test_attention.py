"""Products of two activations: XNNPACK multiplies them in float only."""

from __future__ import annotations

import numpy as np
import pytest

import edgec
from tests.contract.models import Net


def scores():
    """x w (x v)^T: most multiplications are those of the last product."""
    net = Net()
    for name in ("w", "v"):
        net.constant(name, net.weights(name, (16, 16)))
    net.add("MatMul", ["x", "w"], "queries")
    net.add("MatMul", ["x", "v"], "keys")
    net.add("Transpose", ["keys"], "turned", perm=[0, 2, 1])
    net.add("MatMul", ["queries", "turned"], "scores")
    return net.model({"x": (1, [1, 64, 16])}, {"scores": (1, [1, 64, 64])})


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEC_CACHE_DIR", str(tmp_path / "store"))
    path = tmp_path / "scores.onnx"
    path.write_bytes(scores().SerializeToString())
    samples = np.random.default_rng(2).normal(size=(24, 1, 64, 16)).astype(np.float32)

    def build(**how):
        result = edgec.build(path, calibration=list(samples), backend="tflite", output=tmp_path / "dist", **how)
        return result.builds[0]

    return build


def test_they_are_not_quantized_for_a_processor(built):
    made = built()
    assert made.precision == "mixed" and made.int8_mac_fraction < 0.5
    (product,) = [node for node in made.float_nodes if node["op"] == "MatMul"]
    assert "XNNPACK" in product["reason"]
    assert made.lowered["facts"]["lost_int8"] == []


def test_they_are_for_an_engine_of_integers(built):
    made = built(interface="int8")
    assert made.precision == "int8" and made.int8_mac_fraction == 1
    assert made.lowered["facts"]["operators"]["BATCH_MATMUL"] == 1
    assert made.lowered["facts"]["float_operations"] == []
