"""Smaller weights, float arithmetic: the reference of the precisions "int8-weights" and "fp16".

    int8-weights    W (int8) -> DequantizeLinear -> Conv      one scale for each output channel, symmetric
    fp16            W (float16) -> Cast -> Conv

Nothing else changes: activations stay float32, and no data is needed. Weights are taken one at a time, and written as a
stream, so a model of 3 GB needs no more memory than its largest tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgec.onnx_graph.cost import macs
from edgec.onnx_graph.graph import Graph, numpy_size
from edgec.onnx_graph.hollow import Data, Made, refer
from edgec.quantization.names import Names
from edgec.quantization.qparams import Float32, quantize_weights, weight_scales
from edgec.quantization.weight_roles import Role, roles

WeightPrecision = Literal["int8-weights", "fp16"]

LEAST = 256
"""Elements below which a tensor stays as it is: a node more costs more than it saves."""

LEAST_TABLE = 1 << 14
"""The same for int8 tables that only Gather reads: a row passes on its error as it is, where a sum evens it out, and a
small table saves nothing worth that."""

MOST_LOSS = 0.01
"""Share of a channel (root of its energy) that float16 may lose. Normal numbers lose at most 2^-11 each. Where weights
lie below 2^-14, more is lost, since float16 has fewer bits there."""

LARGEST_HALF = 65504.0

_GLANCE = 32
"""Weights of a channel that are looked at before all of them are."""

_NEARLY = 1e-4
"""Steps that a weight may be off a grid: less than a fortieth of what rounding to 127 steps costs at worst, so that a
grid which is met by chance does no harm."""


@dataclass(frozen=True)
class StoredWeight:
    """One weight that was made smaller.

    name: of the initializer. node, op: the layer that reads it. axis: of its scales; None for float16.
    bytes_before, bytes_after: scales included. sqnr_db: of the weights as they are stored.
    """

    name: str
    node: str
    op: str
    form: str
    axis: int | None
    bytes_before: int
    bytes_after: int
    sqnr_db: float


@dataclass(frozen=True)
class LeftWeight:
    """One large float tensor that stays float32, and why."""

    name: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class Compressed:
    """The reference, hollow, with the data of its large tensors; and what was done."""

    model: onnx.ModelProto
    weights: Mapping[str, Data]
    stored: tuple[StoredWeight, ...]
    left: tuple[LeftWeight, ...]
    mac_fraction: float

    def to_json(self) -> dict[str, Any]:
        return {
            "weights": [asdict(item) for item in self.stored],
            "left": [asdict(item) for item in self.left],
            "bytes_before": sum(item.bytes_before for item in self.stored) + sum(item.bytes for item in self.left),
            "bytes_after": sum(item.bytes_after for item in self.stored) + sum(item.bytes for item in self.left),
            "mac_fraction": self.mac_fraction,
        }


@dataclass(frozen=True)
class _Packed:
    """A weight in its new form: the tensors that hold it, and the nodes that make it float32 again."""

    tensors: list[TensorProto]
    nodes: list[NodeProto]
    data: dict[str, Data]
    stored: StoredWeight


Progress = Callable[[int, int], None]


def compress(
    model: onnx.ModelProto,
    weights: Mapping[str, Data],
    precision: WeightPrecision,
    keep_float: Collection[str] = (),
    progress: Progress = lambda done, total: None,
) -> Compressed:
    """Give `model` (hollow, changed in place) smaller weights.

    keep_float: names of nodes whose weights stay float32.
    progress: called with the number of tensors that are done, and of all.
    """
    graph = Graph(model)
    names = Names(graph)
    known = roles(graph)
    kept = {name for node in graph.nodes if node.name in keep_float for name in node.input}
    packed: dict[str, _Packed] = {}
    left: list[LeftWeight] = []
    large = [
        item for item in model.graph.initializer if item.data_type == TensorProto.FLOAT and numpy_size(item) >= LEAST
    ]
    for index, tensor in enumerate(large):
        progress(index, len(large))
        name = tensor.name
        data = weights.get(name)
        found: _Packed | str
        if name in graph.outputs:
            found = "it is an output of the model"
        elif name in kept:
            found = "it was asked to stay float"
        elif precision == "int8-weights":
            role = known.get(name)
            found = _no_product(graph, name) if role is None else _as_int8(tensor, data, role, names)
        else:
            found = _as_half(graph, tensor, data, known.get(name), names)
        if isinstance(found, str):
            left.append(LeftWeight(name, 4 * numpy_size(tensor), found))
        else:
            packed[name] = found
    rewritten, kept_data = _rewritten(model, weights, packed)
    return Compressed(
        rewritten, kept_data, tuple(item.stored for item in packed.values()), tuple(left), _share(graph, packed)
    )


def _no_product(graph: Graph, name: str) -> str:
    readers = sorted({node.op_type for node in graph.consumers.get(name, [])})
    if not readers:
        return "only the bodies of If, Loop or Scan read it"
    return f"no layer multiplies with it ({', '.join(readers)} read it)"


def _read(tensor: TensorProto, data: Data | None) -> Float32:
    if data is None:
        return np.asarray(numpy_helper.to_array(tensor), np.float32)
    return np.frombuffer(data.read(), np.dtype("<f4")).reshape(tuple(tensor.dims))


def _as_int8(tensor: TensorProto, data: Data | None, role: Role, names: Names) -> _Packed | str:
    """int8 with a scale for each index along the role's axis. Where the scales would eat up what is saved: why not."""
    size, channels = numpy_size(tensor), int(tensor.dims[role.axis])
    if role.op == "Gather" and size < LEAST_TABLE:
        return f"it is a table of {size:,} numbers: too small to be worth the error"
    after = size + 4 * channels
    if 2 * after > 4 * size:
        return f"a scale for each of its {channels} channels would take more than int8 saves"
    values = _read(tensor, data)
    scales = own_scales(values, role.axis)

    def integers() -> bytes:
        return quantize_weights(_read(tensor, data), scales, role.axis).values.tobytes()

    rounded = quantize_weights(values, scales, role.axis).dequantized()
    name = tensor.name
    quantized, scale = names.fresh(f"{name}_quantized"), names.fresh(f"{name}_scale")
    node = helper.make_node("DequantizeLinear", [quantized, scale], [name], names.fresh(f"{name}_DequantizeLinear"))
    node.attribute.append(helper.make_attribute("axis", role.axis))
    return _Packed(
        [_hollow(quantized, TensorProto.INT8, tensor, size), numpy_helper.from_array(scales, scale)],
        [node],
        {quantized: Made(size, integers)},
        StoredWeight(name, role.node, role.op, "int8", role.axis, 4 * size, after, _sqnr(values, rounded)),
    )


