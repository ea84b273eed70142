"""Which tensors calibration observes.

Every float32 activation that a quantizer could give a scale to: graph inputs and node outputs, except
- what is constant or comes from shapes alone,
- a convolution or sum whose only reader is the activation that is fused into it (its quantizer sits behind that one),
- outputs that nobody reads.
Tensors inside the subgraphs of If, Loop and Scan stay float and are not observed; the outputs of those nodes are.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from edgec.onnx_graph.dependence import captured_names, varying
from edgec.onnx_graph.graph import MAC_OPS, Graph, attribute
from edgec.quantization.blocked_layout import blocked_tensors

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Activations that all backends fuse into the op before: their result is the first that is stored."""

FUSES_ACTIVATION = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add"})
REARRANGING = frozenset({"Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})
"""Operators whose output holds exactly the values of their input."""

_CONV_LIKE = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization"})
_MOST_CHANNELS = 1 << 16


@dataclass(frozen=True)
class Observed:
    """A tensor to observe.

    shape: static; None where shape inference can't tell.
    channel_axis: the axis whose entries get statistics of their own: the last one for what a MatMul or Gemm reads and
        for tensors of rank 2 and 3 away from convolutions, axis 1 otherwise; None for scalars and vectors.
    lower_bound, upper_bound: values that the tensor can't leave (its producer is Relu or Clip); None when not known.
    is_mac_input: whether a Conv, ConvTranspose, Gemm or MatMul multiplies it by a constant weight.
    needs_profile: whether means along each spatial axis are wanted too (such a Conv has a window, a stride or padding).
    is_blocked: whether ONNX Runtime probably holds it in its blocked layout.
    alias_of: an observed tensor that holds the same values in another order; nothing is measured twice.
    """

    name: str
    shape: tuple[int, ...] | None
    channel_axis: int | None
    lower_bound: float | None
    upper_bound: float | None
    is_mac_input: bool
    needs_profile: bool
    is_blocked: bool
    alias_of: str | None

    @property
    def channels(self) -> int:
        """The number of channels; 1 when there is no channel axis."""
        return 1 if self.channel_axis is None or self.shape is None else self.shape[self.channel_axis]

    @property
    def elements(self) -> int:
        """The number of elements of a tensor of static shape."""
        size = 1
        for dim in self.shape or ():
            size *= dim
        return size


def choose_observed(graph: Graph) -> list[Observed]:
    """The tensors to observe, in the order in which the model makes them."""
    depending, captured, blocked = varying(graph.model.graph), set(captured_names(graph.nodes)), blocked_tensors(graph)
    chosen: dict[str, Observed] = {}
    made: list[tuple[str, NodeProto | None]] = [(name, None) for name in graph.inputs]
    made += [(name, node) for node in graph.nodes for name in node.output if name]
    for name, producer in made:
        shape = graph.shape(name)
        if name not in depending or not graph.is_float(name) or (shape is not None and 0 in shape):
            continue
        is_read = name in graph.consumers or name in graph.outputs or name in captured
        if producer is not None and (not is_read or (name not in captured and _is_fused(graph, name, producer))):
            continue
        readers = _mac_readers(graph, name)
        alias = None
        if producer is not None and producer.op_type in REARRANGING and not readers:
            source = chosen.get(producer.input[0])
            alias = None if source is None else source.alias_of or source.name
        chosen[name] = Observed(
            name=name,
            shape=shape,
            channel_axis=_channel_axis(graph, name, shape),
            lower_bound=0.0 if producer is not None and producer.op_type == "Relu" else _clip_bound(graph, producer, 1),
            upper_bound=_clip_bound(graph, producer, 2),
            is_mac_input=bool(readers),
            needs_profile=any(_has_window(graph, node) for node in readers),
            is_blocked=name in blocked,
            alias_of=alias,
        )
    return list(chosen.values())


def _is_fused(graph: Graph, name: str, producer: NodeProto) -> bool:
    readers = graph.consumers.get(name, [])
    if producer.op_type not in FUSES_ACTIVATION or len(readers) != 1 or name in graph.outputs:
        return False
    activation = readers[0]
    return activation.op_type in FUSED_ACTIVATIONS and all(
        bound == "" or bound in graph.initializers for bound in activation.input[1:]
    )


def _mac_readers(graph: Graph, name: str) -> list[NodeProto]:
    """The nodes that multiply this tensor by a constant weight."""
    return [
        node
        for node in graph.consumers.get(name, [])
        if node.op_type in MAC_OPS and node.input[0] == name and node.input[1] in graph.initializers
    ]


def _has_window(graph: Graph, node: NodeProto) -> bool:
    if node.op_type not in ("Conv", "ConvTranspose"):
        return False
    kernel = graph.initializers[node.input[1]].dims[2:]
    return any(size != 1 for size in [*kernel, *attribute(node, "strides", [])]) or any(attribute(node, "pads", []))


def _channel_axis(graph: Graph, name: str, shape: tuple[int, ...] | None) -> int | None:
    if shape is None or len(shape) < 2:
        return None
    readers = graph.consumers.get(name, [])
    axis = 1
    if any(node.op_type in ("Gemm", "MatMul") for node in readers):
        transposed = [node for node in readers if node.op_type == "Gemm" and attribute(node, "transA", 0)]
        axis = 0 if transposed else len(shape) - 1
    elif len(shape) <= 3:
        near = [*readers, *([graph.producer[name]] if name in graph.producer else [])]
        axis = 1 if any(node.op_type in _CONV_LIKE for node in near) else len(shape) - 1
    return axis if shape[axis] <= _MOST_CHANNELS else None


def _clip_bound(graph: Graph, producer: NodeProto | None, index: int) -> float | None:
    """The constant bound that input `index` of a Clip gives."""
    if producer is None or producer.op_type != "Clip" or len(producer.input) <= index or not producer.input[index]:
        return None
    bound = graph.constant(producer.input[index])
    return None if bound is None else float(bound.reshape(-1)[0])
