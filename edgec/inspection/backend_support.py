"""What each backend of a target makes of a model's nodes: taken or refused, in integers or in float, and why.

Refusals are those of the `support` stage, from the converters themselves. What INT8 would reach is asked of the model
in its INT8 structure (`edgec.quantization.structure`), which has the operations and types of a calibrated model, not
its scales: backends that lower from `edgec.ir` say which operations their integer kernels don't take, and OpenVINO,
which only shows that once it has compiled a model, is taken to compute all products that are quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from edgec import worker
from edgec.backends import load_backend
from edgec.backends.base import OpVerdict
from edgec.backends.integer_facts import declared_integer
from edgec.errors import EdgecError
from edgec.ir.graph import Graph as IrGraph
from edgec.onnx_graph.graph import Graph
from edgec.targets import Target

_APART = frozenset({"openvino"})
"""Backends whose answer comes from native code, which may crash: they are asked in a process of their own."""

_TIMEOUT = 120.0


@dataclass(frozen=True)
class Quantized:
    """A model in its INT8 structure. float_nodes: those that no rule quantizes, and why. failure: why there is none."""

    model: onnx.ModelProto | None
    float_nodes: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""


def quantized_structure(model: onnx.ModelProto, came_quantized: bool) -> Quantized:
    """The INT8 structure of a float model; a model that came quantized as edgec takes it."""
    from edgec.quantization.given import taken
    from edgec.quantization.structure import strict_structure

    try:
        if came_quantized:
            return Quantized(taken(model).model)
        found = strict_structure(model)
    except EdgecError as error:
        return Quantized(None, failure=f"{error.what}. {error.why}".strip())
    return Quantized(found.model, found.float_nodes)


Asked = Mapping[str, "Future[list[OpVerdict]]"]


@contextmanager
def asking(path: Path, target: Target) -> Iterator[Asked]:
    """Answers on their way, of backends that are asked in processes of their own: it takes as long as all else here."""
    with ThreadPoolExecutor(max(1, len(_APART))) as pool:
        yield {
            name: pool.submit(
                worker.call, _verdicts, {"backend": name, "path": path, "target": target}, timeout=_TIMEOUT
            )
            for name in target.backends
            if name in _APART and load_backend(name).availability().installed
        }


def support(
    path: Path,
    quantized: Quantized,
    cost: Mapping[str, int],
    operators: Mapping[str, str],
    target: Target,
    asked: Asked,
) -> dict[str, Any]:
    """By backend of the target, in its order: status, reason, int8_mac_fraction, nodes.

    path: the model in its normal form. cost: multiply-accumulates by node. operators: of all nodes.
    status: "all" nodes are taken, "some", "none"; None where that can't be found out here. nodes: those that are
    refused (effect "refused"; a build through this backend fails), and those that stay in float32 in an INT8 build
    ("float").
    """
    early = _Imported(quantized)
    return {name: _one(name, path, target, asked.get(name), early, cost, operators) for name in target.backends}


def _verdicts(backend: str, path: Path, target: Target) -> list[OpVerdict]:
    return list(load_backend(backend).supports(path, target))


def _one(
    name: str,
    path: Path,
    target: Target,
    apart: Future[list[OpVerdict]] | None,
    quantized: _Imported,
    cost: Mapping[str, int],
    operators: Mapping[str, str],
) -> dict[str, Any]:
    available = load_backend(name).availability()
    if not available.installed:
        return _answer(None, f"{available.reason} Install it: {available.install}".strip())
    try:
        verdicts = apart.result() if apart is not None else _verdicts(name, path, target)
    except EdgecError as error:
        refused_whole = error.exit_code == 2  # the backend has nothing for this target
        return _answer("none" if refused_whole else None, f"{error.what}. {error.why} {error.fix}".strip())
    nodes = [_node(v.node, v.op, "refused", v.reason, v.remedy) for v in verdicts if not v.supported]
    if nodes:
        return _answer("some" if len(nodes) < len(verdicts) else "none", "", nodes)
    if quantized.source.model is None:
        return _answer("all", quantized.source.failure)
    try:
        floats = {**_in_float(name, quantized), **quantized.source.float_nodes}
    except EdgecError as error:
        return _answer("all", f"{error.what}. {error.why}".strip())
    nodes = [_node(node, operators.get(node, ""), "float", reason, "") for node, reason in floats.items()]
    return _answer("all", "", nodes, _fraction(quantized, floats, cost))


def _answer(
    status: str | None, reason: str, nodes: Sequence[Mapping[str, str]] = (), fraction: float | None = None
) -> dict[str, Any]:
    return {"status": status, "reason": reason, "int8_mac_fraction": fraction, "nodes": list(nodes)}


def _node(node: str, operator: str, effect: str, reason: str, remedy: str) -> dict[str, str]:
    return {"node": node, "operator": operator, "effect": effect, "reason": reason, "remedy": remedy}


class _Imported:
    """The INT8 structure as a graph of `edgec.ir`, made once, when the first backend asks."""

    def __init__(self, source: Quantized) -> None:
        self.source = source
        self._graph: IrGraph | None = None
        self._integer: list[str] | None = None

    def graph(self) -> IrGraph:
        from edgec.ir.importer import import_model
        from edgec.ir.passes.fold_constants import fold_constants
        from edgec.ir.passes.fuse import fuse
        from edgec.ir.passes.transposes import channels_last
        from edgec.ir.verifier import run_passes

        if self._graph is None:
            assert self.source.model is not None
            self._graph = run_passes(import_model(self.source.model), [fold_constants, channels_last, fuse])
        return self._graph

    def integer(self) -> list[str]:
        """Nodes between integers that kernels multiply."""
        if self._integer is None:
            assert self.source.model is not None
            self._integer = declared_integer(Graph(self.source.model))
        return self._integer


def _in_float(name: str, quantized: _Imported) -> dict[str, str]:
    """Nodes that a backend's integer kernels don't take, and why."""
    from edgec.ir.passes.integers import float_between

    if name == "tvm":
        from edgec.backends.tvm.support import TVMKernels

        found = float_between(quantized.graph(), TVMKernels(), float_results=True)
    elif name == "tflite":
        from edgec.backends.tflite.fast_kernels import FastKernels

        found = float_between(quantized.graph(), FastKernels())
    else:
        return {}
    return {node: item.reason for item in found for node in item.origin}


def _fraction(quantized: _Imported, floats: Iterable[str], cost: Mapping[str, int]) -> float | None:
    total = sum(cost.values())
    if not total:
        return None
    left = set(floats)
    return sum(cost.get(node, 0) for node in quantized.integer() if node not in left) / total
