"""Small models on a workbench: networks with a known weakness, their statistics, and samples to judge candidates by."""

import numpy as np

from edgec.contract import Contract, TensorSpec
from edgec.onnx_graph.graph import Graph
from edgec.parity.thresholds import Gate
from edgec.quantization.calibration_runs import CalibrationRuns
from edgec.quantization.held_out import HeldOut
from edgec.quantization.journal import Journal
from edgec.quantization.workshop import ON_REQUEST, Workshop
from edgec.samples import Sample
from tests.quantization.tiny import network, node, random_feeds, statistics_of

F = np.float32
X = {"x": [1, 8, 16]}


def weights(*shape):
    return (np.random.default_rng([21, *shape]).normal(size=shape) / np.sqrt(shape[0])).astype(F)


class Feeds:
    """Samples in memory."""

    digest = "0" * 64

    def __init__(self, feeds):
        self.feeds = list(feeds)

    def __len__(self):
        return len(self.feeds)

    def read(self, indices=None):
        for i in range(len(self.feeds)) if indices is None else indices:
            yield Sample(f"sample {i}", (self.feeds[i],))


def workshop(model, gate=None, count=24, keep_float=(), feeds=None, journal=None):
    """Judges are the first eight feeds, calibration has seen all of them."""
    feeds = feeds or random_feeds(model, count)
    graph = Graph(model)
    contract = Contract(
        tuple(TensorSpec(name, "float32", graph.shape(name)) for name in graph.inputs),
        tuple(TensorSpec(name, "float32", graph.shape(name)) for name in graph.outputs),
    )
    judged_by = HeldOut(
        [Sample(str(i), (f,)) for i, f in enumerate(feeds[:8])], model.SerializeToString(), contract, {}
    )
    shop = Workshop.open(
        model, statistics_of(model, feeds), judged_by, gate or Gate(), in_float=dict.fromkeys(keep_float, ON_REQUEST)
    )
    shop.runs = CalibrationRuns(model, Feeds(feeds), contract, {})
    shop.journal = Journal(journal)
    return shop


def mlp(middle, constants=None, shape=(1, 8, 16)):
    """MatMul, whatever `middle` does to h, MatMul."""
    nodes = [node("MatMul", ["x", "v"], ["h"], "first"), *middle, node("MatMul", ["m", "w"], ["y"], "last")]
    return network(nodes, {"x": list(shape)}, ["y"], {"v": weights(16, 16), "w": weights(16, 8), **(constants or {})})


PLAIN = [node("Relu", ["h"], ["m"])]
NORM = [  # a LayerNorm in pieces, whose input varies over three decades
    node("Mul", ["h", "gains"], ["g"], "gain"),
    node("Mul", ["g", "g"], ["square"], "square"),
    node("ReduceMean", ["square"], ["variance"], "variance", axes=[-1]),
    node("Sqrt", ["variance"], ["deviation"], "sqrt"),
    node("Div", ["g", "deviation"], ["m"], "norm"),
]
GAINS = {"gains": np.logspace(-1.5, 1.5, 8).reshape(1, 8, 1).astype(F)}


def outlier_net():
    """Two layers of equal size; the second one's input has one channel 500 times wider than the others."""
    gains = np.ones(16, F)
    gains[3] = 500
    damp = np.eye(16, dtype=F)
    damp[3, 3] = 1 / 500
    return network(
        [
            node("MatMul", ["x", "v"], ["h"], "good"),
            node("Relu", ["h"], ["r"]),
            node("MatMul", ["r", "g"], ["wide"], "widen"),
            node("MatMul", ["wide", "d"], ["n"], "narrow"),
            node("Add", ["n", "r"], ["y"], "sum"),
        ],
        X,
        ["y"],
        {"v": weights(16, 16), "g": np.diag(gains), "d": damp},
    )
