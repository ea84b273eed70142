"""What a candidate is judged by: samples that calibration did not see, and what the original model says to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from edgec.contract import Contract
from edgec.errors import ModelRefused
from edgec.parity.metrics import Comparer, OutputComparison
from edgec.reference import Reference
from edgec.samples import Feeds, Sample, SampleSource, State, feeds_of_steps, held_out

MOST_SAMPLES, FEWEST_SAMPLES = 32, 4
MOST_BYTES = 2**31 - 1

MACS_PER_TRIAL = 48e9
"""About as much as a core does in ten seconds: a trial of a larger model takes fewer samples, never less than four."""

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

    def compare(self, candidate: onnx.ModelProto, count: int | None = None) -> list[OutputComparison]:
        """Compare a model's outputs with the original's on the first `count` samples (default: all)."""
        return self.compare_outputs(Reference(serialized(candidate), "none").run, count)

    def compare_outputs(self, run: Callable[[Feeds], Outputs], count: int | None = None) -> list[OutputComparison]:
        """The same for anything that can be run; it carries its own state from step to step."""
        comparer = Comparer(state=self.state)
        for sample, expected in zip(self.samples[:count], self.expected[:count], strict=True):
            steps = feeds_of_steps(sample, self.contract, self.state, run)
            for before, (_, after) in zip(expected, steps, strict=True):
                comparer.add(before, after)
        return comparer.result()


def serialized(model: onnx.ModelProto) -> bytes:
    """The model's bytes, the same for equal models. Raises ModelRefused beyond what protobuf can hold."""
    if (size := model.ByteSize()) >= MOST_BYTES:
        raise ModelRefused(
            f"The model is too large to quantize: one of its forms takes {size / 2**30:.1f} GiB",
            "A quantized model, and each trial on the way to it, is one ONNX file, which holds at most 2 GiB.",
            "Build it in float with --precision float, or split the model.",
        )
    return bytes(model.SerializeToString(deterministic=True))


def read_held_out(source: SampleSource, macs: int) -> list[Sample]:
    """The held-out samples that trials run on, drawn by chance from all that are held out, the same every time.

    As many as the model's size allows, never more than MOST_SAMPLES. The artifact is judged on all of them, so with
    enough data most of its judges had no part in the search.

    macs: multiplications of one step of the model.
    """
    indices = held_out(len(source))[1]
    if not indices:
        return []
    drawn = random.Random(1).sample(indices, len(indices))
    first = next(iter(source.read(drawn[:1])))
    affordable = int(MACS_PER_TRIAL // max(1, macs * len(first.steps)))
    return [first, *source.read(drawn[1 : min(MOST_SAMPLES, max(FEWEST_SAMPLES, affordable))])]
