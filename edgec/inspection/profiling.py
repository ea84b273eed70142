"""How long each node of a float model takes in ONNX Runtime on this machine: a profile, told of the graph's own nodes.

ONNX Runtime runs what it made of the graph: it fuses nodes, renames what it lays out anew, and adds nodes that change
layouts. With all that switched off, a profile would be of a model that nobody runs: slower by far, and with other
layers standing out. So it stays on, and times are mapped back:

- a kernel stands for the node that made its result, by the result's name (in kernels of ONNX Runtime's blocked layout:
  by the kernel's own name, which holds it), and for all nodes before it that no other kernel stands for;
- its time is told of the node among these that multiplies most; the others say into which they went;
- nodes behind all kernels' results were fused into what feeds them last;
- kernels that stand for no node (changes of layout) are summed up apart.

A node's time is the least of all runs: what disturbs a run only adds to it.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.inspection.layers import name_of

if TYPE_CHECKING:
    import numpy as np

    from edgec.onnx_graph.graph import Graph

_SECONDS = 0.25
_LEAST_RUNS = 4
_MOST_RUNS = 40
_LARGEST_REWRITTEN = 512 << 20
"""Bytes of a model that ONNX Runtime is asked to write as it runs it; names alone have to do for larger ones."""

_KERNEL = "_kernel_time"
_BLOCKED = re.compile(r"_nchwc(?:_token_\d+)?$")


@dataclass(frozen=True)
class Kernel:
    """What ONNX Runtime runs: its name, the tensors that it writes, and its time in milliseconds."""

    name: str
    outputs: tuple[str, ...]
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """milliseconds: of all kernels together; noisy: the runs differ so much that the machine must have been busy.

    by_node: of the nodes that kernels stand for. into: for every other node, the one that it went into; elsewhere:
    milliseconds of kernels that stand for no node.
    """

    version: str
    threads: int
    runs: int
    milliseconds: float
    noisy: bool
    by_node: Mapping[str, float]
    into: Mapping[str, str]
    elsewhere: float


def profile(
    model: Path, graph: Graph, feeds: Mapping[str, np.ndarray], cost: Mapping[str, int], threads: int = 1
) -> Profile:
    """Run the model at `model`, which `graph` is, for about a quarter of a second. cost: multiply-accumulates by node.

    Raises what ONNX Runtime raises.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        kernels, runs, totals = _run(model, Path(folder), feeds, threads)
    by_node, into, elsewhere = assigned(graph, kernels, cost)
    totals.sort()
    return Profile(
        version=onnxruntime.__version__,
        threads=threads,
        runs=runs,
        milliseconds=sum(kernel.milliseconds for kernel in kernels),
        noisy=totals[len(totals) // 2] > 1.5 * totals[0],
        by_node=by_node,
        into=into,
        elsewhere=elsewhere,
    )


def assigned(
    graph: Graph, kernels: Sequence[Kernel], cost: Mapping[str, int]
) -> tuple[dict[str, float], dict[str, str], float]:
    """Milliseconds by node, the node that each other node went into, and milliseconds of kernels of no node."""
    named = {name_of(node): node for node in graph.nodes}
    position = {name_of(node): index for index, node in enumerate(graph.nodes)}
    anchors: dict[str, Kernel] = {}  # by the node whose result a kernel writes
    elsewhere = 0.0
    for kernel in kernels:
        anchor = _anchor(kernel, graph)
        if anchor is None or anchor in anchors:
            elsewhere += kernel.milliseconds
        else:
            anchors[anchor] = kernel
    by_node: dict[str, float] = {}
    into: dict[str, str] = {}
    for anchor in sorted(anchors, key=position.__getitem__):
        group = [anchor]
        for name in group:  # grows as it is walked: what is before these nodes, up to the next kernel's
            for tensor in named[name].input:
                before = graph.producer.get(tensor)
                if before is None or name_of(before) in anchors or name_of(before) in into or name_of(before) in group:
                    continue
                group.append(name_of(before))
        owner = max(group, key=lambda name: (cost.get(name, 0), name == anchor))
        by_node[owner] = by_node.get(owner, 0.0) + anchors[anchor].milliseconds
        into.update((name, owner) for name in group)
    for node in graph.nodes:
        if name_of(node) not in into:
            feeding = [name_of(graph.producer[name]) for name in node.input if name in graph.producer]
            if known := [into[name] for name in feeding if name in into]:  # not of one that repeated another's work
                into[name_of(node)] = max(known, key=position.__getitem__)
    return by_node, {name: owner for name, owner in into.items() if name != owner}, elsewhere


def _anchor(kernel: Kernel, graph: Graph) -> str | None:
    """The node whose result a kernel writes; None for one that is ONNX Runtime's own."""
    for tensor in (*kernel.outputs, _BLOCKED.sub("", kernel.name)):
        if tensor in graph.producer:
            return name_of(graph.producer[tensor])
    return next((name_of(node) for node in graph.nodes if node.name and node.name == kernel.name), None)


def _run(
    model: Path, folder: Path, feeds: Mapping[str, np.ndarray], threads: int
) -> tuple[list[Kernel], int, list[float]]:
    """The kernels with the least time of each, the number of runs, and milliseconds of each run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    rewritten = folder / "rewritten.onnx"
    if sum(path.stat().st_size for path in model.parent.iterdir()) <= _LARGEST_REWRITTEN:
        options.optimized_model_filepath = str(rewritten)
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    runs, end = 0, time.perf_counter() + _SECONDS
    while runs <= _LEAST_RUNS or (time.perf_counter() < end and runs <= _MOST_RUNS):
        session.run(None, dict(feeds))
        runs += 1
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    outputs = _outputs(rewritten) if rewritten.exists() else None
    return _kernels(events, outputs), runs - 1, _totals(events)


def _outputs(rewritten: Path) -> dict[str, tuple[str, ...]]:
    """What each node of the main graph writes, in the model as ONNX Runtime runs it."""
    import onnx

    model = onnx.load(str(rewritten), load_external_data=False)
    return {node.name: tuple(filter(None, node.output)) for node in model.graph.node}


def _kernels(events: Iterable[Mapping[str, Any]], outputs: Mapping[str, tuple[str, ...]] | None) -> list[Kernel]:
    """Kernels with the least time of all runs but the first, which finds caches cold.

    outputs: of the nodes of the main graph: those inside of If and Loop are part of the time of these.
    """
    times: dict[str, dict[str, list[float]]] = {}
    for event in events:
        name = str(event["name"])
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            name = name.removesuffix(_KERNEL)
            if outputs is None or name in outputs:
                by_index = times.setdefault(name, {})  # several kernels may share a name
                by_index.setdefault(str(event["args"].get("node_index")), []).append(event["dur"] / 1000)
    return [
        Kernel(name, (outputs or {}).get(name, ()), sum(min(each[1:] or each) for each in by_index.values()))
        for name, by_index in times.items()
    ]


def _totals(events: Iterable[Mapping[str, Any]]) -> list[float]:
    found = [event["dur"] / 1000 for event in events if event["name"] == "model_run"]
    return found[1:] or found
