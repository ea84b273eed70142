import numpy as np

from edgec.ir import kinds
from edgec.ir.builder import GraphBuilder
from edgec.ir.graph import Quantization, TensorType
from edgec.ir.passes.fold_constants import LARGEST_GROWTH, fold_constants
from edgec.ir.verifier import run_passes


def folded(builder, outputs):
    return run_passes(builder.finish(outputs), [fold_constants])


def test_a_chain_of_constants_is_one_constant():
    builder = GraphBuilder()
    x = builder.input("x", TensorType((2, 2), "float32"))
    one = builder.constant("one", np.ones((2, 2), np.float32))
    turned = builder.add(kinds.Transpose((1, 0)), [builder.add(kinds.Binary("add"), [one, one], "two")], "turned")
    builder.add(kinds.Binary("mul"), [x, turned], "y")
    graph = folded(builder, ["y"])
    assert [operation.kind.label for operation in graph.operations] == ["mul"]
    assert graph.constant("turned").tolist() == [[2, 2], [2, 2]]
    assert set(graph.values) == {"x", "turned", "y"}


def test_several_results():
    builder = GraphBuilder()
    c = builder.constant("c", np.arange(4, dtype=np.int64))
    builder.add(kinds.Split(0, (1, 3)), [c], ["a", "b"])
    graph = folded(builder, ["a", "b"])
    assert not graph.operations
    assert (graph.constant("a").tolist(), graph.constant("b").tolist()) == ([0], [1, 2, 3])


def test_weights_that_are_stored_small_stay_small():
    builder = GraphBuilder()
    x = builder.input("x", TensorType((3,), "float32"))
    of = Quantization((0.5, 1.0, 2.0), (0, 0, 0), 0)
    integers = builder.constant("integers", np.array([1, 2, 3], np.int8), of)
    halves = builder.constant("halves", np.array([1, 2, 3], np.float16))
    a = builder.add(kinds.Dequantize(), [integers], "a")
    b = builder.add(kinds.Cast("float32"), [halves], "b")
    ab = builder.add(kinds.Binary("add"), [a, b], "ab")
    builder.add(kinds.Binary("add"), [x, ab], "y")
    graph = folded(builder, ["y"])
    assert [operation.kind.label for operation in graph.operations] == ["Dequantize", "Cast", "add", "add"]


def test_a_quantized_constant_is_folded_on_its_grid():
    builder = GraphBuilder()
    c = builder.constant("c", np.array([0.5, -1], np.float32))
    builder.add(kinds.Quantize(), [c], "q", quantization=Quantization.per_tensor(0.5, 3))
    graph = folded(builder, ["q"])
    assert graph.constant("q").tolist() == [4, 1]
    assert graph.type("q").quantization == Quantization.per_tensor(0.5, 3)


def test_a_small_constant_does_not_become_a_large_one():
    builder = GraphBuilder()
    c = builder.constant("c", np.float32(1))
    builder.add(kinds.BroadcastTo((LARGEST_GROWTH,)), [c], "large")
    builder.add(kinds.BroadcastTo((16,)), [c], "small")
    graph = folded(builder, ["large", "small"])
    assert [operation.outputs for operation in graph.operations] == [("large",)]
    assert graph.constant("small").tolist() == [1] * 16


def test_what_has_no_elements_is_constant_whatever_it_is_computed_of():
    builder = GraphBuilder()
    x = builder.input("x", TensorType((4,), "float32"))
    builder.add(kinds.Slice((0,), (0,), (1,)), [x], "nothing")
    assert folded(builder, ["nothing"]).constant("nothing").shape == (0,)


def test_the_graph_that_is_given_stays_as_it_is():
    builder = GraphBuilder()
    c = builder.constant("c", np.float32(1))
    builder.add(kinds.Unary("neg"), [c], "y")
    graph = builder.finish(["y"])
    fold_constants(graph)
    assert len(graph.operations) == 1 and graph.constant("y") is None
