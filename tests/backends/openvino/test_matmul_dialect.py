"""Products of two activations: zero points multiplied out, the same integers, INT8 kernels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.backends.base import LowerJob
from edgec.backends.openvino import BACKEND
from edgec.backends.openvino.matmul_dialect import without_zero_points
from edgec.backends.openvino.u8_dialect import to_u8_dialect
from edgec.reference import Reference
from edgec.targets import load_target
from tests.contract import models

SHAPES = {"a": (1, [2, 5, 7]), "b": (1, [2, 7, 3])}
RESULT = {"y": (1, [2, 5, 3])}


def attention(left: int, right: int, scales=(0.03, 0.05)) -> onnx.ModelProto:
    """a times b, both int8 with these zero points."""
    net = models.Net()
    net.add("Relu", ["a"], "ra")
    net.add("MatMul", [net.q_dq("ra", scales[0], left), net.q_dq("b", scales[1], right)], "y")
    return net.model(SHAPES, RESULT)


def feeds(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, (_, shape) in SHAPES.items()}


def run(model, seed=0):
    return Reference(model.SerializeToString(), "none").run(feeds(seed))


@settings(max_examples=25, deadline=None)
@given(st.integers(-128, 127), st.integers(-128, 127), st.integers(0, 3))
def test_the_product_stays_the_same_but_for_the_order_of_float_sums(left, right, seed):
    """Terms reach 7 * 255 * 255 * 0.03 * 0.05 = 683; a float32 sum of four of them rounds by less than 3e-4."""
    model = attention(left, right)
    changed = without_zero_points(to_u8_dialect(model))
    onnx.checker.check_model(changed, full_check=True)
    np.testing.assert_allclose(run(changed, seed)["y"], run(model, seed)["y"], rtol=0, atol=3e-4)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (-128, 0)])
def test_operands_without_zero_points_need_no_correction(left, right):
    changed = without_zero_points(to_u8_dialect(attention(left, right)))
    assert [node.op_type for node in changed.graph.node].count("ReduceSum") == 0
    np.testing.assert_array_equal(run(changed)["y"], run(attention(left, right))["y"])


def test_another_reader_keeps_its_pair():
    net = models.Net()
    a = net.q_dq("a", 0.03, 5)
    net.add("MatMul", [a, net.q_dq("b", 0.05, -9)], "y")
    net.add("Neg", [a], "n")
    model = net.model(SHAPES, {**RESULT, "n": SHAPES["a"]})
    changed = without_zero_points(to_u8_dialect(model))
    np.testing.assert_array_equal(run(changed)["n"], run(model)["n"])
    np.testing.assert_allclose(run(changed)["y"], run(model)["y"], atol=1e-5)


def test_products_with_weights_are_left_alone():
    model = to_u8_dialect(models.gemm_int8())
    assert without_zero_points(model) == model


@pytest.mark.parametrize(("left", "right"), [(0, 0), (-128, 0), (5, -9), (-128, 17), (3, 0)])
def test_openvino_computes_it_in_int8(left, right, tmp_path):
    onnx.save(attention(left, right), tmp_path / "model.onnx")
    (tmp_path / "out").mkdir()
    payload = BACKEND.lower(LowerJob(tmp_path / "model.onnx", load_target("host"), "int8", tmp_path / "out"))
    assert payload.facts["int8_mac_fraction_executed"] == payload.facts["int8_mac_fraction_declared"] == 1.0
    assert payload.facts["lost_int8"] == []
