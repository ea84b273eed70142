"""The golden samples: a few inputs, and what the payload made of them during the build.

`selftest` replays them on the device. The file is an .npz without pickles:

    inputs          unicode[I]   names of the inputs
    outputs         unicode[O]   names of the outputs
    output_steps    float64[O]   quantization step of each output; 0 where an output has none
    sample_steps    int64[S]     number of steps of each sample (1, unless the model is recurrent)
    input.S.T.I     array        input I of step T of sample S (indices, not names: a name may be any string)
    output.S.T.O    array        output O of the same step

The feeds of a step are complete: what a recurrent model carries from step to step is among them, so each step can be
judged by itself. Equal samples give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import BundleError
from .npz import read_npz, write_npz

Step = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
"""(feeds, outputs) of one run of the model."""


@dataclass(frozen=True)
class Golden:
    """samples: one sequence of steps each. steps: output name to quantization step, where it has one."""

    samples: tuple[tuple[Step, ...], ...]
    steps: Mapping[str, float]


def write_golden(path: Path, samples: Sequence[Sequence[Step]], steps: Mapping[str, float]) -> None:
    """Write `samples` to `path`; all of them have the same inputs and outputs.

    steps: quantization step (scale) of the outputs that are quantized.
    Raises ValueError when there are no samples, or a sample has no step.
    """
    if not samples or not all(samples):
        raise ValueError("golden samples: at least one, each with at least one step")
    feeds, outputs = samples[0][0]
    arrays: dict[str, np.ndarray] = {
        "inputs": np.array(list(feeds), dtype=np.str_),
        "outputs": np.array(list(outputs), dtype=np.str_),
        "output_steps": np.array([steps.get(name, 0.0) for name in outputs], dtype=np.float64),
        "sample_steps": np.array([len(sample) for sample in samples], dtype=np.int64),
    }
    for s, sample in enumerate(samples):
        for t, (step_feeds, step_outputs) in enumerate(sample):
            for i, name in enumerate(feeds):
                arrays[f"input.{s}.{t}.{i}"] = np.asarray(step_feeds[name])
            for o, name in enumerate(outputs):
                arrays[f"output.{s}.{t}.{o}"] = np.asarray(step_outputs[name])
    write_npz(path, arrays)


def read_golden(source: Path | bytes) -> Golden:
    """The golden samples of a file, or of its bytes. Raises BundleError when they can't be understood."""
    try:
        return _golden(read_npz(source if isinstance(source, bytes) else source.read_bytes()))
    except (OSError, ValueError) as error:
        raise BundleError(
            "The golden samples can't be read",
            f"golden.npz: {error}.",
            "Build the artifact again, or fetch it again.",
        ) from error


def _golden(arrays: Mapping[str, np.ndarray]) -> Golden:
    """The samples. Raises ValueError where there are none: a self-test on nothing would pass."""
    left = dict(arrays)

    def take(key: str, kind: str, ndim: int | None = None) -> np.ndarray:
        if key not in left:
            raise ValueError(f"{key!r} is not there")
        array = left.pop(key)
        if array.dtype.kind not in kind or (ndim is not None and array.ndim != ndim):
            raise ValueError(f"{key!r} is {array.dtype} of {array.ndim} axes")
        return array

    inputs, outputs = ([str(name) for name in take(key, "U", 1)] for key in ("inputs", "outputs"))
    widths = take("output_steps", "f", 1).tolist()
    counts = take("sample_steps", "iu", 1).tolist()
    if not inputs or not outputs or not counts or min(counts) < 1:
        raise ValueError("there is no sample, or one without inputs, outputs or steps")
    if len(set(inputs)) != len(inputs) or len(set(outputs)) != len(outputs) or len(widths) != len(outputs):
        raise ValueError("a name is there twice, or an output without its quantization step")
    samples = []
    for s, count in enumerate(counts):
        sample = []
        for t in range(count):
            feeds = {name: take(f"input.{s}.{t}.{i}", "biuf") for i, name in enumerate(inputs)}
            expected = {name: take(f"output.{s}.{t}.{o}", "biuf") for o, name in enumerate(outputs)}
            sample.append((feeds, expected))
        samples.append(tuple(sample))
    if left:
        raise ValueError(f"{len(left)} arrays belong to no sample, {next(iter(left))!r:.60} among them")
    return Golden(tuple(samples), {name: width for name, width in zip(outputs, widths) if width})
