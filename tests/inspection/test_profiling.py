"""Times of ONNX Runtime's kernels, told of the graph's own nodes."""

from __future__ import annotations

import pytest

from edgec.inspection.layers import Census
from edgec.inspection.profiling import Kernel, assigned, profile
from edgec.onnx_graph.graph import Graph, load_model
from tests.inspection.test_layers import graph_of, node, residual  # noqa: F401

COST = {"n_a": 800, "n_c": 800}


def test_a_kernel_that_fuses_nodes_is_told_of_the_one_that_multiplies(residual):  # noqa: F811
    kernels = [Kernel("fused n_a", ("r",), 2.0), Kernel("n_c", ("c",), 1.0), Kernel("n_y", ("y",), 0.5)]
    by_node, into, elsewhere = assigned(residual, kernels, COST)
    assert by_node == {"n_a": 2.0, "n_c": 1.0, "n_y": 0.5}
    assert into == {"n_r": "n_a"}
    assert elsewhere == 0


def test_kernels_of_the_blocked_layout_are_known_by_their_names(residual):  # noqa: F811
    """Their results have names of ONNX Runtime's own, and the sum is part of the second convolution."""
    kernels = [
        Kernel("r_nchwc", ("reorder",), 2.0),
        Kernel("c_nchwc_token_3", ("reorder_token_1",), 1.0),
        Kernel("ReorderOutput", ("z",), 0.25),
    ]
    by_node, into, elsewhere = assigned(residual, kernels, COST)
    assert by_node == {"n_a": 2.0, "n_c": 1.0}
    assert into == {"n_r": "n_a", "n_y": "n_c"}
    assert elsewhere == 0.25


def test_every_millisecond_goes_somewhere(residual):  # noqa: F811
    kernels = [Kernel("unheard of", ("z",), 1.0), Kernel("whole", ("y",), 3.0), Kernel("again", ("y",), 0.5)]
    by_node, into, elsewhere = assigned(residual, kernels, COST)
    assert sum(by_node.values()) + elsewhere == 4.5
    assert set(into) | set(by_node) == {"n_a", "n_r", "n_c", "n_y"}


def test_nodes_that_repeat_the_work_of_others_have_no_time():
    """ONNX Runtime computes what stands twice in a model once, and leaves no kernel for the second."""
    graph = graph_of(
        [node("Relu", ["x"], "a"), node("Relu", ["x"], "b"), node("Tanh", ["a"], "c"), node("Tanh", ["b"], "d")],
        {},
        {"x": (4,)},
        {"c": (4,), "d": (4,)},
    )
    by_node, into, elsewhere = assigned(graph, [Kernel("n_a", ("a",), 1.0), Kernel("n_c", ("c",), 2.0)], {})
    assert (by_node, into, elsewhere) == ({"n_a": 1.0, "n_c": 2.0}, {}, 0.0)


def test_a_real_profile_leaves_no_node_without_an_answer(digits):
    import numpy as np

    graph = Graph(load_model(digits.model))
    (name,) = graph.inputs
    shape = tuple(size or 1 for size in graph.shape(name) or (1, 1, 8, 8))
    cost = {layer.node: layer.macs for layer in Census(graph).layers()}
    found = profile(digits.model, graph, {name: np.ones(shape, np.float32)}, cost)
    assert found.runs >= 3
    assert sum(found.by_node.values()) + found.elsewhere == pytest.approx(found.milliseconds)
    named = {node.name for node in graph.nodes}
    assert named == set(found.by_node) | set(found.into)
    assert all(found.by_node[owner] >= 0 for owner in found.into.values())
