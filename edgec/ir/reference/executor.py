"""Running a graph, operation by operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from importlib import import_module

import numpy as np

from edgec.ir.graph import Graph, Operation
from edgec.ir.reference.dispatch import Tensor, compute

for _family in ("elementwise", "movement", "normalization", "products", "quantization", "reductions", "windows"):
    import_module(f"edgec.ir.reference.{_family}")


def execute(graph: Graph, feeds: Mapping[str, np.ndarray], keep: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The graph's outputs, by name, and the values named in `keep`.

    feeds: one array for each input, of the input's own type: integers where it is quantized, in the order of
        dimensions in which the graph stores it (`Graph.layouts`).
    Raises ValueError for feeds that do not fit.
    """
    values: dict[str, np.ndarray] = {name: value.data for name, value in graph.values.items() if value.data is not None}
    for name in graph.inputs:
        values[name] = _checked(graph, name, feeds)
    wanted = {*graph.outputs, *keep}
    readers = Counter(name for operation in graph.operations for name in set(operation.inputs))
    for operation in graph.operations:
        values.update(zip(operation.outputs, run(graph, operation, values), strict=True))
        for name in set(operation.inputs):
            readers[name] -= 1
            if not readers[name] and name not in wanted:
                del values[name]
    return {name: values[name] for name in dict.fromkeys((*graph.outputs, *keep))}


def run(graph: Graph, operation: Operation, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The results of one operation of a graph, whose operands `values` holds."""
    operands = [Tensor(values[name], graph.type(name)) for name in operation.inputs]
    results = list(graph.types_of(operation.outputs))
    made = compute(operation.kind, operands, results)
    for name, of, data in zip(operation.outputs, results, made, strict=True):
        assert data.shape == of.shape and str(data.dtype) == of.dtype, (operation, name, data.shape, data.dtype, of)
    return made


def _checked(graph: Graph, name: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in feeds:
        raise ValueError(f"there is no feed for the input {name!r}")
    of, data = graph.type(name), np.asarray(feeds[name])
    if data.shape != of.shape or str(data.dtype) != of.dtype:
        raise ValueError(f"the input {name!r} is {of.dtype} {of.shape}, and is fed {data.dtype} {data.shape}")
    return data
