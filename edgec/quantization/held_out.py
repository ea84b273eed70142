"""What a candidate is judged by: samples that calibration did not see, and what the original model says to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from edgec.contract import Contract
from edgec.errors import ModelRefused
from edgec.parity.metrics import Comparer, OutputComparison
from edgec.reference import Reference
from edgec.samples import Feeds, Sample, SampleSource, State, feeds_of_steps, held_out

MOST_SAMPLES, FEWEST_SAMPLES = 32, 4
ENOUGH_SAMPLES = 24
"""With more held-out samples than these, some are kept back from the search, to see whether it fits its own samples."""

MOST_BYTES = 2**31 - 1

MACS_PER_TRIAL = 48e9
"""About as much as a core does in ten seconds: a trial of a larger model takes fewer samples, never less than four."""

MACS_PER_STEP = 5e6
"""What a run of the smallest model costs: calls, copies and comparing take time, too."""

Outputs = dict[str, np.ndarray]


class HeldOut:
    """Held-out samples and the original's outputs, both kept in memory."""

    def __init__(self, samples: Sequence[Sample], original: Path | bytes, contract: Contract, state: State) -> None:
        self.contract = contract
        self.state = dict(state)
        self.samples = tuple(samples)
        reference = Reference(original)
        self.expected = [
            [outputs for _, outputs in feeds_of_steps(sample, contract, self.state, reference.run)]
            for sample in self.samples
        ]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def steps_per_sample(self) -> int:
        """How often the model runs for the longest sample."""
        return max((len(sample.steps) for sample in self.samples), default=1)

    def work(self, macs: int, count: int | None = None) -> float:
        """What comparing a model of `macs` multiplications on `count` samples costs, in multiplications."""
        return sum(len(sample.steps) for sample in self.samples[:count]) * (macs + MACS_PER_STEP)

    def compare(self, candidate: onnx.ModelProto, count: int | None = None) -> list[OutputComparison]:
        """Compare a model's outputs with the original's on the first `count` samples (default: all)."""
        return self.compare_outputs(Reference(serialized(candidate), "none").run, count)

    def compare_outputs(self, run: Callable[[Feeds], Outputs], count: int | None = None) -> list[OutputComparison]:
        """The same for anything that can be run; it carries its own state from step to step."""
        return self._compared(run, count)[0]

    def judged(
        self, candidate: onnx.ModelProto, count: int | None = None
    ) -> tuple[list[OutputComparison], list[float]]:
        """Compare a model's outputs with the original's, and say what each sample has lost, 0 to 1.

        A sample's loss is the mean over outputs of the share that noise has in signal and noise together, which is
        next to noise over signal where there is little of it. Outputs that prove nothing do not count; states and
        integers (whose noise is the share of unequal elements) only when there is nothing else.
        """
        return self._compared(Reference(serialized(candidate), "none").run, count)

    def _compared(
        self, run: Callable[[Feeds], Outputs], count: int | None
    ) -> tuple[list[OutputComparison], list[float]]:
        comparer = Comparer(state=self.state)
        energies: list[dict[str, tuple[float, float]]] = []
        for sample, expected in zip(self.samples[:count], self.expected[:count], strict=True):
            sums: dict[str, tuple[float, float]] = {}
            steps = feeds_of_steps(sample, self.contract, self.state, run)
            for before, (_, after) in zip(expected, steps, strict=True):
                comparer.add(before, after)
                for name, value in before.items():
                    signal, noise = _energies(value, after[name])
                    known = sums.get(name, (0.0, 0.0))
                    sums[name] = known[0] + signal, known[1] + noise
            energies.append(sums)
        comparisons = comparer.result()
        proving = [item for item in comparisons if item.degenerate is None] or comparisons
        telling = [item for item in proving if item.kind not in ("integer", "state")] or proving
        return comparisons, _losses(energies, [item.name for item in telling])


def _energies(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float]:
    """Energy of the reference and of the error; of integers the number of elements, and of those that differ."""
    if expected.dtype.kind in "biu":
        return float(expected.size), float((expected != actual).sum())
    a, b = expected.astype(np.float64).reshape(-1), actual.astype(np.float64).reshape(-1)
    both = np.isfinite(a) & np.isfinite(b)
    if not both.all():
        return float(a[both] @ a[both]), float("inf") if (np.isfinite(a) & ~np.isfinite(b)).any() else 0.0
    difference = a - b
    return float(a @ a), float(difference @ difference)


def _losses(energies: list[dict[str, tuple[float, float]]], names: list[str]) -> list[float]:
    """The loss of each sample. A signal counts as at least a tenth of the mean sample's: silence is not all noise."""
    typical = {name: sum(sums[name][0] for sums in energies) / len(energies) for name in names}

    def ratio(signal: float, noise: float, usual: float) -> float:
        least = max(signal, usual / 10)
        if noise == float("inf"):
            return 1.0
        return noise / (least + noise) if noise > 0 else 0.0

    return [sum(ratio(*sums[name], typical[name]) for name in names) / max(1, len(names)) for sums in energies]


def serialized(model: onnx.ModelProto) -> bytes:
    """The model's bytes, the same for equal models. Raises ModelRefused beyond what protobuf can hold."""
    try:
        content = bytes(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as error:  # which of the two depends on protobuf's implementation
        raise _too_large(sum(len(item.raw_data) for item in model.graph.initializer)) from error
    if len(content) >= MOST_BYTES:
        raise _too_large(len(content))
    return content


def _too_large(size: int) -> ModelRefused:
    return ModelRefused(
        f"The model is too large to quantize: one of its forms takes {size / 2**30:.1f} GiB",
        "A quantized model, and each trial on the way to it, is one ONNX file, which holds at most 2 GiB.",
        "Build it in float with --precision float, or split the model.",
    )


def read_held_out(source: SampleSource, macs: int) -> tuple[list[Sample], list[Sample]]:
    """The held-out samples that trials run on, and others that no trial sees, to look at the winner with.

    Drawn by chance from all that are held out, the same every time; as many as the model's size allows, never more than
    MOST_SAMPLES each. The artifact is judged on all that are held out.

    macs: multiplications of one step of the model.
    """
    indices = held_out(len(source))[1]
    if not indices:
        return [], []
    drawn = random.Random(1).sample(indices, len(indices))
    first = next(iter(source.read(drawn[:1])))
    affordable = max(FEWEST_SAMPLES, int(MACS_PER_TRIAL // max(1, macs * len(first.steps))))
    spare = min(MOST_SAMPLES, affordable, max(0, len(drawn) - ENOUGH_SAMPLES))
    if spare < FEWEST_SAMPLES:
        spare = 0
    used = min(MOST_SAMPLES, affordable, len(drawn) - spare)
    samples = [first, *source.read(drawn[1 : used + spare])]
    return samples[:used], samples[used:]
