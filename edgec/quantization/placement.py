"""Where the Q/DQ pairs go.

A placement says which nodes compute in INT8 (grouped into kernels: a node, the bias added to it, the activation fused
into it), which tensors have a quantized value, who reads that value instead of the float one, and which of them share a
scale. It knows the graph only; scales are chosen later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from onnx import NodeProto

from edgec.onnx_graph.dependence import captured_names
from edgec.onnx_graph.graph import Graph
from edgec.quantization.profiles import Profile
from edgec.quantization.qparams import QParams
from edgec.quantization.rules import FUSED_ACTIVATIONS, FUSES_ACTIVATION, Kind, Rule, objection, rule_for
from edgec.quantization.ties import Ties

Edge = tuple[str, int]
"""Name of the reading node, position of the input."""

Slot = str
"""The name of a quantized value: its tensor's name, or TENSOR/for/NODE where one reader needs a scale of its own."""

NOT_WORTHWHILE = {
    "strict": "it lies between nodes that compute in float, and nothing near it multiplies and accumulates",
    "islands": "it only moves values, and not everything that reads them is INT8",
    "closed-islands": "it only moves values, and not everything that reads them is INT8",
}

PASSED_THROUGH = "it passes values on from float to float, and nothing on the way computes"


@dataclass(frozen=True)
class Kernel:
    """What an engine computes at once in INT8: `anchor`, then `bias_add`, then `activation`."""

    anchor: NodeProto
    rule: Rule
    bias_add: NodeProto | None = None
    activation: NodeProto | None = None

    @property
    def name(self) -> str:
        return str(self.anchor.name)

    @property
    def nodes(self) -> list[NodeProto]:
        return [node for node in (self.anchor, self.bias_add, self.activation) if node is not None]

    @property
    def outputs(self) -> list[str]:
        return [name for name in self.nodes[-1].output if name]


@dataclass(frozen=True)
class Placement:
    """The decisions.

    kernels: by the name of their anchor, in the graph's order.
    float_nodes: node name to the reason, for every node on float32 values that is in no kernel.
    slots: every quantized value and the tensor that it stands for, in the graph's order.
    integer: tensors that an INT8 kernel writes and that therefore exist only as integers; all who read them read slots.
    exposed: tensors that are seen from outside of the main graph's nodes: its outputs, and what bodies of If, Loop and
        Scan may read.
    reads: the inputs that take a quantized value.
    constants: the inputs that take a constant on an int8 grid: that of a slot, or (None) one of its own.
        Weights of MAC kernels are not among them.
    ties: slots that share one scale; `fixed` has the parameters that a kernel prescribes, by the root of the tie.
    """

    profile: Profile
    kernels: dict[str, Kernel] = field(default_factory=dict)
    float_nodes: dict[str, str] = field(default_factory=dict)
    slots: dict[Slot, str] = field(default_factory=dict)
    integer: set[str] = field(default_factory=set)
    exposed: frozenset[str] = frozenset()
    reads: dict[Edge, Slot] = field(default_factory=dict)
    constants: dict[Edge, Slot | None] = field(default_factory=dict)
    ties: Ties[Slot] = field(default_factory=Ties)
    fixed: dict[Slot, QParams] = field(default_factory=dict)

    def groups(self) -> dict[Slot, list[Slot]]:
        """All slots, grouped by the scale they share; keyed by the root."""
        found: dict[Slot, list[Slot]] = {}
        for slot in self.slots:
            found.setdefault(self.ties.root(slot), []).append(slot)
        return found

    def int8_nodes(self) -> list[str]:
        """Names of all nodes that are part of a kernel."""
        return [node.name for kernel in self.kernels.values() for node in kernel.nodes]


