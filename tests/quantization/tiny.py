"""Small networks for tests, and exact statistics of what goes on inside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgec.onnx_graph.graph import Graph
from edgec.quantization.observers import choose_observed
from edgec.quantization.statistics import BINS, TensorStatistics, width_for
from edgec.reference import Reference


def network(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    dtypes: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> onnx.ModelProto:
    """A checked model; nodes without a name get one.

    dtypes: of inputs and outputs that are not float32. shapes: of outputs that shape inference can't tell.
    """
    for i, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type.lower()}{i}"
    kinds = dict(dtypes or {})
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), (shapes or {}).get(n)) for n in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()],
    )
    domains = sorted({node.domain for node in nodes} - {""})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8 if opset < 19 else 10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=not domains)
    onnx.checker.check_model(model)
    return model


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any) -> onnx.NodeProto:
    """helper.make_node without the ceremony."""
    return helper.make_node(op, list(inputs), list(outputs), name=name, **attributes)


def random_feeds(model: onnx.ModelProto, count: int = 8, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Standard normal values for float inputs, zeros for all others."""
    rng, graph, feeds = np.random.default_rng(seed), Graph(model), []
    for _ in range(count):
        feed = {}
        for name in graph.inputs:
            shape, dtype = graph.shape(name), graph.dtype(name)
            feed[name] = rng.normal(size=shape).astype(dtype) if graph.is_float(name) else np.zeros(shape, dtype)
        feeds.append(feed)
    return feeds


def statistics_of(model: onnx.ModelProto, feeds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, TensorStatistics]:
    """Exact statistics of every tensor that calibration observes, from all of its values."""
    observed = [item for item in choose_observed(Graph(model)) if item.shape is not None]
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    present = {output.name for output in wide.graph.output} | {i.name for i in wide.graph.input}
    wide.graph.output.extend(
        helper.make_tensor_value_info(item.name, TensorProto.FLOAT, None)
        for item in observed
        if item.name not in present
    )
    reference = Reference(wide.SerializeToString(), "none")
    runs = [{**feed, **reference.run(feed)} for feed in feeds]
    return {
        item.name: statistics_of_values(np.stack([run[item.name] for run in runs]), item.channel_axis)
        for item in observed
    }


def statistics_of_values(values: np.ndarray, channel_axis: int | None = None) -> TensorStatistics:
    """Statistics of float32 [runs, *shape]."""
    shape = values.shape[1:]
    width = width_for(float(np.abs(values).max(initial=0.0)))
    bins = np.floor(values / width).astype(np.int64).reshape(-1) + BINS // 2
    per_channel: dict[str, Any] = {}
    if channel_axis is not None:
        rows = np.moveaxis(values, channel_axis + 1, 0)
        flat = rows.reshape(len(rows), -1)
        per_channel = {
            "channel_axis": channel_axis,
            "channel_min": flat.min(axis=1),
            "channel_max": flat.max(axis=1),
            "mean": flat.mean(axis=1, dtype=np.float64).astype(np.float32),
        }
        if channel_axis == 1 and len(shape) > 2:
            others = [tuple(i for i in range(rows.ndim) if i not in (0, axis)) for axis in range(3, rows.ndim)]
            per_channel["axis_means"] = tuple(
                rows.mean(axis=axes, dtype=np.float64).astype(np.float32) for axes in others
            )
    return TensorStatistics(
        minimum=float(values.min()),
        maximum=float(values.max()),
        count=values.size,
        steps=len(values),
        histogram=np.bincount(bins, minlength=BINS)[:BINS].astype(np.int64),
        bin_width=width,
        shape=shape,
        **per_channel,
    )
