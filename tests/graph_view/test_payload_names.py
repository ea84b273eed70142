"""Nodes of the model among the operators of a payload."""

from __future__ import annotations

from edgec.graph_view.layers import GraphNode
from edgec.graph_view.payload_names import payload_names, tensors_of_layers

CONV = GraphNode("conv", "Conv", ("x",), ("conv_y",))
RELU = GraphNode("relu", "Relu", ("conv_y",), ("relu_y",))
FC = GraphNode("fc", "Gemm", ("relu_y",), ("logits",))


def test_a_kernel_is_found_by_the_tensor_of_its_last_node():
    found = payload_names([CONV, RELU], {"conv": [CONV, RELU]}, [], ["x/nhwc", "relu_y/nhwc"])
    assert found == {"conv": "relu_y/nhwc"}


def test_a_kernel_that_was_taken_apart_is_found_by_its_first_node():
    assert payload_names([CONV, RELU], {"conv": [CONV, RELU]}, [], ["conv_y"]) == {"conv": "conv_y"}


def test_the_very_name_counts_before_one_with_an_order():
    assert payload_names([CONV], {}, [], ["conv_y/nhwc", "conv_y"]) == {"conv": "conv_y"}


def test_a_quantized_output_is_the_operator_that_computes_and_not_the_one_that_converts():
    lowered = [GraphNode("fc", "Gemm", ("relu_y",), ("logits_raw",))]
    assert payload_names([FC], {}, lowered, ["logits_raw", "logits"]) == {"fc": "logits_raw"}


def test_what_has_no_tensor_is_left_out():
    assert payload_names([CONV, FC], {}, [], ["logits"]) == {"fc": "logits"}


def test_layers_of_an_ir_are_known_by_the_next_tensor_of_the_model(tmp_path):
    ir = tmp_path / "model.xml"
    ir.write_text(
        """<net><layers>
        <layer id="0" name="n0"><output><port id="0" names="x,also"/></output></layer>
        <layer id="1" name="n1"><output><port id="0"/></output></layer>
        <layer id="2" name="n2"><output><port id="0" names="relu_y"/></output></layer>
        <layer id="3" name="n3"/>
        </layers><edges>
        <edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
        <edge from-layer="1" from-port="0" to-layer="2" to-port="0"/>
        <edge from-layer="2" from-port="0" to-layer="3" to-port="0"/>
        </edges></net>"""
    )
    assert tensors_of_layers(ir) == {"n0": "x", "n1": "relu_y", "n2": "relu_y"}