def own_scales(values: Float32, axis: int) -> Float32:
    """Scales for int8, float32, one for each index along `axis`: those of the grid that a channel lies on already, else
    its largest magnitude / 127.

    Weights that were int8 before somebody made them float32 again (other tools store them behind a Cast and a Mul) go
    back to what they were, instead of being rounded a second time.
    """
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    scales = weight_scales(values, axis)
    peaks = np.abs(rows).max(axis=1, initial=0.0)
    waiting = np.flatnonzero(peaks > np.finfo(np.float32).tiny * 127)
    few = rows[:, :_GLANCE]
    for largest in range(127, 0, -1):  # what the largest weight of a channel may have been
        inverse = (np.float32(largest) / peaks[waiting])[:, None]
        likely = _whole(few[waiting] * inverse)
        sure = np.zeros_like(likely)
        sure[likely] = _whole(rows[waiting[likely]] * inverse[likely])
        scales[waiting[sure]] = peaks[waiting[sure]] / np.float32(largest)
        waiting = waiting[~sure]
    return scales


def _whole(steps: Float32) -> np.ndarray:
    """For each row, whether all of it is whole numbers, but for float32 rounding of 127 steps."""
    whole: np.ndarray = (np.abs(steps - np.rint(steps)) <= _NEARLY).all(axis=1)
    return whole


