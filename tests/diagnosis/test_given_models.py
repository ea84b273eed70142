"""Models that came quantized: the float counterpart is the same model without its Q/DQ pairs."""

import numpy as np
import pytest

from edgec.diagnosis.document import Case, diagnose
from edgec.diagnosis.float_counterpart import float_counterpart, with_rounded_constants_only
from edgec.onnx_graph.graph import Graph
from edgec.reference import Reference
from tests.diagnosis import planted
from tests.diagnosis.planted import images


@pytest.mark.parametrize("profile", ["strict", "islands"])
def test_the_counterpart_computes_what_the_model_would_without_rounding(profile):
    twin, _ = planted.quantized(planted.healthy(), images(), profile)
    counterpart = float_counterpart(twin)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in counterpart.graph.node}
    feeds = images(1)[0]
    floats, rounded = (
        Reference(model.SerializeToString(), "none").run(feeds)["scores"] for model in (counterpart, twin)
    )
    assert 0 < np.abs(floats - rounded).max() < 0.2 * np.abs(floats).max()


def test_only_constants_stay_rounded():
    model = planted.healthy()
    twin, _ = planted.quantized(model, images())
    half = with_rounded_constants_only(twin)
    assert "QuantizeLinear" not in {node.op_type for node in half.graph.node}
    feeds = images(1)[0]
    exact, halfway, whole = (
        Reference(each.SerializeToString(), "none").run(feeds)["scores"] for each in (model, half, twin)
    )
    assert 0 < np.abs(exact - halfway).max() < np.abs(exact - whole).max()


def test_a_fault_in_a_given_model_is_found(tmp_path):
    given = planted.case(planted.outlier_channel(), images())
    floats = Graph(float_counterpart(given.quantized.model))
    found = diagnose(Case(floats, given.quantized, given.contract, given.samples), tmp_path)
    assert [(each["cause"], each["node"]) for each in found["causes"]] == [("outlier-channel", "middle")]


def test_a_quantizer_in_place_of_a_relu_stays_one():
    twin, _ = planted.quantized(planted.healthy(), images())
    graph = Graph(twin)
    relu = next(node for node in twin.graph.node if node.op_type == "Relu")
    source = graph.producer[relu.input[0]]
    source.output[0] = relu.output[0]
    twin.graph.node.remove(relu)
    feeds = images(1)[0]
    floats, rounded = (
        Reference(model.SerializeToString(), "none").run(feeds)["scores"] for model in (float_counterpart(twin), twin)
    )
    assert np.abs(floats - rounded).max() < 0.2 * np.abs(floats).max()
