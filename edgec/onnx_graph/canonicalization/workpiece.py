"""A graph under the hands of rewriting passes: who makes a tensor and who reads it stays known from step to step.

Shapes and dtypes are inferred once. They hold until the end, because a tensor keeps its name as long as it holds the
same kind of thing, and what a pass adds is declared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgec.onnx_graph.canonicalization.opset import raise_opset
from edgec.onnx_graph.dependence import captured_names
from edgec.onnx_graph.graph import Graph, attribute
from edgec.onnx_graph.hollow import Weights, graphs
from edgec.onnx_graph.operators import STANDARD, default_opset


@dataclass(frozen=True)
class Rewrite:
    """One change of the graph.

    replaced: for each node that goes, by its name, the nodes that take its place (none, or those that stand there now).
    into: the name of the node that computes what the others did. redirected: for tensors that are gone, the ones to
        read instead.
    """

    replaced: Mapping[str, tuple[NodeProto, ...]]
    into: str
    redirected: Mapping[str, str] = field(default_factory=dict)

    @property
    def gone(self) -> list[str]:
        """The names of the nodes that are not there any more."""
        new = {node.name for nodes in self.replaced.values() for node in nodes}
        return [name for name in self.replaced if name not in new]


def instead_of(members: Iterable[NodeProto], last: NodeProto, *new: NodeProto) -> Rewrite:
    """`new` at the place of `last`; the other members go. The last of `new` computes what they did."""
    replaced: dict[str, tuple[NodeProto, ...]] = {node.name: () for node in members}
    return Rewrite({**replaced, last.name: new}, new[-1].name)


class Workpiece:
    """The main graph of `model`, which is changed in place by `apply`.

    weights: the data of initializers that are not in the model; read only where a pass asks for them.
    """

    def __init__(self, model: onnx.ModelProto, weights: Weights | None = None) -> None:
        self.model = model
        self.weights = weights or {}
        view = Graph(model)
        self.nodes: list[NodeProto] = view.nodes
        self._view = view
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        self._dtypes: dict[str, np.dtype | None] = {}
        self.initializers: dict[str, TensorProto] = dict(view.initializers)
        self.captured = set(captured_names(model.graph.node))
        self.exposed = frozenset({*view.outputs, *self.captured})
        self._constants: dict[str, np.ndarray] = {}
        self._taken = {*view.inputs, *view.outputs, *self.initializers}
        for graph in graphs(model):
            for node in graph.node:
                self._taken.update((node.name, *node.input, *node.output))
        self._present = {node.name: node for node in self.nodes}
        self.producer: dict[str, NodeProto] = {}
        self._readers: dict[str, dict[str, NodeProto]] = {}
        for node in self.nodes:
            self._enter(node)

    # --- questions ---

    @property
    def opset(self) -> int:
        return default_opset(self.model)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The static shape of a tensor; None when unknown."""
        if name in self._shapes:
            return self._shapes[name]
        item = self.initializers.get(name)
        return tuple(item.dims) if item is not None else self._view.shape(name)

    def rank(self, name: str) -> int | None:
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def dtype(self, name: str) -> np.dtype | None:
        """The numpy dtype of a tensor; None when unknown."""
        if name in self._dtypes:
            return self._dtypes[name]
        item = self.initializers.get(name)
        return helper.tensor_dtype_to_np_dtype(item.data_type) if item is not None else self._view.dtype(name)

    def is_float(self, name: str) -> bool:
        return self.dtype(name) == np.float32

    def is_constant(self, name: str) -> bool:
        return name in self.initializers

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initializer, or None when `name` is not one."""
        item = self.initializers.get(name)
        if item is None:
            return None
        if name not in self._constants:
            if name in self.weights:
                dtype = np.dtype(helper.tensor_dtype_to_np_dtype(item.data_type))
                return np.frombuffer(self.weights[name].read(), dtype).reshape(tuple(item.dims))
            self._constants[name] = numpy_helper.to_array(item)
        return self._constants[name]

    def float_constant(self, name: str) -> np.ndarray | None:
        """The value of a float32 initializer; None for everything else."""
        item = self.initializers.get(name)
        return None if item is None or item.data_type != TensorProto.FLOAT else self.constant(name)

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element."""
        item = self.initializers.get(name)
        if item is None or math.prod(item.dims) != 1:
            return None
        value = self.constant(name)
        assert value is not None
        return float(value.item()) if value.dtype.kind in "fiu" else None

    def scalar_bool(self, name: str) -> bool | None:
        """The value of a constant boolean scalar."""
        item = self.initializers.get(name)
        if item is None or item.data_type != TensorProto.BOOL or math.prod(item.dims) != 1:
            return None
        value = self.constant(name)
        return None if value is None else bool(value.item())

    def integers(self, name: str) -> list[int] | None:
        """The values of a constant of integers, flat."""
        item = self.initializers.get(name)
        if item is None or math.prod(item.dims) > 64:
            return None
        value = self.constant(name)
        assert value is not None
        return [int(item) for item in value.ravel()] if value.dtype.kind in "iu" else None

    def holds(self, node: NodeProto) -> bool:
        """Whether this very node is part of the graph."""
        return self._present.get(node.name) is node

    def readers(self, name: str) -> list[NodeProto]:
        """The nodes of the main graph that read a tensor, in no promised order."""
        return list(self._readers.get(name, {}).values())

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that sees a tensor; None when there are none or several, or it is seen from outside."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.exposed else None

    def made_by(self, name: str, *ops: str) -> NodeProto | None:
        """The node that makes a tensor, when it is one of `ops` of the standard domain."""
        node = self.producer.get(name)
        return node if node is not None and node.op_type in ops and node.domain in STANDARD else None

    def private(self, name: str, *ops: str) -> NodeProto | None:
        """Like `made_by`, and only one node reads the tensor."""
        return self.made_by(name, *ops) if self.only_reader(name) is not None else None

    def closed(self, members: Iterable[NodeProto], last: NodeProto) -> bool:
        """Whether nobody but `members` reads what they make, apart from what `last` makes."""
        names = {node.name for node in members} | {last.name}
        for node in members:
            for output in () if node.name == last.name else node.output:
                if output in self.exposed or not names.issuperset(self._readers.get(output, {})):
                    return False
        return True

    # --- changes ---

    def fresh(self, wanted: str) -> str:
        """`wanted`, or with the first number that makes it a name that nothing has. Taken from then on."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def tensor(self, wanted: str, shape: Iterable[int] | None, dtype: np.dtype | None) -> str:
        """A name for a new tensor of this shape and dtype."""
        name = self.fresh(wanted)
        self._shapes[name] = None if shape is None else tuple(shape)
        self._dtypes[name] = dtype
        return name

    def new_constant(self, wanted: str, value: np.ndarray) -> str:
        """The name of a new initializer."""
        name = self.fresh(wanted)
        item = numpy_helper.from_array(np.ascontiguousarray(value), name)
        item.ClearField("dims")
        item.dims.extend(np.shape(value))
        self.initializers[name] = item
        return name

    def floats(self, wanted: str, value: np.ndarray | float) -> str:
        """The name of a new float32 initializer."""
        return self.new_constant(wanted, np.asarray(value, np.float32))

    def at_least_opset(self, version: int) -> bool:
        """Raise the model's opset to `version` where it is lower; False when some node can't follow."""
        return self.opset >= version or raise_opset(self, version)

    def apply(self, rewrite: Rewrite) -> None:
        """Make a change."""
        result: list[NodeProto] = []
        for node in self.nodes:
            if node.name not in rewrite.replaced:
                result.append(node)
                continue
            self._leave(node)
            for new in rewrite.replaced[node.name]:
                result.append(new)
        self.nodes = result
        for nodes in rewrite.replaced.values():
            for node in nodes:
                self._enter(node)
        for old, new_name in rewrite.redirected.items():
            for reader in self.readers(old):
                self._leave(reader)
                for index, name in enumerate(reader.input):
                    if name == old:
                        reader.input[index] = new_name
                self._enter(reader)

    def finish(self) -> None:
        """Write nodes and initializers back into the model; initializers that nothing reads any more are left out."""
        graph = self.model.graph
        kept = [_copy(node) for node in self.nodes]
        del graph.node[:]
        graph.node.extend(kept)
        read = {*self.exposed, *(name for node in kept for name in node.input)}
        constants = [item for name, item in self.initializers.items() if name in read]
        copies = []
        for item in constants:
            copy = TensorProto()
            copy.CopyFrom(item)
            copies.append(copy)
        del graph.initializer[:]
        graph.initializer.extend(copies)

    def _enter(self, node: NodeProto) -> None:
        self._present[node.name] = node
        self.producer.update((name, node) for name in node.output if name)
        for name in node.input:
            if name:
                self._readers.setdefault(name, {})[node.name] = node

    def _leave(self, node: NodeProto) -> None:
        self._present.pop(node.name, None)
        for name in node.output:
            if self.producer.get(name) is node:
                del self.producer[name]
        for name in node.input:
            self._readers.get(name, {}).pop(node.name, None)


def constant_operand(work: Workpiece, node: NodeProto) -> tuple[str, str] | None:
    """The varying and the constant float32 input of a node with two inputs, of which one is constant."""
    if len(node.input) != 2:
        return None
    for varying, fixed in (tuple(node.input), tuple(reversed(node.input))):
        if fixed in work.initializers and varying not in work.initializers and work.is_float(fixed):
            return varying, fixed
    return None


def make(op: str, inputs: Iterable[str], outputs: Iterable[str], name: str, **attributes: Any) -> NodeProto:
    """A node; `name` is its name."""
    return helper.make_node(op, list(inputs), list(outputs), name=name, **attributes)


def axes_of(work: Workpiece, node: NodeProto, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction (an attribute before opset 18, 13 for ReduceSum, and an input since), from 0 to rank - 1.

    None when they are not constant.
    """
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = work.integers(node.input[1])
        if axes is None:
            return None
    if not axes:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in axes}))


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
