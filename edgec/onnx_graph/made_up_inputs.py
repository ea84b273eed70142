"""Made-up inputs that are the same on every machine, to see whether two forms of a model compute the same.

They are no calibration data: they say that a graph was changed correctly, nothing of how well a model works.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgec.contract import TensorSpec
from edgec.reference import Reference

Array = np.ndarray[Any, np.dtype[Any]]

COARSE = 0.05
"""RELATIVE for a first model that computes in half precision, in which each layer rounds to three digits."""

RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""How far outputs may lie apart, relative to the largest value of the output, plus so much."""

TREMOR, AMPLIFIED, MOST = 1e-6, 10.0, 1e-2
"""A deep network amplifies rounding. Where the limit above is passed, the first model is run again on inputs that
tremble by TREMOR, relatively (or, where no input is a float, with weights that do): what it makes of that, times
AMPLIFIED (rounding happens at every layer, not only at the input), is no difference between models. Beyond MOST,
relative to the output's largest value, it is one all the same."""


def probe_inputs(
    inputs: Sequence[TensorSpec], hints: Mapping[str, Sequence[int]], seed: int = 0
) -> Iterator[dict[str, Array]]:
    """Four probes: zeros; uniform from 0 to 1 with ids 0 and 1; standard normal with ids below 8; images of 0 to 255.

    hints: for integer inputs, values that the graph compares them with; the last probes use them.
    """
    random = np.random.default_rng(seed)
    for probe in range(4):
        yield {spec.name: _probe(spec, probe, hints.get(spec.name, ()), random) for spec in inputs}


def _probe(spec: TensorSpec, probe: int, hints: Sequence[int], random: np.random.Generator) -> Array:
    dtype = np.dtype(spec.dtype)
    if probe == 0:
        return np.zeros(spec.shape, dtype)
    if dtype == np.bool_:
        return random.integers(0, 2, spec.shape).astype(dtype)
    if dtype.kind in "iu":
        if hints and probe >= 2:
            return np.full(spec.shape, hints[probe % len(hints)], dtype)
        return random.integers(0, 2 if probe == 1 else 8, spec.shape).astype(dtype)
    if probe == 2:
        return random.standard_normal(spec.shape).astype(dtype)
    return (random.random(spec.shape) * (255 if probe == 3 else 1)).astype(dtype)


def compared_values(model: onnx.ModelProto) -> dict[str, list[int]]:
    """For each integer input, the constants that an Equal node compares it with: a mode, a sampling rate."""
    constants = {item.name: item for item in model.graph.initializer}
    inputs = {item.name for item in model.graph.input}
    found: dict[str, list[int]] = {}
    for node in model.graph.node:
        if node.op_type != "Equal":
            continue
        for name, other in (tuple(node.input), tuple(reversed(node.input))):
            if name in inputs and other in constants:
                values = onnx.numpy_helper.to_array(constants[other]).ravel()[:4]
                if values.dtype.kind in "iu":
                    found.setdefault(name, []).extend(int(value) for value in values)
    return found


@dataclass
class Agreement:
    """How well two models agree.

    loaded: whether the first one can be loaded at all. ran: probes that it could run. failure: what it said last when
    it could not. worst: what is wrong with the second one, "" when they agree. largest: largest absolute difference of
    any output. shapes: of the first one's outputs; None where the probes lead to different ones.
    """

    loaded: bool = False
    ran: int = 0
    largest: float = 0.0
    worst: str = ""
    failure: str = ""
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)