def _as_half(graph: Graph, tensor: TensorProto, data: Data | None, role: Role | None, names: Names) -> _Packed | str:
    """float16. Where its range or its small numbers do not hold the weight: why not."""
    values = _read(tensor, data)
    name, size = tensor.name, numpy_size(tensor)
    readers = graph.consumers.get(name, [])
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in readers):
        return "it holds the scales of quantized tensors"
    largest = float(np.abs(values).max(initial=0.0))
    if largest > LARGEST_HALF:
        return f"its largest value is {largest:.6g}, and float16 ends at {LARGEST_HALF:.0f}"
    half = values.astype(np.float16)
    axis = role.axis if role is not None else None
    lost, channel = _worst_channel(values, half.astype(np.float32), axis)
    if lost > MOST_LOSS:
        where = "" if axis is None else f" in channel {channel}"
        return (
            f"float16 would lose {100 * lost:.2g} % of it{where}: its values are so small that float16 has few bits "
            "left for them"
        )
    stored = names.fresh(f"{name}_float16")
    node = helper.make_node("Cast", [stored], [name], names.fresh(f"{name}_Cast"), to=TensorProto.FLOAT)
    op, reader = (role.op, role.node) if role else (readers[0].op_type, readers[0].name) if readers else ("", "")
    return _Packed(
        [_hollow(stored, TensorProto.FLOAT16, tensor, 2 * size)],
        [node],
        {stored: Made(2 * size, functools.partial(_half_bytes, tensor, data))},
        StoredWeight(name, reader, op, "float16", None, 4 * size, 2 * size, _sqnr(values, half.astype(np.float32))),
    )


def _half_bytes(tensor: TensorProto, data: Data | None) -> bytes:
    return _read(tensor, data).astype("<f2").tobytes()


def _worst_channel(values: Float32, stored: Float32, axis: int | None) -> tuple[float, int]:
    """The largest share (root of energies) that a channel loses, and its index. Channels of zeros lose nothing."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    exact = values.astype(np.float64)
    signal = np.atleast_1d(np.square(exact).sum(axis=others))
    noise = np.atleast_1d(np.square(exact - stored).sum(axis=others))
    shares = np.sqrt(np.divide(noise, signal, out=np.zeros_like(noise), where=signal > 0))
    worst = int(shares.argmax())
    return float(shares[worst]), worst


def _sqnr(values: Float32, stored: Float32) -> float:
    """Signal over noise of stored weights in dB, at most 120."""
    signal = float(np.square(values, dtype=np.float64).sum())
    noise = float(np.square(values.astype(np.float64) - stored).sum())
    return 120.0 if noise <= 1e-12 * signal else round(float(10 * np.log10(signal / noise)), 2)


def _hollow(name: str, kind: int, like: TensorProto, length: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=kind, dims=like.dims)
    refer(tensor, 0, length)
    return tensor


def _rewritten(
    model: onnx.ModelProto, weights: Mapping[str, Data], packed: Mapping[str, _Packed]
) -> tuple[onnx.ModelProto, dict[str, Data]]:
    """The model with packed weights in place of plain ones. A weight keeps its name, as the output of a node now: all
    that read it, bodies of If and Loop too, read it as before."""
    kept = [item for item in model.graph.initializer if item.name not in packed]
    added = [tensor for item in packed.values() for tensor in item.tensors]
    nodes = [node for item in packed.values() for node in item.nodes] + list(model.graph.node)
    shell = onnx.ModelProto()
    shell.CopyFrom(model)
    del shell.graph.initializer[:]
    shell.graph.initializer.extend([*kept, *added])
    del shell.graph.node[:]
    shell.graph.node.extend(nodes)
    data = {name: item for name, item in weights.items() if name not in packed}
    for item in packed.values():
        data.update(item.data)
    return shell, data


def _share(graph: Graph, packed: Mapping[str, _Packed]) -> float:
    """Multiply-accumulates of the layers that read a packed weight, as a share of all, 0 to 1."""
    cost = macs(graph)
    readers = {node.name for name in packed for node in graph.consumers.get(name, [])}
    total = sum(cost.values())
    return sum(count for name, count in cost.items() if name in readers) / total if total else 0.0