def place(
    graph: Graph,
    profile: Profile,
    keep_float: Mapping[str, str] | None = None,
    observed: Collection[str] | None = None,
    alone: str | None = None,
) -> Placement:
    """Decide where a graph is quantized.

    profile: "strict" quantizes every node that has a rule, and its output; "islands" only nodes that multiply and
        accumulate, and their inputs; nodes that move values ride along where that costs nothing. "closed-islands"
        quantizes also what they put out.
    keep_float: names of nodes that must not be quantized, and why. Any node of a kernel keeps the whole kernel.
    observed: tensors whose range is known; None: all are.
    alone: the anchor of the one kernel to quantize, to see what it costs.
    """
    exposed = frozenset({*graph.outputs, *captured_names(graph.nodes)})
    kernels, reasons = _candidates(graph, profile, keep_float or {}, exposed, observed)
    if alone is not None:
        worthwhile = {alone}
    else:
        worthwhile = _beside_macs(graph, kernels) if profile == "strict" else _riding(graph, kernels, exposed)
    for kernel in [kernel for name, kernel in kernels.items() if name not in worthwhile]:
        reasons.update((node.name, NOT_WORTHWHILE[profile]) for node in kernel.nodes)
        del kernels[kernel.name]
    for kernel in [] if alone is not None else _passing_through(graph, kernels):
        reasons.update((node.name, PASSED_THROUGH) for node in kernel.nodes)
        del kernels[kernel.name]
    placement = Placement(profile, kernels, exposed=exposed)
    placement.float_nodes.update((node.name, reasons[node.name]) for node in graph.nodes if node.name in reasons)
    _connect(graph, placement)
    _tie(graph, placement)
    return placement


def _candidates(
    graph: Graph,
    profile: Profile,
    keep_float: Mapping[str, str],
    exposed: frozenset[str],
    observed: Collection[str] | None,
) -> tuple[dict[str, Kernel], dict[str, str]]:
    """All kernels that the rules allow, and the reason for every other node that works on float values."""
    kernels: dict[str, Kernel] = {}
    reasons: dict[str, str] = {}
    absorbed: set[str] = set()
    for node in graph.nodes:
        if node.name in absorbed or not _touches_float(graph, node):
            continue
        rule, reason = rule_for(node), objection(graph, node)
        if rule is None:
            assert reason is not None
            reasons[node.name] = reason
            continue
        kernel = _grow(graph, node, rule, exposed)
        absorbed.update(member.name for member in kernel.nodes)
        if reason is not None:  # an activation in INT8 after a node in float would round before it, not after
            reasons.update((member.name, f"it is fused with {node.name!r}, in float") for member in kernel.nodes[1:])
            reasons[node.name] = reason
        elif kept := [member.name for member in kernel.nodes if member.name in keep_float]:
            reasons.update((member.name, f"it is fused with {kept[0]!r}, in float") for member in kernel.nodes)
            reasons.update((name, keep_float[name]) for name in kept)
        elif profile != "strict" and rule.kind not in (Kind.MAC, Kind.TIED):
            why = f"profile {profile} computes it in float"
            reasons.update((member.name, why) for member in kernel.nodes)
        elif profile != "strict" and rule.kind is Kind.TIED and not rule.moves:
            reasons[node.name] = f"profile {profile} computes it in float"
        elif observed is not None and (unseen := _unseen(graph, kernel, profile, observed)):
            why = f"calibration saw no values of {unseen!r}, so its range is unknown"
            reasons.update((member.name, why) for member in kernel.nodes)
        else:
            kernels[node.name] = kernel
    return kernels, reasons


def _unseen(graph: Graph, kernel: Kernel, profile: Profile, observed: Collection[str]) -> str | None:
    """The first tensor that the kernel needs a range of and that nobody knows one of."""
    needed = [kernel.anchor.input[i] for i in kernel.rule.inputs(kernel.anchor)]
    if _rescales(profile, kernel) and kernel.rule.output is None:
        needed += kernel.outputs

    def known(name: str) -> bool:
        producer = graph.producer.get(name)
        rule = None if producer is None else rule_for(producer)
        takes_over = rule is not None and rule.kind is Kind.TIED  # the range is that of its inputs
        unused = name not in graph.consumers and name not in graph.outputs
        return name in observed or graph.constant(name) is not None or takes_over or unused

    return next((name for name in needed if not known(name)), None)


