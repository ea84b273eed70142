"""Arithmetic on shapes, done once: with static inputs, what exporters compute from shapes is known when compiling.

PyTorch writes `If` nodes around every squeeze whose size it did not know, and Reshape targets that are computed. With
static shapes they have one answer. Only small tensors are folded here, by the reference implementation of ONNX; large
constants are the simplifier's business.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgec.onnx_graph.graph import numpy_size
from edgec.onnx_graph.hollow import graphs

MOST_ELEMENTS = 1024
"""Of a tensor that is folded."""

_ROUNDS = 100
_NOT_FOLDED = frozenset(
    {"Bernoulli", "If", "Loop", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "Scan"}
    | {"RandomUniformLike", "DequantizeLinear", "QuantizeLinear", "Dropout", "BatchNormalization"}
)
"""Ops that are random, have graphs of their own, or mean more than their value."""


def fold_shapes(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """Replace what depends on constants and shapes only; take the branch of each If whose condition became known.

    model: with inferred shapes (value_info), large initializers as inputs. Returns the model with its shapes inferred
    anew, and how many Ifs were resolved. The value of every output stays what it was.
    """
    resolved = 0
    for _ in range(_ROUNDS):
        folded = _fold_constants(model)
        taken = _take_branches(model)
        resolved += taken
        if not folded and not taken:
            break
        _drop_unused(model)
        del model.graph.value_info[:]
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return model, resolved


def worth_folding(model: onnx.ModelProto) -> bool:
    """Whether a model has branches, or tensors of unknown shape: only then is there something to gain."""
    known = set(_static_shapes(model))
    for node in model.graph.node:
        if node.op_type == "If" or any(name and name not in known for name in node.output):
            return True
    return False


def _static_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = info.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[info.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


def _fold_constants(model: onnx.ModelProto) -> int:
    """Turn the outputs of nodes with known results into initializers; returns how many nodes went."""
    shapes = _static_shapes(model)
    outputs = {item.name for item in model.graph.output}
    values = {
        item.name: numpy_helper.to_array(item)
        for item in model.graph.initializer
        if numpy_size(item) <= MOST_ELEMENTS and item.data_type != TensorProto.STRING
    }
    kept = []
    for node in model.graph.node:
        results = None if outputs & set(node.output) else _results(node, values, shapes, model)
        if results is None:
            kept.append(_copy(node))
            continue
        for name, value in results.items():
            values[name] = value
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    folded = len(model.graph.node) - len(kept)
    if folded:
        del model.graph.node[:]
        model.graph.node.extend(kept)
    return folded


def _results(
    node: onnx.NodeProto,
    values: dict[str, np.ndarray],
    shapes: dict[str, tuple[int, ...]],
    model: onnx.ModelProto,
) -> dict[str, np.ndarray] | None:
    """The values of a node's outputs, when they are known and small."""
    if node.domain or node.op_type in _NOT_FOLDED or len(node.output) != 1:
        return None
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        inputs = {node.input[0]: np.broadcast_to(np.int8(0), shapes[node.input[0]])}
    elif node.input and all(name in values for name in node.input if name):
        inputs = {name: values[name] for name in node.input if name}
    else:
        return None
    if node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize"):
        size = shapes.get(node.output[0])
        if size is None and node.op_type == "ConstantOfShape":
            size = tuple(int(dim) for dim in values[node.input[0]])
        if size is None or any(dim < 0 for dim in size) or np.prod(size, dtype=np.float64) > MOST_ELEMENTS:
            return None  # a small input may ask for a huge result
    infos = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in inputs]
    results = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
    graph = helper.make_graph([node], "one node", infos, results)
    single = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    try:
        computed = ReferenceEvaluator(single).run(None, inputs)
    except (
        Exception
    ):  # the reference lacks an op, or the op fails on these values: then it stays, and fails where it ran
        return None
    found = dict(zip(node.output, (np.asarray(value) for value in computed), strict=True))
    return found if all(value.size <= MOST_ELEMENTS for value in found.values()) else None


def _take_branches(model: onnx.ModelProto) -> int:
    """Replace each If of the main graph whose condition is an initializer by the nodes of its branch."""
    conditions = {
        item.name: bool(numpy_helper.to_array(item).ravel()[0])
        for item in model.graph.initializer
        if item.data_type == TensorProto.BOOL and numpy_size(item) == 1
    }
    taken = 0
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "If" and node.input[0] in conditions:
            wanted = "then_branch" if conditions[node.input[0]] else "else_branch"
            branch = next(item.g for item in node.attribute if item.name == wanted)
            nodes += _inlined(node, branch, model)
            taken += 1
        else:
            nodes.append(_copy(node))
    if taken:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return taken


def _inlined(node: onnx.NodeProto, branch: onnx.GraphProto, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of a branch, as nodes of the main graph; its initializers are added to the model's.

    Names made in the branch get the If's name before them: both branches may use the same ones.
    """
    made = [item.name for item in branch.initializer]
    made += [name for inner in branch.node for name in inner.output if name]
    names = {name: f"{node.name}/{name}" for name in made}
    extra = []
    for inner, outer in zip(branch.output, node.output, strict=True):
        produced = inner.name in names and inner.name not in {item.name for item in branch.initializer}
        if produced and names[inner.name] == f"{node.name}/{inner.name}":
            names[inner.name] = outer
        else:  # an initializer, a tensor from outside of the branch, or one that is an output twice
            source = names.get(inner.name, inner.name)
            extra.append(helper.make_node("Identity", [source], [outer], name=f"{node.name}/{outer}"))
    for item in branch.initializer:
        copy = TensorProto()
        copy.CopyFrom(item)
        copy.name = names[item.name]
        model.graph.initializer.append(copy)
    copies = []
    for inner in branch.node:
        copy = _copy(inner)
        copy.name = f"{node.name}/{inner.name}"
        _rename(copy, names)
        copies.append(copy)
    return copies + extra


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Rename tensors in a node and in all graphs below it; ONNX allows no name to be made twice, so this is safe."""
    for index, name in enumerate(node.input):
        node.input[index] = names.get(name, name)
    for index, name in enumerate(node.output):
        node.output[index] = names.get(name, name)
    for graph in _direct_graphs(node):
        for output in graph.output:
            output.name = names.get(output.name, output.name)
        for inner in graph.node:
            _rename(inner, names)


def _direct_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and initializers that nothing reads any more."""
    while True:
        read = {item.name for item in model.graph.output}
        for graph in graphs(model):
            read.update(name for node in graph.node for name in node.input)
            read.update(item.name for item in graph.output)
        unused = [i for i, node in enumerate(model.graph.node) if not read & set(node.output)]
        for index in reversed(unused):
            del model.graph.node[index]
        if not unused:
            break
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name not in read:
            del model.graph.initializer[index]


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
