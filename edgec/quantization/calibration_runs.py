"""Values of chosen tensors of the float model on calibration samples, for methods that need more than statistics.

What is asked for comes out of ONNX Runtime as extra outputs of as much of the model as it takes to compute them, run by
run: memory holds the inputs of all runs and the chosen tensors of one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper

from edgec.contract import Contract
from edgec.onnx_graph.graph import load_model
from edgec.reference import Reference
from edgec.samples import Feeds, SampleSource, State, feeds_of_steps, held_out

MOST_SAMPLES = 32
MOST_RUNS = 64
"""Of recurrent models, whose samples have many steps: so many of them, at even distances."""

MOST_INPUT_BYTES = 256 * 2**20
"""Inputs that are kept in memory: with larger ones, fewer samples are used, but never less than FEWEST_SAMPLES."""
FEWEST_SAMPLES = 4

Arrays = dict[str, npt.NDArray[Any]]


class CalibrationRuns:
    """Runs a float model on calibration samples, as often as it is asked to.

    model: its tensors may be asked for. state: output name to input name of a recurrent model. indices: of the samples
    to use; by default MOST_SAMPLES of those that calibration may see, drawn by chance, the same every time.
    """

    def __init__(
        self,
        model: onnx.ModelProto | bytes | Path,
        samples: SampleSource,
        contract: Contract,
        state: State | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        self._model = _loaded(model)
        self._samples = samples
        self._contract = contract
        self._state = dict(state or {})
        self._indices = _drawn(len(samples)) if indices is None else list(indices)

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._feeds)

    def with_model(self, model: onnx.ModelProto | bytes | Path) -> CalibrationRuns:
        """The same runs of another model that takes the same inputs and has the same state."""
        other = CalibrationRuns(model, self._samples, self._contract, self._state, self._indices)
        if "_feeds" in self.__dict__:
            other.__dict__["_feeds"] = self._feeds
        return other

    def values(self, tensors: Sequence[str]) -> Iterator[Arrays]:
        """The tensors' values in each run, by name. Inputs of the model may be among them.

        Raises ValueError for a tensor that the model does not have.
        """
        inputs = {item.name for item in self._model.graph.input}
        computed = [name for name in dict.fromkeys(tensors) if name not in inputs]
        run = _runner(part(self._model, computed)) if computed else None
        for feeds in self._feeds:
            yield {name: feeds[name] for name in tensors if name in inputs} | (run(feeds) if run else {})

    @cached_property
    def _feeds(self) -> list[Feeds]:
        """Complete feeds (the state among them) of all runs."""
        indices = self._affordable()
        if not self._state:
            return [step for sample in self._samples.read(indices) for step in sample.steps][:MOST_RUNS]
        per_sample = max(1, MOST_RUNS // max(1, len(indices)))
        run = _runner(part(self._model, list(self._state)))
        kept: list[Feeds] = []
        for sample in self._samples.read(indices):
            wanted = {i * len(sample.steps) // per_sample for i in range(per_sample)}
            steps = feeds_of_steps(sample, self._contract, self._state, run)
            kept += [feeds for i, (feeds, _) in enumerate(steps) if i in wanted]
        return kept

    def _affordable(self) -> list[int]:
        """As many of the indices as inputs fit into memory."""
        if not self._indices:
            return []
        (first,) = self._samples.read(self._indices[:1])
        kept = 1 if self._state else len(first.steps)
        size = max(1, kept * sum(value.nbytes for value in first.steps[0].values()))
        return self._indices[: max(FEWEST_SAMPLES, MOST_INPUT_BYTES // size)]


def part(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """As much of a model as it takes to compute some of its tensors, which become its outputs, in this order.

    Raises ValueError for a tensor that no node makes.
    """
    needed, nodes = set(tensors), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_read_by(node))
    made = {name for node in nodes for name in node.output}
    if missing := [name for name in tensors if name not in made]:
        raise ValueError(f"no node makes {missing[0]!r}")
    found = onnx.ModelProto(ir_version=model.ir_version)
    found.opset_import.extend(model.opset_import)
    found.functions.extend(model.functions)
    graph = found.graph
    graph.name = model.graph.name
    graph.node.extend(reversed(nodes))
    graph.input.extend(item for item in model.graph.input if item.name in needed)
    graph.initializer.extend(item for item in model.graph.initializer if item.name in needed)
    graph.sparse_initializer.extend(item for item in model.graph.sparse_initializer if item.values.name in needed)
    known = {item.name: item for item in (*model.graph.output, *model.graph.value_info)}
    graph.value_info.extend(item for item in model.graph.value_info if item.name in made and item.name not in tensors)
    graph.output.extend(
        known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in dict.fromkeys(tensors)
    )
    return found


def _read_by(node: NodeProto) -> Iterator[str]:
    """What a node reads, and what its bodies may."""
    yield from node.input
    for item in node.attribute:
        for body in (item.g, *item.graphs) if item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ():
            yield from (output.name for output in body.output)
            for inner in body.node:
                yield from _read_by(inner)


def _runner(model: onnx.ModelProto) -> Callable[[Feeds], Arrays]:
    """Runs a model on feeds, of which it takes what it needs."""
    reference = Reference(model.SerializeToString(), "all")
    taken = {item.name for item in model.graph.input}
    return lambda feeds: reference.run({name: value for name, value in feeds.items() if name in taken})


def _loaded(model: onnx.ModelProto | bytes | Path) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        return model
    return onnx.ModelProto.FromString(model) if isinstance(model, bytes) else load_model(model)


def _drawn(count: int) -> list[int]:
    """Data is often sorted: by chance, the same every time."""
    indices = held_out(count)[0]
    return random.Random(0).sample(indices, len(indices))[:MOST_SAMPLES]
