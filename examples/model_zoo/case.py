"""A model together with what is needed to build and to judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

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
class Compared:
    """What two models made of one example: `outputs` of the one that is judged, `original` of the ONNX file in float.

    Both hold the outputs of each step.
    """

    name: str
    label: Any
    outputs: list[Outputs]
    original: list[Outputs]


@dataclass(frozen=True)
class Case:
    """A real model on a real task.

    calibration: a folder of pictures for `recipe`, or of arrays. Shares no picture, text or recording with `examples`.
    recipe: name or path of the preprocessing recipe; None where the calibration data are arrays.
    shapes, state: as `edgec.build` takes them.
    examples: makes the labelled test data; always the same.
    score: from (the outputs of each step, the label) of all examples to a number in 0..1, higher is better.
    compare: what labels can't tell, because it takes the original's outputs beside: agreement, Dice, margins by name.
    seed: by which calibration and test data were drawn.
    """

    name: str
    model: Path
    calibration: Path
    recipe: str | None
    examples: Callable[[], Iterable[Example]]
    score: Callable[[Sequence[tuple[list[Outputs], Any]]], float]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    compare: Callable[[Sequence[Compared]], dict[str, float]] = lambda pairs: {}
    seed: int = 0

    def accuracy(self, run: Run) -> float:
        """The score of a model that is run one step at a time."""
        return self.score([(list(self._outputs(run, example.steps)), example.label) for example in self.examples()])

    def scores(self, run: Run) -> dict[str, float]:
        """`accuracy`, `fp32_accuracy` of the ONNX file, how far the first is below (`accuracy_drop`), `sqnr_db` to the
        ONNX file at the worst output that is no state, and what `compare` adds."""
        original = onnx_runtime(self.model)
        pairs = [
            Compared(
                example.name,
                example.label,
                list(self._outputs(run, example.steps)),
                list(self._outputs(original, example.steps)),
            )
            for example in self.examples()
        ]
        accuracy = self.score([(pair.outputs, pair.label) for pair in pairs])
        before = self.score([(pair.original, pair.label) for pair in pairs])
        return {
            "accuracy": accuracy,
            "fp32_accuracy": before,
            "accuracy_drop": before - accuracy,
            "sqnr_db": min(sqnr_db(pairs, name) for name in pairs[0].original[0] if name not in self.state),
            **self.compare(pairs),
        }

    def _outputs(self, run: Run, steps: Sequence[Feeds]) -> Iterator[Outputs]:
        carried = {into: np.zeros(self.shapes[into], np.float32) for into in self.state.values()}
        for step in steps:
            outputs = run({**carried, **step})
            carried = {into: outputs[source] for source, into in self.state.items()}
            yield outputs

    def command(self, target: str = "host") -> str:
        """The `edgec build` command that builds this case."""
        words = ["edgec build", str(self.model), f"--target {target}", f"--calib {self.calibration}"]
        words += [f"--preprocess {self.recipe}"] if self.recipe else []
        words += [f"--shape {name}={'x'.join(map(str, shape))}" for name, shape in self.shapes.items()]
        words += [f"--state {source}:{into}" for source, into in self.state.items()]
        return " ".join(words)


class MakeCase(Protocol):
    """Makes a case. Another seed draws other calibration and test data, as far as there are others to be had."""

    def __call__(self, seed: int = 0) -> Case: ...


def top1(output: str) -> Callable[[Sequence[tuple[list[Outputs], Any]]], float]:
    """A score: the share of examples whose largest value of `output` is at the label."""

    def score(results: Sequence[tuple[list[Outputs], Any]]) -> float:
        return float(np.mean([outputs[0][output].argmax() == label for outputs, label in results]))

    return score


def same_top1(output: str) -> Callable[[Sequence[Compared]], dict[str, float]]:
    """`agreement`: the share of examples where both models have the largest value of `output` at the same place."""

    def compare(pairs: Sequence[Compared]) -> dict[str, float]:
        same = [pair.outputs[0][output].argmax() == pair.original[0][output].argmax() for pair in pairs]
        return {"agreement": float(np.mean(same))}

    return compare


def sqnr_db(pairs: Sequence[Compared], output: str) -> float:
    """Signal of the original to its distance from the judged model, over all examples and steps, in dB."""
    signal = noise = 0.0
    for pair in pairs:
        for after, before in zip(pair.outputs, pair.original, strict=True):
            expected = before[output].astype(np.float64)
            signal += float((expected**2).sum())
            noise += float(((after[output] - expected) ** 2).sum())
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30 * max(signal, 1e-30))))


def onnx_runtime(model: Path) -> Run:
    """Run an ONNX file as it is, in float, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, dict(feeds)), strict=True))