def compare_models(
    first: Path,
    second: Path | None,
    inputs: Sequence[TensorSpec],
    relative: float = RELATIVE,
    *,
    blank: bool = True,
) -> Agreement:
    """Run `first` (and `second`) on the probes. Meant for a worker: a model that crashes ends the process.

    A probe that `first` can't run says nothing and is left out; what it said is in `failure`.
    relative: the largest difference that is no fault, as a share of an output's largest value; the same share of an
    integer output may differ. Beyond RELATIVE, infinities of `first` are not compared: half precision ends at 65504.
    blank: whether to use the probe of zeros. To a transformer, it is a mask that hides everything, and what is left to
        see then depends on how much each mask hides.
    """
    result = Agreement()
    hints = compared_values(onnx.load(str(first), load_external_data=False))
    try:
        reference = Reference(first)
    except Exception as error:
        result.failure = _message(error)
        return result
    result.loaded = True
    try:
        candidate = None if second is None else Reference(second)
    except Exception as error:
        result.ran, result.worst = 1, f"it can't be loaded: {_message(error)}"
        return result
    for number, feeds in enumerate(probe_inputs(inputs, hints)):
        if not number and not blank:
            continue
        try:
            expected = reference.run(feeds)
        except Exception as error:
            result.failure = _message(error)
            continue
        result.ran += 1
        for name, value in expected.items():
            shape = tuple(np.shape(value))
            if result.shapes.setdefault(name, shape) != shape:
                result.shapes[name] = None
        if candidate is None:
            continue
        try:
            got = candidate.run(feeds)
        except Exception as error:
            result.worst = f"it fails on probe {number}: {_message(error)}"
            return result
        trembling: dict[str, Array] = {}
        for name, value in expected.items():
            difference, wrong = _difference(value, got[name], relative=relative)
            if wrong and np.asarray(value).dtype.kind == "f":
                trembling = trembling or _tremulous(first, reference, feeds)
                difference, wrong = _difference(value, got[name], _spread(value, trembling[name]), relative)
            result.largest = max(result.largest, difference)
            result.worst = result.worst or (f"output {name!r}, probe {number}: {wrong}" if wrong else "")
    return result


def _tremulous(model: Path, reference: Reference, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What a model makes of feeds that tremble; where none of them can (they are integers), its weights do."""
    if any(value.dtype.kind == "f" for value in feeds.values()):
        return reference.run(_trembling(feeds))
    proto = onnx.load(str(model), load_external_data=False)
    random = np.random.default_rng(0)
    for item in proto.graph.initializer:
        if item.data_location != TensorProto.EXTERNAL and item.data_type == TensorProto.FLOAT:
            value = _shaken(onnx.numpy_helper.to_array(item), random)
            item.CopyFrom(onnx.numpy_helper.from_array(value, item.name))
    external = any(item.data_location == TensorProto.EXTERNAL for item in proto.graph.initializer)
    return reference.run(feeds) if external else Reference(proto.SerializeToString()).run(feeds)


def _shaken(value: Array, random: np.random.Generator) -> Array:
    return np.asarray((value * (1 + TREMOR * random.choice((-1, 1), value.shape))).astype(value.dtype))


def _trembling(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds with every float a little larger or smaller."""
    random = np.random.default_rng(0)
    return {name: _shaken(value, random) if value.dtype.kind == "f" else value for name, value in feeds.items()}


def _spread(value: Array, other: Array) -> float:
    """What a tremor of the inputs explains."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(value.astype(np.float64) - other)
    spread = float(np.max(apart, initial=0.0, where=np.isfinite(apart)))
    return min(AMPLIFIED * spread, MOST * float(np.max(np.abs(value), initial=0.0, where=np.isfinite(value))))


def _difference(expected: Any, got: Any, explained: float = 0.0, relative: float = RELATIVE) -> tuple[float, str]:
    """The largest absolute difference of two outputs, and what is wrong with it ("" when nothing is).

    explained: an absolute difference that is no fault.
    """
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return 0.0, f"{got.dtype}{list(got.shape)} where {expected.dtype}{list(expected.shape)} is expected"
    if expected.dtype.kind not in "fV":
        differ = int(np.count_nonzero(expected != got))
        allowed = relative * expected.size if relative > RELATIVE else 0
        return float(differ > 0), f"{differ} of {expected.size} values differ" if differ > allowed else ""
    finite = np.isfinite(expected)
    if relative > RELATIVE:
        if not np.isfinite(got[finite]).all():
            return 0.0, "NaN or infinite values where the original has numbers"
    elif not np.array_equal(finite, np.isfinite(got)):
        return 0.0, "NaN or infinite values in other places"
    left, right = expected[finite].astype(np.float64), got[finite].astype(np.float64)
    if left.size == 0:
        return 0.0, ""
    difference, scale = float(np.abs(left - right).max()), float(np.abs(left).max())
    allowed = max(relative * scale + ABSOLUTE, explained)
    return difference, f"differs by {difference:.3g}, {allowed:.3g} is allowed" if difference > allowed else ""


def _message(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.removeprefix("[ONNXRuntimeError] : ")[:500]
