"""Writing a placement and its scales as an ONNX graph with QuantizeLinear and DequantizeLinear.

    x -> QuantizeLinear -> DequantizeLinear -> Conv -> Relu -> QuantizeLinear -> DequantizeLinear -> ...

What is written is standard ONNX, and its bytes depend on nothing but the arguments. New tensors are called after those
that they stand for: T_quantized, T_dequantized, T_scale, T_zero_point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph
from edgec.quantization.names import Names
from edgec.quantization.placement import Edge, Kernel, Placement, Slot
from edgec.quantization.qparams import QParams, QuantizedBias, QuantizedWeights, affine, on_grid, quantize
from edgec.quantization.rules import Kind
from edgec.quantization.statistics import TensorStatistics
from edgec.quantization.weights import ANY_GRID, MacConstants, WeightGrid, WeightRounding, mac_constants, nearest


@dataclass(frozen=True)
class Emitted:
    """The quantized model, and its scales as a table.

    tensors: quantized tensors (activations, and constants on a grid), by name.
    weights: int8 weights by the name of their initializer in the float model (numbered where it has several grids).
    saturated: biases that did not fit into int32; never more than 0 unless the model's numbers are absurd.
    """

    model: onnx.ModelProto
    tensors: dict[str, QParams]
    weights: dict[str, QuantizedWeights]
    saturated: int

    def table(self) -> dict[str, Any]:
        """The document qparams.json."""
        return {
            "tensors": {
                name: {"scale": params.scale, "zero_point": params.zero_point, "dtype": str(params.dtype)}
                for name, params in self.tensors.items()
            },
            "weights": {
                name: {"axis": item.axis, "scales": [float(scale) for scale in np.atleast_1d(item.scales)]}
                for name, item in self.weights.items()
            },
        }


def emit(
    graph: Graph,
    placement: Placement,
    scales: Mapping[Slot, QParams],
    correction: Mapping[str, TensorStatistics] | None = None,
    *,
    grid: WeightGrid = ANY_GRID,
    rounding: WeightRounding = nearest,
) -> Emitted:
    """Write the QDQ graph of `graph`, which stays as it is.

    correction: statistics of the inputs of MAC kernels, with means; None writes biases as they are.
    grid: what the engine takes for weights.
    rounding: how weights become integers.
    """
    return _Emitter(graph, placement, scales, correction or {}, grid, rounding).run()


@dataclass
class _Emitter:
    """The graph in the writing."""

    graph: Graph
    placement: Placement
    scales: Mapping[Slot, QParams]
    correction: Mapping[str, TensorStatistics]
    grid: WeightGrid
    rounding: WeightRounding
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    tensors: dict[str, QParams] = field(default_factory=dict)
    weights: dict[str, QuantizedWeights] = field(default_factory=dict)
    saturated: int = 0

    def run(self) -> Emitted:
        self.names = Names(self.graph)
        self._read_as: dict[Slot, str] = {}  # slot to the tensor that its readers read
        self._written: dict[tuple[Any, ...], str] = {}  # constants that are already there
        self._slots_of: dict[str, list[Slot]] = {}
        for slot, tensor in self.placement.slots.items():
            self._slots_of.setdefault(tensor, []).append(slot)
        followers = {node.name for kernel in self.placement.kernels.values() for node in kernel.nodes[1:]}
        for name in self.graph.inputs:
            self._quantize_value(name, name)
        for node in self.graph.nodes:
            if node.name in self.placement.kernels:
                self._kernel(self.placement.kernels[node.name])
            elif node.name not in followers:
                self._float_node(node)
        return Emitted(self._model(), self.tensors, self.weights, self.saturated)

    # --- values ---

    def _quantize_value(self, tensor: str, source: str) -> None:
        """Write the Q/DQ pairs of all slots of `tensor`, whose float value is called `source`."""
        for slot in self._slots_of.get(tensor, []):
            if slot == tensor:
                target = tensor if source != tensor else self.names.fresh(f"{slot}_dequantized")
                self._read_as[slot] = self._pair(slot, source, target)
                source = target  # a second scale is reached from the first: that is what an integer engine does
            else:
                self._read_as[slot] = self._pair(slot, source, self.names.fresh(f"{slot}_dequantized"))

    def _pair(self, slot: Slot, source: str, target: str) -> str:
        params = self.scales[slot]
        self.tensors[slot] = params
        scale, zero_point = self._grid(slot, params)
        integers = self.names.fresh(f"{slot}_quantized")
        self._add("QuantizeLinear", [source, scale, zero_point], integers, f"{slot}_QuantizeLinear")
        self._add("DequantizeLinear", [integers, scale, zero_point], target, f"{slot}_DequantizeLinear")
        return target

    def _grid(self, name: str, params: QParams) -> tuple[str, str]:
        return (
            self._constant(f"{name}_scale", np.array(params.scale, np.float32)),
            self._constant(f"{name}_zero_point", np.array(params.zero_point, params.dtype)),
        )

    # --- nodes ---

    def _float_node(self, original: NodeProto) -> None:
        node = self._copy(original)
        self._rewire(node)
        self._append([node])

    def _kernel(self, kernel: Kernel) -> None:
        """Write a kernel at the place of its anchor: its other nodes read nothing but constants besides."""
        nodes = [self._copy(node) for node in kernel.nodes]
        anchor = nodes[0]
        self._rewire(anchor)
        if anchor.op_type == "Pad":
            self._pad_on_grid(anchor)
        if kernel.rule.kind is Kind.MAC and (made := self._mac_constants(kernel)) is not None:
            anchor.input[made.operand] = self._weights(anchor.input[made.operand], made.weights)
            if made.bias is not None:
                self._bias(kernel, nodes, made.bias)
        self._append(nodes)

    def _append(self, nodes: list[NodeProto]) -> None:
        """Add nodes, and the Q/DQ pairs of what the last of them puts out."""
        names = list(nodes[-1].output)
        raw = dict.fromkeys(names, "")
        for i, name in enumerate(names):
            # A value that others know by its name keeps it: the name moves behind the pair.
            moved = name in self.placement.integer and name in self.placement.exposed
            raw[name] = nodes[-1].output[i] = self.names.fresh(f"{name}_raw") if moved else name
        self.nodes += nodes
        for name in names:
            self._quantize_value(name, raw[name])

    @staticmethod
    def _copy(original: NodeProto) -> NodeProto:
        node = NodeProto()
        node.CopyFrom(original)
        return node

    def _rewire(self, node: NodeProto) -> None:
        """Let a node read the quantized values that it is to read."""
        for i, name in enumerate(node.input):
            edge: Edge = (node.name, i)
            if edge in self.placement.reads:
                node.input[i] = self._read_as[self.placement.reads[edge]]
            elif edge in self.placement.constants:
                node.input[i] = self._constant_operand(name, self.placement.constants[edge])

    def _constant_operand(self, name: str, grid: Slot | None) -> str:
        """A constant as int8 and DequantizeLinear, on the grid of a slot or on one of its own."""
        value = self.graph.constant(name)
        assert value is not None
        shared = self.scales.get(grid) if grid is not None else None
        params = shared or affine(value.min(initial=0.0), value.max(initial=0.0))
        key = (name, params)
        if key not in self._written:
            self.tensors[_numbered(self.tensors, name)] = params
            zero_point = np.array(params.zero_point, params.dtype)
            scale = np.array(params.scale, np.float32)
            self._written[key] = self._dequantized(name, quantize(value, params), scale, zero_point)
        return self._written[key]

    def _pad_on_grid(self, node: NodeProto) -> None:
        """Padding becomes part of the tensor, so its value must be one that the tensor can hold."""
        value = self.graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        params = self.scales.get(node.output[0])
        if value is not None and params is not None:
            node.input[2] = self._constant(f"{node.input[2]}_on_grid", on_grid(value, params))

    # --- weights and biases ---

    def _mac_constants(self, kernel: Kernel) -> MacConstants | None:
        data = [slot for i in (0, 1) if (slot := self.placement.reads.get((kernel.name, i))) is not None]
        if len(data) != 1:
            return None
        statistics = self.correction.get(self.placement.slots[data[0]])
        scale = self.scales[data[0]].scale
        made = mac_constants(self.graph, kernel, scale, statistics, grid=self.grid, rounding=self.rounding)
        if made is not None and made.bias is not None:
            self.saturated += made.bias.saturated
        return made

    def _weights(self, name: str, weights: QuantizedWeights) -> str:
        # Two readers may need different scales, and may have rounded to different integers.
        key = (name, weights.axis, weights.scales.tobytes(), weights.values.tobytes())
        if key not in self._written:
            self.weights[_numbered(self.weights, name)] = weights
            zero_point = np.zeros(weights.scales.shape, np.int8)
            self._written[key] = self._dequantized(name, weights.values, weights.scales, zero_point, weights.axis)
        return self._written[key]

    def _bias(self, kernel: Kernel, nodes: list[NodeProto], bias: QuantizedBias) -> None:
        """Give the kernel its int32 bias: as its third operand, or as an Add behind a MatMul."""
        anchor = nodes[0]
        if kernel.bias_add is not None:
            operand = 1 if kernel.bias_add.input[0] == kernel.anchor.output[0] else 0
            nodes[1].input[operand] = self._integer_bias(kernel.bias_add.input[operand], bias)
        elif anchor.op_type == "MatMul":
            result = anchor.output[0]
            anchor.output[0] = self.names.fresh(f"{result}_without_bias")
            operands = [anchor.output[0], self._integer_bias(f"{result}_bias", bias)]
            nodes.insert(1, helper.make_node("Add", operands, [result], name=self.names.fresh(f"{anchor.name}_bias")))
        elif len(anchor.input) > 2:
            anchor.input[2] = self._integer_bias(anchor.input[2] or f"{anchor.output[0]}_bias", bias)
        else:
            anchor.input.append(self._integer_bias(f"{anchor.output[0]}_bias", bias))

    def _integer_bias(self, name: str, bias: QuantizedBias) -> str:
        return self._dequantized(name, bias.values, bias.scales, np.zeros(bias.scales.shape, np.int32), 0)

    # --- what nodes and constants are written with ---

    def _dequantized(
        self, name: str, values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, axis: int | None = None
    ) -> str:
        """An integer constant, and the DequantizeLinear that makes it real; returns the real tensor's name."""
        inputs = [
            self._constant(f"{name}_quantized", values),
            self._constant(f"{name}_scale", scale),
            self._constant(f"{name}_zero_point", zero_point),
        ]
        target = self.names.fresh(f"{name}_dequantized")
        self._add("DequantizeLinear", inputs, target, f"{name}_DequantizeLinear", axis if scale.ndim else None)
        return target

    def _constant(self, name: str, value: np.ndarray) -> str:
        name = self.names.fresh(name)
        self.constants[name] = value
        return name

    def _add(self, op: str, inputs: list[str], output: str, name: str, axis: int | None = None) -> None:
        node = helper.make_node(op, inputs, [output], name=self.names.fresh(name))
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)

    def _model(self) -> onnx.ModelProto:
        """The float model with its nodes and constants exchanged."""
        model = onnx.ModelProto()
        for descriptor, value in self.graph.model.ListFields():
            if descriptor.name != "graph":
                _set(model, descriptor.name, value)
        source, target = self.graph.model.graph, model.graph
        target.name, target.doc_string = source.name, source.doc_string
        target.input.extend(item for item in source.input if item.name in self.graph.inputs)
        target.output.extend(source.output)
        target.node.extend(self.nodes)
        live = {name for node in self.nodes for name in node.input} | self.placement.exposed
        target.initializer.extend(item for item in source.initializer if item.name in live)
        target.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.constants.items())
        target.sparse_initializer.extend(source.sparse_initializer)
        written = {name for node in self.nodes for name in node.output}
        target.value_info.extend(item for item in source.value_info if item.name in written)
        return model


def _set(message: Any, name: str, value: Any) -> None:
    """Copy one field of a protobuf message, of whatever kind it is."""
    if hasattr(value, "extend"):
        getattr(message, name).extend(value)
    elif hasattr(value, "CopyFrom"):
        getattr(message, name).CopyFrom(value)
    else:
        setattr(message, name, value)


def _numbered(taken: Mapping[str, Any], name: str) -> str:
    """`name`, or with the first number that the table does not have yet."""
    wanted, count = name, 1
    while wanted in taken:
        count += 1
        wanted = f"{name}_{count}"
    return wanted
