"""One pass over the calibration data: run the instrumented model, accumulate what its probes find.

Memory does not grow with the number of samples: what is kept is a histogram a tensor, and a few numbers for each
channel and each position of the sampling grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgec.errors import CalibrationDataError
from edgec.onnx_graph.graph import Graph, numpy_size
from edgec.quantization.accumulators import Accumulators, is_finite
from edgec.quantization.observers import Observed, choose_observed
from edgec.quantization.probed_session import ProbedSession
from edgec.quantization.statistics import TensorStatistics

PER_HISTOGRAM = 1 << 16
"""Values that each histogram gets to see, about: spread over all runs, within the limits of PER_RUN."""

PER_RUN = (256, 2048)
"""Least and most elements of a tensor that enter its histogram on each run (all, where it has fewer)."""

RUNS_WITH_MEANS = 24
"""Runs over which means are taken."""

_SMALL_CONSTANT = 1024  # elements
_WORTH_SLIMMING = 12  # runs that must be left before another session pays for itself


class Collector:
    """Runs a model on calibration feeds and gathers TensorStatistics of its activations.

    model: path of an ONNX file, external data beside it. runs: how many runs are expected, at least.
    """

    def __init__(self, model: Path, runs: int) -> None:
        proto = onnx.load(str(model), load_external_data=False)
        for item in proto.graph.initializer:  # what to observe does not depend on the weights
            if numpy_size(item) > _SMALL_CONSTANT:
                item.ClearField("raw_data")
        graph = Graph(proto)
        self._observed = choose_observed(graph)
        self.inputs: tuple[str, ...] = tuple(graph.inputs)
        self._makers = {name: node.op_type for name, node in graph.producer.items()}
        outputs = tuple(graph.outputs)
        opset = max(item.version for item in proto.opset_import if item.domain in ("", "ai.onnx"))
        del graph, proto
        measured = [tensor for tensor in self._observed if tensor.alias_of is None]
        per_run = min(PER_RUN[1], max(PER_RUN[0], PER_HISTOGRAM // max(1, runs)))
        self._session = ProbedSession(model, opset, outputs, measured, per_run)
        self._accumulated = Accumulators(measured, self._session.groups, per_run)
        self._slim_after = {done for done in (1, RUNS_WITH_MEANS) if runs >= done + _WORTH_SLIMMING}
        self._runs = 0
        self._inputs: dict[str, tuple[float, float]] = {}

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], sample: str) -> dict[str, npt.NDArray[Any]]:
        """Run one step and take its statistics; returns the outputs of the model.

        Raises CalibrationDataError, naming tensor and `sample`, when an input or an activation is not finite.
        """
        if self._runs in self._slim_after:
            self._session.slim(self._accumulated.settled(), means=self._runs < RUNS_WITH_MEANS)
            self._accumulated.continue_with(self._session.groups)
        self._check_inputs(feeds, sample)
        outputs, findings = self._session.run(feeds)
        guilty = self._accumulated.add(findings)
        guilty = guilty or next((name for name, value in outputs.items() if not is_finite(value)), None)
        if guilty is not None:
            raise self._not_finite(guilty, sample)
        self._runs += 1
        return outputs

    def finish(self) -> dict[str, TensorStatistics]:
        """Statistics by tensor name, in the model's order.

        Raises CalibrationDataError when nothing was run, or when every input held one and the same value all along.
        """
        if self._runs == 0:
            raise CalibrationDataError(
                "There is no calibration data",
                "Not a single sample was given to the model.",
                "Name a folder with data like that of the application: --calib PATH.",
            )
        measured = self._accumulated.statistics()
        ranges = self._inputs | {n: (s.minimum, s.maximum) for n, s in measured.items() if n in self.inputs}
        if all(low == high for low, high in ranges.values()):
            raise CalibrationDataError(
                "The calibration data is constant",
                f"In all {self._runs} runs, every element of {_listed(ranges)} had one and the same value.",
                "Give data like that of the application, and check that the recipe (--preprocess) does not erase it.",
            )
        return {tensor.name: _of(tensor, measured) for tensor in self._observed}

    def _check_inputs(self, feeds: Mapping[str, npt.NDArray[Any]], sample: str) -> None:
        """Refuse what is not finite; note the range of integers, which no probe sees."""
        for name, value in feeds.items():
            if value.dtype == np.float32:
                if not is_finite(value):
                    raise self._not_finite(name, sample)
            elif value.size and value.dtype.kind in "fiub":
                low, high = float(value.min()), float(value.max())
                if not (np.isfinite(low) and np.isfinite(high)):
                    raise self._not_finite(name, sample)
                known = self._inputs.get(name, (low, high))
                self._inputs[name] = (min(low, known[0]), max(high, known[1]))

    def _not_finite(self, tensor: str, sample: str) -> CalibrationDataError:
        made_by = self._makers.get(tensor)
        where = f"the output of a {made_by}" if made_by else "an input of the model"
        return CalibrationDataError(
            f"Calibration met a value that is not finite in tensor {tensor} for sample {sample}",
            f"{tensor} is {where}; it held NaN or infinity. No INT8 range can be taken from that.",
            "Check this sample and the preprocessing (a division by zero, a wrong scale); if both are right, the float "
            "model itself overflows on it: leave the sample out.",
            {"tensor": tensor, "sample": sample},
        )


def _of(tensor: Observed, measured: Mapping[str, TensorStatistics]) -> TensorStatistics:
    """The statistics of a tensor; those of an alias are its source's, without what depends on the order of values."""
    if tensor.alias_of is None:
        return measured[tensor.name]
    source = measured[tensor.alias_of]
    return replace(
        source, shape=tensor.shape, channel_axis=None, channel_min=None, channel_max=None, mean=None, axis_means=()
    )


def _listed(names: Mapping[str, Any]) -> str:
    return "the inputs " + ", ".join(names) if len(names) > 1 else "the input " + "".join(names)