def _rescales(profile: Profile, kernel: Kernel) -> bool:
    """Whether a kernel puts out integers of a scale of their own."""
    if profile == "closed-islands":
        return kernel.rule.kind is Kind.MAC
    return profile == "strict" and kernel.rule.kind is not Kind.INDEX


def _touches_float(graph: Graph, node: NodeProto) -> bool:
    """Whether a node computes on floating-point values at all: Shape reads a tensor, but not its values."""
    if node.op_type in ("Shape", "Size", "Constant"):
        return False
    dtypes = [graph.dtype(name) for name in (*node.input, *node.output) if name]
    return any(dtype is None or dtype.kind == "f" for dtype in dtypes)


def _grow(graph: Graph, anchor: NodeProto, rule: Rule, exposed: frozenset[str]) -> Kernel:
    """The kernel around `anchor`: the bias and the activation that nothing else can see apart from it."""

    def only_reader(name: str) -> NodeProto | None:
        readers = graph.consumers.get(name, [])
        private = len(readers) == 1 and name not in exposed
        return readers[0] if private and readers[0].domain in ("", "ai.onnx") else None

    bias_add = None
    last = anchor
    follower = only_reader(anchor.output[0])
    if follower is not None and _is_bias(graph, anchor, follower):
        bias_add = last = follower
        follower = only_reader(follower.output[0])
    activation = None
    if follower is not None and anchor.op_type in FUSES_ACTIVATION and follower.op_type in FUSED_ACTIVATIONS:
        first = follower.input[0] == last.output[0]
        activation = follower if first and objection(graph, follower) is None else None
    return Kernel(anchor, rule, bias_add, activation)


def _is_bias(graph: Graph, matmul: NodeProto, add: NodeProto) -> bool:
    """Whether `add` adds one constant per output column to a MatMul with constant weights."""
    if matmul.op_type != "MatMul" or add.op_type != "Add":
        return False
    weights = graph.constant(matmul.input[1])
    other = add.input[0] if add.input[1] == matmul.output[0] else add.input[1]
    bias = graph.constant(other)
    if weights is None or weights.ndim != 2 or bias is None or objection(graph, add):
        return False
    rank = len(graph.shape(matmul.output[0]) or ())
    return bias.shape[-1:] == weights.shape[1:] and bias.size == weights.shape[1] and bias.ndim <= rank


def _beside_macs(graph: Graph, kernels: dict[str, Kernel]) -> set[str]:
    """Kernels in a connected stretch of INT8 that multiplies and accumulates somewhere: without that, rounding into and
    out of INT8 would cost precision and buy nothing."""
    stretches: Ties[str] = Ties()
    for name, kernel in kernels.items():
        values = [kernel.anchor.input[i] for i in kernel.rule.inputs(kernel.anchor)] + kernel.outputs
        stretches.tie([name, *(f"value {value}" for value in values if graph.constant(value) is None)])
    working = {stretches.root(name) for name, kernel in kernels.items() if kernel.rule.kind is Kind.MAC}
    return {name for name in kernels if stretches.root(name) in working}


def _passing_through(graph: Graph, kernels: dict[str, Kernel]) -> list[Kernel]:
    """Tied kernels between float and float: neither what they read nor what reads them is computed in INT8, however
    many other tied kernels lie in between. INT8 there would only round."""
    made: set[str] = set()  # tensors that stem from a kernel that computes
    for node in graph.nodes:
        kernel = kernels.get(node.name)
        if kernel is not None and (kernel.rule.kind is not Kind.TIED or made.intersection(_data(kernel))):
            made.update(kernel.outputs)
    used: set[str] = set()  # tensors that end in a kernel that computes
    idle = []
    for node in reversed(graph.nodes):
        kernel = kernels.get(node.name)
        if kernel is None:
            continue
        if kernel.rule.kind is not Kind.TIED or used.intersection(kernel.outputs):
            used.update(_data(kernel))
        elif not made.intersection(kernel.outputs):
            idle.append(kernel)
    return idle


