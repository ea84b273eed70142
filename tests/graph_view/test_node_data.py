"""Model Explorer's node data."""

from __future__ import annotations

import pytest

from edgec.graph_view.layers import Known
from edgec.graph_view.measures import FILES, MEASURES
from edgec.graph_view.node_data import node_data

KNOWN = {
    "conv": Known(numbers={"macs": 1500, "precision": "int8", "error": 18.0}),
    "gemm": Known(numbers={"macs": 500, "precision": "float"}),
    "relu": Known(),
}


def test_a_measure_that_nothing_has_makes_no_file():
    assert set(node_data(KNOWN, "m", {})) == {"macs", "precision", "error"}
    assert {f"{name}.json" for name in MEASURES} < set(FILES)


def test_nodes_of_the_onnx_graph_are_found_by_their_names():
    document = node_data(KNOWN, "m", {})["macs"]
    assert list(document) == ["m"]
    assert document["m"]["results"] == {"conv": {"value": 1500}, "gemm": {"value": 500}}


def test_operators_of_the_payload_are_found_by_their_tensors():
    document = node_data(KNOWN, "m", {"conv": "relu_y/nhwc"})["macs"]
    assert document["main"]["results"] == {"relu_y/nhwc": {"value": 1500}}


def test_a_payload_that_shares_no_tensor_has_no_data():
    assert all(list(document) == ["m"] for document in node_data(KNOWN, "m", {"other": "y"}).values())


@pytest.mark.parametrize("measure", ["macs", "error"])
def test_thresholds_rise_and_cover_every_value(measure):
    data = node_data(KNOWN, "m", {})[measure]["m"]
    limits = [item["value"] for item in data["thresholds"]]
    assert limits == sorted(limits)
    assert max(item["value"] for item in data["results"].values()) <= limits[-1]


def test_precisions_have_colours_of_their_own():
    data = node_data(KNOWN, "m", {})["precision"]["m"]
    assert "thresholds" not in data
    assert len({item["bgColor"] for item in data["results"].values()}) == 2
