"""Graphs as the importer writes them: in ONNX's order, with Transposes around what has channels last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Graph, TensorType
from edgec.ir.kinds import Kind
from edgec.ir.reference.executor import execute
from edgec.ir.verifier import verify

TO_LAST = (0, 2, 3, 1)
TO_FIRST = (0, 3, 1, 2)


class OnnxOrder(GraphBuilder):
    """A builder with operations of ONNX's order. Results are integers in float32, so that sums are exact."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)

    def image(self, name: str, *shape: int) -> str:
        return self.input(name, TensorType(shape, "float32"))

    def integers(self, name: str, *shape: int) -> str:
        return self.constant(name, self.random.integers(-2, 3, shape).astype(np.float32))

    def channels_last(self, kind: Kind, x: str, output: str, *rest: str) -> str:
        """What works on N, H, W, C, between two Transposes."""
        before = self.add(kinds.Transpose(TO_LAST), [x], f"{x}/nhwc")
        made = self.add(kind, [before, *rest], f"{output}/nhwc", origin=[f"node_{output}"])
        return self.add(kinds.Transpose(TO_FIRST), [made], output)

    def conv(self, x: str, output: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        weights = self.integers(f"{output}.w", channels, kernel, kernel, self.type(x).shape[1])
        half = kernel // 2
        kind = kinds.Conv2D((stride, stride), padding=kinds.Padding2D(half, half, half, half))
        return self.channels_last(kind, x, output, weights, self.integers(f"{output}.b", channels))

    def gemm(self, x: str, output: str, features: int) -> str:
        weights = self.integers(f"{output}.w", features, self.type(x).shape[-1])
        return self.add(kinds.FullyConnected(), [x, weights], output, origin=[f"node_{output}"])


def feeds_of(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Small integers for every input."""
    random = np.random.default_rng(seed)
    return {
        name: random.integers(-3, 4, graph.type(name).shape).astype(graph.type(name).dtype) for name in graph.inputs
    }


def assert_same(before: Graph, after: Graph, feeds: dict[str, np.ndarray] | None = None) -> None:
    """Both compute the same to the bit, apart from the layouts of inputs and outputs."""
    verify(before)
    verify(after)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    feeds = feeds if feeds is not None else feeds_of(before)
    expected = execute(before, feeds)
    found = execute(after, {name: stored(after, name, data) for name, data in feeds.items()})
    for name in before.outputs:
        np.testing.assert_array_equal(found[name], stored(after, name, expected[name]), err_msg=name)


def stored(graph: Graph, name: str, data: np.ndarray) -> np.ndarray:
    """A tensor of the model in the order in which the graph stores it."""
    return np.ascontiguousarray(data.transpose(graph.layouts[name])) if name in graph.layouts else data


def kinds_in(graph: Graph) -> list[type[Kind]]:
    """The kinds of the operations, in order."""
    return [type(operation.kind) for operation in graph.operations]


def transposes(graph: Graph) -> list[Sequence[int]]:
    """The permutations of the Transposes, in order."""
    return [item.kind.permutation for item in graph.operations if isinstance(item.kind, kinds.Transpose)]
