"""A model together with what is needed to build and to judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Feeds = Mapping[str, np.ndarray]
Outputs = Mapping[str, np.ndarray]
Run = Callable[[Feeds], Outputs]


@dataclass(frozen=True)
class Example:
    """One labelled test: `steps` are fed in order (one step, unless the model has a state); `label` is the truth."""

    name: str
    steps: tuple[Feeds, ...]
    label: Any


@dataclass(frozen=True)
class Case:
    """A real model on a real task.

    calibration: a folder of pictures for `recipe`, or of arrays. Shares no picture, text or recording with `examples`.
    recipe: name or path of the preprocessing recipe; None where the calibration data are arrays.
    shapes, state: as `edgec.build` takes them.
    examples: makes the labelled test data; always the same.
    score: from (the outputs of each step, the label) of all examples to a number in 0..1, higher is better.
    """

    name: str
    model: Path
    calibration: Path
    recipe: str | None
    examples: Callable[[], Iterable[Example]]
    score: Callable[[Sequence[tuple[list[Outputs], Any]]], float]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)

    def accuracy(self, run: Run) -> float:
        """The score of a model that is run one step at a time."""
        return self.score([(list(self._outputs(run, example.steps)), example.label) for example in self.examples()])

    def _outputs(self, run: Run, steps: Sequence[Feeds]) -> Iterator[Outputs]:
        carried = {into: np.zeros(self.shapes[into], np.float32) for into in self.state.values()}
        for step in steps:
            outputs = run({**carried, **step})
            carried = {into: outputs[source] for source, into in self.state.items()}
            yield outputs

    def command(self) -> str:
        """The `edgec build` command that builds this case for the machine at hand."""
        words = ["edgec build", str(self.model), "--target host", f"--calib {self.calibration}"]
        words += [f"--preprocess {self.recipe}"] if self.recipe else []
        words += [f"--shape {name}={'x'.join(map(str, shape))}" for name, shape in self.shapes.items()]
        words += [f"--state {source}:{into}" for source, into in self.state.items()]
        return " ".join(words)


def top1(output: str) -> Callable[[Sequence[tuple[list[Outputs], Any]]], float]:
    """A score: the share of examples whose largest value of `output` is at the label."""

    def score(results: Sequence[tuple[list[Outputs], Any]]) -> float:
        return float(np.mean([outputs[0][output].argmax() == label for outputs, label in results]))

    return score


def onnx_runtime(model: Path) -> Run:
    """Run an ONNX file as it is, in float, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, dict(feeds)), strict=True))
