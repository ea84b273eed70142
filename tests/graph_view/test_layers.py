"""From the documents of a build to what is known of each node."""

from __future__ import annotations

import pytest

from edgec.graph_view.layers import Documents, GraphNode, kernels, known_of

NODES = [
    GraphNode("conv", "Conv", ("x", "w"), ("conv_y",)),
    GraphNode("relu", "Relu", ("conv_y",), ("relu_y",)),
    GraphNode("softmax", "Softmax", ("relu_y",), ("y",)),
]

ANALYSIS = {
    "totals": {"macs": 2000},
    "profile": {"engine": "onnxruntime", "version": "1.0", "threads": 1, "runs": 10, "milliseconds": 4.0},
    "layers": [
        {"node": "conv", "macs": 1500, "parameters": 27, "milliseconds": 3.0, "bound": "compute", "int8_at_most": 3.9},
        {"node": "softmax", "macs": 0, "parameters": 0, "milliseconds": None, "bound": None, "int8_at_most": None},
    ],
}

QUANTIZE = {
    "float_nodes": [{"name": "softmax", "op": "Softmax", "reason": "no INT8 kernel"}],
    "worst_layers": [{"node": "conv", "cause": "its weights cost the most", "remedy": "--force gptq"}],
    "layers": [
        {"node": "conv", "members": ["conv", "relu"], "precision": "int8", "isolated_db": 18.25},
        {"node": "softmax", "members": ["softmax"], "precision": "float", "isolated_db": None},
    ],
    "ranges": [
        {
            "tensor": "relu_y",
            "minimum": 0.0,
            "maximum": 9.5,
            "clipped_share": 0.0125,
            "grid": {"low": 0.0, "high": 6.0, "step": 0.0235, "bits": 8},
        }
    ],
}

GRIDS = {"relu_y": {"dtype": "int8", "scale": 0.0235, "zero_point": -128}}

ROW = {
    "node": "conv",
    "accumulated_db": 30.0,
    "isolated_db": 31.0,
    "alone_db": 17.5,
    "clipped_share": 0.5,
    "lowering": {"sqnr_db": 80.0},
    "cause": {"title": "outlier channel", "sentence": "channel 3 is wide", "remedy": "--force rescale"},
}


def test_without_documents_nothing_is_said():
    assert all(not known.texts and not known.numbers for known in known_of(NODES, Documents()).values())


def test_costs_come_with_their_share_and_where_they_were_measured():
    known = known_of(NODES, Documents(analysis=ANALYSIS))
    assert known["conv"].numbers == {"macs": 1500, "time-float32": 3.0}
    assert known["conv"].texts == {
        "macs": "1,500 (75.0%)",
        "parameters": "27",
        "time in float32": "3 ms (75.0%) in onnxruntime 1.0, 1 thread",
        "bound by": "compute; INT8 can be 3.9 times as fast at most",
    }
    assert not known["softmax"].texts


def test_a_model_that_could_not_be_profiled_has_no_times():
    known = known_of(NODES, Documents(analysis={**ANALYSIS, "profile": None}))
    assert known["conv"].numbers == {"macs": 1500}


def test_precision_error_and_grid_come_from_the_quantizer():
    known = known_of(NODES, Documents(quantize=QUANTIZE, grids=GRIDS))
    assert [known[node.name].numbers["precision"] for node in NODES] == ["int8", "int8", "float"]
    assert known["relu"].within == "conv"
    assert known["relu"].texts["computed with"] == "conv"
    assert known["relu"].texts["grid"] == "int8, 0.0235 * (q + 128)"
    assert known["relu"].texts["range"] == "calibration saw 0 to 9.5; the grid holds 0 to 6 and clips 1.25%"
    assert known["conv"].numbers["error"] == 18.25
    assert known["conv"].texts["helps"] == "--force gptq"
    assert known["softmax"].texts["float because"] == "no INT8 kernel"
    assert "error" not in known["softmax"].numbers


def test_a_diagnosis_knows_better_than_the_build():
    known = known_of(NODES, Documents(quantize=QUANTIZE, diagnosis={"layers": [ROW]}))["conv"]
    assert known.numbers == {
        "precision": "int8",
        "error": 17.5,
        "accumulated": 30.0,
        "isolated": 31.0,
        "lowering": 80.0,
    }
    assert known.texts["cause"] == "outlier channel: channel 3 is wide"
    assert known.texts["clipped"] == "50.000% of the values"


@pytest.mark.parametrize("name", ["conv, relu", "relu_y, conv_y"], ids=["nodes", "tensors"])
def test_a_step_of_several_nodes_counts_once_at_the_one_that_multiplies_most(name):
    steps = [
        {"name": name, "operator": "dense_3x3", "milliseconds": 0.003},
        {"name": "elsewhere", "operator": "copy", "milliseconds": 0.001},
    ]
    known = known_of(NODES, Documents(analysis=ANALYSIS, profile=steps, engine="tvm"))
    assert known["conv"].numbers["time-artifact"] == 0.003
    assert known["conv"].texts["time in the artifact"] == "3 us (75.0%) in tvm"
    assert "time-artifact" not in known["relu"].numbers
    assert known["relu"].texts["steps"] == "dense_3x3 3 us, counted at conv"


def test_steps_of_one_node_add_up():
    steps = [{"name": "conv", "operator": kind, "milliseconds": 0.25} for kind in ("border", "dense")]
    known = known_of(NODES, Documents(profile=steps, engine="tvm"))["conv"]
    assert known.numbers["time-artifact"] == 0.5
    assert known.texts["steps"] == "border 250 us; dense 250 us"


def test_a_name_with_a_comma_is_one_name():
    node = GraphNode("a, b", "Conv", ("x",), ("y",))
    others = [GraphNode(name, "Relu", ("y",), (f"{name}_y",)) for name in "ab"]
    steps = [{"name": "a, b", "operator": "dense", "milliseconds": 1.0}]
    known = known_of([node, *others], Documents(profile=steps))
    assert [name for name in known if "time-artifact" in known[name].numbers] == ["a, b"]


def test_documents_may_name_nodes_that_the_graph_does_not_have():
    other = [GraphNode("other", "Conv", ("x",), ("z",))]
    documents = Documents(ANALYSIS, QUANTIZE, GRIDS, {"layers": [ROW]}, [{"name": "conv", "milliseconds": 1.0}])
    assert not known_of(other, documents)["other"].texts
    assert kernels(other, QUANTIZE) == {}
