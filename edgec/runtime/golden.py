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

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import BundleError
from .npz import write_npz

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
        with np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False) as arrays:
            return _golden(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            "The golden samples can't be read",
            f"golden.npz: {type(error).__name__}: {error}",
            "Build the artifact again, or fetch it again.",
        ) from error


def _golden(arrays: Any) -> Golden:
    inputs = [str(name) for name in arrays["inputs"]]
    outputs = [str(name) for name in arrays["outputs"]]
    samples = []
    for s, count in enumerate(arrays["sample_steps"].tolist()):
        sample = []
        for t in range(count):
            feeds = {name: arrays[f"input.{s}.{t}.{i}"] for i, name in enumerate(inputs)}
            expected = {name: arrays[f"output.{s}.{t}.{o}"] for o, name in enumerate(outputs)}
            sample.append((feeds, expected))
        samples.append(tuple(sample))
    widths = dict(zip(outputs, arrays["output_steps"].tolist()))
    return Golden(tuple(samples), {name: width for name, width in widths.items() if width})
