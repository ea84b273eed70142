"""The value of the user's metric for the original, and for whatever else can be run on the same samples."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.contract import Contract
from edgec.errors import CalibrationDataError, UsageError
from edgec.metric.labels import labels_for
from edgec.metric.request import MetricRequest
from edgec.metric.user_metric import UserMetric
from edgec.reference import Reference
from edgec.samples import Feeds, Sample, SampleSource, State, feeds_of_steps, held_out

if TYPE_CHECKING:
    import numpy as np

Run = Callable[[Feeds], "dict[str, np.ndarray]"]

ROUNDING = 1e-9
"""Of two means of the same numbers, summed in another order."""


class Measure:
    """The metric on labelled samples.

    measure.original: its value for the original model, computed once.
    measure.of(run): its value for anything that can be run; it carries its own state from step to step.
    measure.value(measure.outputs(run)): the same in two steps. measure.some(positions): the same on fewer samples.
    measure.drop(value): how far that lies below the original's. measure.holds(value): within --max-drop.
    """

    def __init__(
        self,
        request: MetricRequest,
        samples: SampleSource | None,
        contract: Contract,
        state: State,
        original: Path | bytes,
        most: int | None = None,
        known: float | None = None,
    ) -> None:
        """samples: the calibration data, of which the held-out part is measured on unless the request names other data.

        original: the model in float. most: measure on at most so many samples, drawn by chance, always the same, and
        keep them in memory; None takes all, and reads them anew for each run. known: the original's value, where it
        was measured before on the same samples.

        Loads the function and reads the labels; runs nothing. Raises UsageError, CalibrationDataError.
        """
        self.request = request
        self.metric = UserMetric.load(request.function)
        source, indices = _measured_on(request, samples)
        if most is not None and len(indices) > most:
            indices = sorted(random.Random(2).sample(indices, most))
        self.labels: list[Any] | None = labels_for(request, source, indices)
        self.names: list[str] = [" ".join(row.name for row in source.rows_of(index)) for index in indices]
        self._source = source
        self._indices = indices
        self._kept: list[Sample] | None = None
        self._keep = most is not None
        self._contract = contract
        self._state = dict(state)
        self._original = original
        if known is not None:
            self.__dict__["original"] = known

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def is_on_held_out(self) -> bool:
        """Whether it is measured on what is held out of the calibration data, all of it and in its order."""
        return self.request.evaluation is None and not self._keep

    @cached_property
    def original(self) -> float:
        """The metric of the original."""
        return self.value(self.original_outputs())

    def original_outputs(self) -> list[Any]:
        """What the original gives; see `outputs`."""
        return self.outputs(Reference(self._original).run)

    def doubts(self) -> list[str]:
        """What is doubtful about the metric itself, in words; calls it twice on the original's outputs."""
        outputs = self.original_outputs()
        first, second = (self.metric.evaluate(outputs, self.labels, self.names) for _ in range(2))
        self.__dict__["original"] = first
        found = []
        if first != second:
            found.append(
                f"The metric {self.metric.name} gives {first:.6g} and {second:.6g} for the same outputs: it depends on "
                "chance, and a drop of that size means nothing."
            )
        if first == 0:
            found.append(
                f"The metric {self.metric.name} gives 0 for the original model: do labels, outputs and preprocessing "
                "belong together?"
            )
        return found

    def of(self, run: Run) -> float:
        """The metric of what `run` gives. Raises UsageError for what the metric does wrong."""
        return self.value(self.outputs(run))

    def value(self, outputs: Sequence[Any]) -> float:
        """The metric of outputs as `outputs` gives them. Raises UsageError for what the metric does wrong."""
        return self.metric.evaluate(outputs, self.labels, self.names)

    def some(self, positions: Sequence[int]) -> Measure:
        """The same on some of its samples, by their positions among them."""
        part = copy.copy(self)
        part.__dict__.pop("original", None)
        part.labels = None if self.labels is None else [self.labels[position] for position in positions]
        part.names = [self.names[position] for position in positions]
        part._indices = [self._indices[position] for position in positions]
        part._kept = None if self._kept is None else [self._kept[position] for position in positions]
        return part

    def drop(self, value: float) -> float:
        """How much lower than the original's; negative where it is higher."""
        return self.original - value

    def holds(self, value: float) -> bool:
        """Whether `value` is within --max-drop of the original's; any value is where no limit was given."""
        limit = self.request.max_drop
        return limit is None or self.drop(value) <= limit + ROUNDING

    def complaints(self, value: float) -> tuple[str, ...]:
        """Why `value` does not hold, as a sentence for a verdict; none where it does."""
        if self.holds(value):
            return ()
        return (
            f"the metric {self.metric.name} falls from {self.original:.6g} to {value:.6g} on {len(self)} samples, by "
            f"{self.drop(value):.4g} (at most {self.request.max_drop:g})",
        )

    def outputs(self, run: Run) -> list[Any]:
        """What `run` gives: one entry a sample: the outputs, or for a recurrent model those of each step."""
        found: list[Any] = []
        for sample in self._samples():
            steps = [outputs for _, outputs in feeds_of_steps(sample, self._contract, self._state, run)]
            found.append(steps if self._state else steps[0])
        return found

    def _samples(self) -> Iterable[Sample]:
        if not self._keep:
            return self._source.read(self._indices)
        if self._kept is None:
            self._kept = list(self._source.read(self._indices))
        return self._kept


def _measured_on(request: MetricRequest, samples: SampleSource | None) -> tuple[SampleSource, Sequence[int]]:
    if request.evaluation is not None:
        indices: Sequence[int] = range(len(request.evaluation))
        if not indices:
            raise CalibrationDataError("There are no samples to measure on", "--eval holds none.", "Give more.")
        return request.evaluation, indices
    if samples is None:
        raise UsageError(
            "There is nothing to measure the metric on",
            "Without --eval it is measured on what is held out of the calibration data, and there is none.",
            "Add --eval PATH with samples of your own.",
        )
    return samples, held_out(len(samples))[1]
