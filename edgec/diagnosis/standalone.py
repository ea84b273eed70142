"""The smallest failing part of a model as a model of its own: float and quantized side by side, with its inputs.

NAME-smallest.onnx         outputs in pairs: a tensor of the float model, and the same one quantized
NAME-smallest-inputs.npz   what the float model feeds it
NAME-smallest.py           runs it in ONNX Runtime and prints the difference
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from edgec.diagnosis.layers import Layer, Twins, names_read
from edgec.diagnosis.meters import ErrorMeter
from edgec.diagnosis.walk import Values, Walker
from edgec.reference import Reference
from edgec.runtime.npz import write_npz

QUANTIZED = "/quantized"

_SCRIPT = """\
# Needs onnxruntime and numpy. Prints how far the quantized layers are from the float ones, both fed with float inputs.
import pathlib
import numpy as np, onnxruntime as ort
here = pathlib.Path(__file__).parent
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
session = ort.InferenceSession(str(here / "{name}.onnx"), options)
archive = np.load(here / "{name}-inputs.npz")
names = [item.name for item in session.get_outputs()]
values = session.run(None, {{n: archive["input%d" % i] for i, n in enumerate(archive["names"])}})
for name, a, b in zip(names[::2], values[::2], values[1::2]):
    axis = 1 if a.ndim == 4 else -1  # that of the channels
    a, b = (np.moveaxis(np.float64(x), axis, 0).reshape(x.shape[axis], -1) for x in (a, b))
    noise, moving = np.maximum(np.square(a - b), 1e-300), a.var(axis=1) > 1e-12 * np.square(a).mean(axis=1)
    text = f"{{name}}: SQNR {{10 * np.log10((a * a).sum() / noise.sum()):.1f}} dB"
    if moving.any():  # a channel that holds one value has no signal of its own
        channel = np.median(a.var(axis=1)[moving] / noise.mean(axis=1)[moving])
        text += f", of the median channel {{10 * np.log10(channel):.1f}} dB"
    print(text)
"""


def part(twins: Twins, layers: Sequence[Layer], values: Values) -> onnx.ModelProto:
    """The layers as one model, float and quantized. values: what they read, for dtypes and shapes.

    Outputs come in pairs: a tensor of the float model, and what the twin hands on for it.
    """
    made = {name for layer in layers for name in layer.outputs}
    reads = [name for name in dict.fromkeys(n for layer in layers for n in layer.reads) if name not in made]
    inside = {layer.index for layer in layers}
    later = {n for layer in twins.layers if layer.index not in inside for n in layer.reads} | set(twins.floats.outputs)
    ends = [
        (layer, name) for layer in layers for name in layer.outputs if name in later and twins.floats.is_float(name)
    ]
    nodes: list[NodeProto] = []
    constants: dict[str, TensorProto] = {}
    for graph, suffix in ((twins.floats, ""), (twins.quantized, QUANTIZED)):
        members = [node for layer in layers for node in (layer.twin if suffix else layer.nodes)]
        for node in {tuple(node.output): node for node in members}.values():
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{node.name}{suffix}"
            copy.input[:] = [name if name in reads or not name else f"{name}{suffix}" for name in node.input]
            copy.output[:] = [f"{name}{suffix}" if name else "" for name in node.output]
            nodes.append(copy)
            for name in node.input:
                if name in graph.initializers:
                    constants[f"{name}{suffix}"] = _named(graph.initializers[name], f"{name}{suffix}")
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values[name].dtype), values[name].shape)
        for name in reads
    ]
    pairs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, twins.floats.shape(end))
        for layer, end in ends
        for name in (end, f"{layer.handed_on[end]}{QUANTIZED}")
    ]
    body = helper.make_graph(nodes, "smallest", inputs, pairs, list(constants.values()))
    source = max((twins.quantized.model, twins.floats.model), key=_opset)
    return helper.make_model(
        body, opset_imports=source.opset_import, ir_version=source.ir_version, functions=source.functions
    )


def _opset(model: onnx.ModelProto) -> int:
    return max(int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx"))


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def can_stand_alone(layers: Sequence[Layer], twins: Twins) -> bool:
    """Whether no body of an If, Loop or Scan in them reads tensors from outside of it: these could not be renamed."""
    nodes = [node for layer in layers for node in (*layer.nodes, *layer.twin)]
    return all(set(names_read(node)) <= set(node.input) for node in nodes)


def write(folder: Path, name: str, twins: Twins, layers: Sequence[Layer], walker: Walker, feeds: Values) -> float:
    """Write the three files, run the model as a stranger would, and return the SQNR in dB that it shows."""
    values = _read_by(walker, layers, feeds)
    model = part(twins, layers, values)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    inputs = [item.name for item in model.graph.input]
    arrays = {"names": np.array(inputs, dtype=np.str_)} | {f"input{i}": values[n] for i, n in enumerate(inputs)}
    write_npz(folder / f"{name}-inputs.npz", arrays)
    (folder / f"{name}.py").write_text(_SCRIPT.format(name=name), encoding="utf-8")
    reference = Reference(folder / f"{name}.onnx", "none")
    outputs = reference.run({n: values[n] for n in inputs})
    pairs = zip(reference.outputs[::2], reference.outputs[1::2], strict=True)
    return min(_db(outputs[before], outputs[after]) for before, after in pairs)


def _db(expected: np.ndarray, actual: np.ndarray) -> float:
    """The lower one of the two numbers that the script prints."""
    meter = ErrorMeter(1 if expected.ndim == 4 else -1)
    meter.add(expected, actual)
    return meter.db


def _read_by(walker: Walker, layers: Sequence[Layer], feeds: Values) -> Values:
    """What the layers read in the float model, on one input."""
    wanted = {name for layer in layers for name in layer.reads}
    values: Values = {name: value for name, value in feeds.items() if name in wanted}
    floats: Values = dict(feeds)
    for layer in walker.twins.layers:
        floats.update(walker.floats(layer, floats))
        values.update({name: floats[name] for name in layer.outputs if name in wanted})
    return values