def _data(kernel: Kernel) -> list[str]:
    """The tensors that a kernel reads as INT8."""
    return [kernel.anchor.input[i] for i in kernel.rule.inputs(kernel.anchor)]


def _riding(graph: Graph, kernels: dict[str, Kernel], exposed: frozenset[str]) -> set[str]:
    """MAC kernels, and tied ones all of whose readers are INT8: quantizing before those is the same as after them."""
    riding = {name for name, kernel in kernels.items() if kernel.rule.kind is Kind.MAC}
    for node in reversed(graph.nodes):
        kernel = kernels.get(node.name)
        if kernel is None or kernel.rule.kind is Kind.MAC:
            continue
        readers = [(name, reader) for name in kernel.outputs for reader in graph.consumers.get(name, [])]
        hidden = any(name in exposed for name in kernel.outputs)
        if readers and not hidden and all(_reads_int8(kernels, riding, name, reader) for name, reader in readers):
            riding.add(kernel.name)
    return riding


def _reads_int8(kernels: dict[str, Kernel], riding: set[str], tensor: str, reader: NodeProto) -> bool:
    if reader.name not in riding:
        return False
    data = kernels[reader.name].rule.inputs(reader)
    return all(i in data for i, name in enumerate(reader.input) if name == tensor)


def _connect(graph: Graph, placement: Placement) -> None:
    """Fill in slots, reads and constants."""
    for kernel in placement.kernels.values():
        if _rescales(placement.profile, kernel) or kernel.rule.kind is Kind.TIED:
            placement.integer.update(n for n in kernel.outputs if n in graph.consumers or n in placement.exposed)
    reads: dict[str, list[Edge]] = {name: [] for name in placement.integer}
    inner = {id(node) for kernel in placement.kernels.values() for node in kernel.nodes[1:]}
    for node in graph.nodes:
        if id(node) in inner:  # reads the accumulator
            continue
        member = placement.kernels.get(node.name)
        data = member.rule.inputs(node) if member else []
        for i, name in enumerate(node.input):
            if i in data and graph.constant(name) is not None:
                if not (member and member.rule.kind is Kind.MAC):
                    grid = member.outputs[0] if member and member.rule.kind is Kind.TIED else None
                    placement.constants[node.name, i] = grid
            elif i in data or name in placement.integer:
                reads.setdefault(name, []).append((node.name, i))
    for name in [*graph.inputs, *(output for node in graph.nodes for output in node.output)]:
        if name in reads:
            placement.slots[name] = name
            placement.reads.update((edge, name) for edge in reads[name])


def _tie(graph: Graph, placement: Placement) -> None:
    """Unite the slots that share a scale; a prescribed scale is not given up, it is rescaled where it must be."""
    ties, fixed = placement.ties, placement.fixed
    for kernel in placement.kernels.values():
        outputs = [name for name in kernel.outputs if name in placement.slots]
        if kernel.rule.kind is not Kind.TIED:
            if kernel.rule.output is not None:
                fixed.update((name, kernel.rule.output) for name in outputs)
            continue
        edges = [(kernel.name, i) for i in kernel.rule.inputs(kernel.anchor)]
        edges = [edge for edge in edges if edge in placement.reads]
        constants = len(edges) < len(kernel.rule.inputs(kernel.anchor))
        prescribed = {fixed.get(ties.root(placement.reads[edge])) for edge in edges}
        if prescribed != {None} and (len(prescribed) > 1 or constants):
            for edge in edges:
                slot = placement.reads[edge]
                if ties.root(slot) in fixed:
                    own = f"{slot}/for/{kernel.name}"
                    placement.slots[own] = placement.slots[slot]
                    placement.reads[edge] = own
        ties.tie([*(placement.reads[edge] for edge in edges), *outputs])
