"""Running both models layer by layer, each layer in a session of its own.

So every tensor can be looked at without keeping all of them, any layer can be run on the other model's tensors, and a
model in which some layers are quantized and the others are not needs no new model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper

from edgec.diagnosis.layers import DEQUANTIZE, QUANTIZE, Layer, Twins, names_read
from edgec.diagnosis.useful import useful_intervals
from edgec.onnx_graph.graph import Graph
from edgec.reference import open_session

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """One layer on one input: its tensors in the float model, in the twin, and as the quantized layer makes them of the
    float model's tensors (None where the twin rounds nothing here). By names of the float model."""

    layer: Layer
    reads: Values
    floats: Values
    accumulated: Values
    isolated: Values | None


class Walker:
    """Runs the layers of `twins`. useful: the values of a tensor that its readers tell apart, where not all."""

    def __init__(self, twins: Twins) -> None:
        self.twins = twins
        self.useful = useful_intervals(twins.floats)
        self._sessions: dict[tuple[int, str], tuple[Any, list[str], list[str]]] = {}
        last = {name: layer.index for layer in twins.layers for name in layer.reads}
        self._dying: dict[int, list[str]] = {}
        for name, index in last.items():
            if name not in twins.floats.outputs:
                self._dying.setdefault(index, []).append(name)

    def steps(self, feeds: Mapping[str, np.ndarray], twin_feeds: Mapping[str, np.ndarray]) -> Iterator[Step]:
        """Both models side by side. The tensors of a step are only valid until the next one."""
        floats, twin = dict(feeds), dict(twin_feeds)
        for layer in self.twins.layers:
            reads = {name: floats[name] for name in layer.reads}
            made = self.floats(layer, floats)
            accumulated = self.quantized(layer, twin)
            isolated = self.quantized(layer, reads) if layer.quantized else None
            yield Step(layer, reads, made, accumulated, isolated)
            floats.update(made)
            twin.update(accumulated)
            for name in self._dying.get(layer.index, ()):
                floats.pop(name, None)
                twin.pop(name, None)

    def outputs(self, feeds: Mapping[str, np.ndarray], in_int8: Collection[int]) -> Values:
        """The model's outputs when just the layers with these indices are quantized."""
        values = dict(feeds)
        for layer in self.twins.layers:
            values.update(self.quantized(layer, values) if layer.index in in_int8 else self.floats(layer, values))
            for name in self._dying.get(layer.index, ()):
                values.pop(name, None)
        return {name: values[name] for name in self.twins.floats.outputs}

    def floats(self, layer: Layer, values: Mapping[str, np.ndarray]) -> Values:
        """A layer of the float model."""
        return self._run(layer, "float", self.twins.floats, layer.nodes, {n: n for n in layer.outputs}, values)

    def quantized(self, layer: Layer, values: Mapping[str, np.ndarray]) -> Values:
        """The same layer of the twin, with the Q/DQ pairs before and behind it."""
        if not layer.quantized:
            return self.floats(layer, values)
        return self._run(layer, "quantized", self.twins.quantized, layer.twin, layer.handed_on, values)

    def with_rounded_constants(self, layer: Layer, values: Mapping[str, np.ndarray]) -> Values:
        """The layer with its weights and biases as the twin has them, and all else in float."""
        nodes, renamed = without_rounding(layer.twin, self.twins.quantized)
        names = {name: renamed.get(value, value) for name, value in layer.handed_on.items()}
        return self._run(layer, "constants", self.twins.quantized, nodes, names, values)

    def _run(
        self,
        layer: Layer,
        kind: str,
        graph: Graph,
        nodes: Sequence[NodeProto],
        names: Mapping[str, str],
        values: Mapping[str, np.ndarray],
    ) -> Values:
        through = {name: source for name, source in names.items() if source in values and source not in _made(nodes)}
        key = (layer.index, kind)
        if key not in self._sessions:
            model = submodel(graph, nodes, values, [name for name in names.values() if name not in through.values()])
            session = open_session(model.SerializeToString(), "none")
            self._sessions[key] = session, [item.name for item in model.graph.input], list(names)
        session, inputs, _ = self._sessions[key]
        wanted = [name for name in names if name not in through]
        found = session.run([names[name] for name in wanted], {name: values[name] for name in inputs}) if wanted else []
        return {**dict(zip(wanted, found, strict=True)), **{name: values[source] for name, source in through.items()}}


def _made(nodes: Sequence[NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output}


def without_rounding(
    nodes: Sequence[NodeProto], graph: Graph, before: Mapping[str, str] | None = None
) -> tuple[list[NodeProto], dict[str, str]]:
    """Nodes without the Q/DQ pairs of activations (those of constants stay), and what became of the tensors behind the
    pairs: their name to the tensor in front. before: the same, of nodes that came before."""
    renamed: dict[str, str] = dict(before or {})
    kept = []
    for original in nodes:
        node = NodeProto()
        node.CopyFrom(original)
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        constant = graph.constant(original.input[0]) is not None if original.input else False
        if node.op_type in (QUANTIZE, DEQUANTIZE) and not constant:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    return kept, {name: source for name, source in renamed.items() if name not in (before or {})}


def submodel(
    graph: Graph, nodes: Sequence[NodeProto], values: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Some nodes of a graph as a model; its inputs are those of `values` that they read, of those dtypes and shapes."""
    made = _made(nodes)
    read = dict.fromkeys(name for node in nodes for name in names_read(node) if name not in made)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values[name].dtype), values[name].shape)
        for name in read
        if name in values and name not in graph.initializers
    ]
    constants = [graph.initializers[name] for name in read if name in graph.initializers]
    body = helper.make_graph(list(nodes), "part", inputs, [onnx.ValueInfoProto(name=n) for n in outputs], constants)
    source = graph.model
    return helper.make_model(
        body, opset_imports=source.opset_import, ir_version=source.ir_version, functions=source.functions
    )
