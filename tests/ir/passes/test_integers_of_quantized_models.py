"""Models as the quantizer writes them, through all passes, against ONNX Runtime on the QDQ model."""

import numpy as np
import pytest

from edgec.ir.accounting import account
from edgec.ir.graph import Graph
from edgec.ir.importer import import_model
from edgec.ir.passes.boundary import boundary_integers
from edgec.ir.passes.fold_constants import fold_constants
from edgec.ir.passes.fuse import fuse
from edgec.ir.passes.integers import float_between, integer_operations
from edgec.ir.passes.transposes import place_transposes
from edgec.ir.reference import execute
from edgec.ir.verifier import run_passes
from edgec.onnx_graph.canonicalization import canonical
from edgec.onnx_graph.graph import Graph as OnnxGraph
from edgec.quantization.emit import emit
from edgec.quantization.held_out import serialized
from edgec.quantization.opset import OPSET_OF_INT16, raised
from edgec.quantization.placement import place
from edgec.quantization.scales import choose_scales
from edgec.reference import Reference
from tests.contract.models import conv_int8, feeds_for, gemm_int8, gemm_int8_to_float
from tests.ir.passes.test_integers import Everything
from tests.quantization.test_emit import CASES, quantized
from tests.quantization.tiny import random_feeds, statistics_of

RANK_5 = ["Conv/3d"]
"""Cases that the graph does not hold."""

FULL_OF_TIES = ["AveragePool", "Resize/linear"]
"""Cases whose results are quarters of a step: one in four is a tie, which float32 breaks at random."""


def lowered(model, free_boundary: bool = False, early: list | None = None) -> Graph:
    def transposes(graph: Graph) -> Graph:
        return place_transposes(graph, free_boundary)

    def integers(graph: Graph) -> Graph:
        if early is not None:
            early.append(graph)
        return integer_operations(graph, Everything())

    return run_passes(import_model(model), [fold_constants, transposes, fuse, integers])


def by_layout(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Feeds in the order of dimensions that the graph stores."""
    return {
        name: np.ascontiguousarray(data.transpose(graph.layouts[name])) if name in graph.layouts else data
        for name, data in feeds.items()
    }


def grids_of_outputs(graph: Graph) -> dict[str, float]:
    """The step of each output that a Dequantize makes."""
    made = graph.producers()
    found = {}
    for name in graph.outputs:
        if name in made and made[name].kind.label == "Dequantize":
            quantization = graph.type(made[name].inputs[0]).quantization
            assert quantization is not None
            found[name] = quantization.scale[0]
    return found


def compared(model, graph: Graph, feeds: list[dict[str, np.ndarray]]) -> tuple[float, float]:
    """The largest difference of any output to ONNX Runtime, in steps, and the share of results that differ."""
    reference = Reference(serialized(model), "none")
    steps = grids_of_outputs(graph)
    differences = []
    for feed in feeds:
        expected, found = reference.run(feed), execute(graph, by_layout(graph, feed))
        for name in graph.outputs:
            here = found[name]
            if name in graph.layouts:
                here = here.transpose(np.argsort(graph.layouts[name]))
            assert here.shape == expected[name].shape and here.dtype == expected[name].dtype
            differences.append(np.abs(here.astype(np.float64) - expected[name]).reshape(-1) / steps.get(name, 1))
    every = np.concatenate(differences)
    return float(every.max(initial=0)), float(np.mean(every > 0.5))


@pytest.mark.parametrize("name", [name for name in CASES if name not in RANK_5])
def test_strict_computes_in_integers_alone(name):
    model = CASES[name]()
    feeds = random_feeds(model, 8)
    *_, emitted = quantized(model, feeds=feeds)
    early: list[Graph] = []
    graph = lowered(emitted.model, early=early)
    in_float = float_between(graph, Everything())
    assert [item.result for item in float_between(early[0], Everything())] == [item.result for item in in_float]
    assert not in_float
    assert account(graph).integer_share == 1
    largest, share = compared(emitted.model, graph, feeds)
    if grids_of_outputs(graph):
        assert largest < 1.01 and share < (0.06 if name in FULL_OF_TIES else 0.01), (largest, share)
    else:
        assert share == 0


@pytest.mark.parametrize("name", [name for name in CASES if name not in RANK_5])
def test_islands_compute_what_they_did(name):
    model = CASES[name]()
    feeds = random_feeds(model, 4)
    *_, emitted = quantized(model, "islands", feeds=feeds)
    graph = lowered(emitted.model)
    reference = Reference(serialized(emitted.model), "none")
    for feed in feeds:
        expected, found = reference.run(feed), execute(graph, feed)
        for output, value in expected.items():
            largest = np.abs(value).max()
            assert np.quantile(np.abs(found[output] - value), 0.98) <= 1e-4 * max(largest, 1)
            assert np.abs(found[output] - value).max() <= 0.03 * max(largest, 1)


@pytest.mark.parametrize("free_boundary", [False, True])
@pytest.mark.parametrize("make", [conv_int8, gemm_int8, gemm_int8_to_float], ids=lambda make: make.__name__)
def test_the_models_of_the_contract(make, free_boundary):
    model = make()
    graph = lowered(model, free_boundary)
    in_float = [item.reason for item in float_between(graph, Everything()) if item.macs]
    assert in_float == ["its result 'logits' is needed in float32"] * (make is gemm_int8_to_float)
    largest, _ = compared(model, graph, [feeds_for(model, seed) for seed in range(4)])
    assert largest < 1.01


@pytest.mark.parametrize("name", ["Conv", "Conv/depthwise", "Gemm", "MatMul/bias-relu", "Add", "Softmax", "Concat"])
def test_sixteen_bits(name):
    model = raised(CASES[name](), OPSET_OF_INT16)
    feeds = random_feeds(model, 8)
    statistics = statistics_of(model, feeds)
    graph = OnnxGraph(canonical(model, without=("no-effect",)).model)
    placement = place(graph, "strict", {}, statistics)
    scales = choose_scales(graph, placement, statistics, "minmax", int16=set(placement.slots.values()))
    emitted = emit(graph, placement, scales.slots, statistics)
    made = lowered(emitted.model)
    assert any(value.type.dtype == "int16" for value in made.values.values())
    assert float_between(made, Everything()) == []
    largest, share = compared(emitted.model, made, feeds)
    assert largest < 1.01 and share < 0.02


def test_integers_at_the_boundary():
    model = CASES["Conv/relu6"]()
    feeds = random_feeds(model, 4)
    *_, emitted = quantized(model, feeds=feeds)
    graph = lowered(emitted.model, free_boundary=True)
    inner = run_passes(graph, [boundary_integers])
    assert [item.kind.label for item in inner.operations] == ["Conv2D"]
    assert inner.inputs == graph.inputs and inner.outputs == graph.outputs and inner.layouts == graph.layouts
    assert {of.dtype for of in inner.types_of((*inner.inputs, *inner.outputs))} == {"int8"}


def test_layers_keep_the_names_that_they_have_in_onnx():
    model = CASES["Add/relu"]()
    *_, emitted = quantized(model)
    graph = lowered(emitted.model)
    named = {item.kind.label: item.outputs[0] for item in graph.operations}
    assert named["Conv2D"] == "c/nhwc" and graph.type("c/nhwc").dtype == "int8"
    assert graph.outputs == ("y",)
