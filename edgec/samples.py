"""Samples: what a model is calibrated on and judged by.

A sample is one sequence of steps. A step is a set of feeds, one array for each input that is not a state. A model
without state has samples of one step. For a recurrent model (`--state OUTPUT:INPUT`) the steps run in order, and the
named outputs of a step are fed to the named inputs of the next; the first step starts from zeros.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from edgec.contract import Contract

Feeds = Mapping[str, "np.ndarray"]
State = Mapping[str, str]
"""Output name to input name: what a recurrent model hands to its next step."""


@dataclass(frozen=True)
class Sample:
    """`name` is what the user knows it by (a path relative to the data folder); `steps` is never empty."""

    name: str
    steps: tuple[Feeds, ...]


@dataclass(frozen=True)
class Row:
    """What one label belongs to: a sample, or one row of it where the model's batch is larger than one.

    position: among all rows of the data, also those that are not used (`--samples`).
    """

    name: str
    position: int


class SampleSource(Protocol):
    """Calibration data, listed and hashed up front, decoded one sample at a time. Must be picklable."""

    @property
    def digest(self) -> str:
        """SHA-256 over the bytes of all files, their order, and the recipe: what a stage's result depends on."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear about how the data was read: files left aside, samples not used."""
        ...

    def __len__(self) -> int:
        """The number of samples."""
        ...

    @property
    def all_rows(self) -> int:
        """The number of rows in the data, used or not."""
        ...

    def rows_of(self, index: int) -> tuple[Row, ...]:
        """What sample `index` consists of, without decoding it."""
        ...

    def read(self, indices: Sequence[int] | None = None) -> Iterator[Sample]:
        """Decode the samples at `indices` (default: all) in that order.

        Raises CalibrationDataError for a file that can't be decoded or does not fit the contract.
        """
        ...


def feeds_of_steps(
    sample: Sample, contract: Contract, state: State, run: Callable[[Feeds], dict[str, np.ndarray]]
) -> Iterator[tuple[Feeds, dict[str, np.ndarray]]]:
    """Run a sample through `run`; yields the complete feeds (state included) and the outputs of each step."""
    import numpy as np

    carried = {name: np.zeros(contract.input(name).shape, contract.input(name).dtype) for name in state.values()}
    for step in sample.steps:
        feeds = {**carried, **step}
        outputs = run(feeds)
        carried = {into: outputs[source] for source, into in state.items()}
        yield feeds, outputs


ENOUGH_JUDGES = 32
"""Where there are few samples, ranges can do with fewer of them than a verdict can: up to half may be held out to have
this many judges. Eight pages were seen to mislead a search twice."""


def held_out(count: int, limit: int = 256) -> tuple[list[int], list[int]]:
    """Split `count` samples into (calibration, held-out) indices: a quarter is held out, at most `limit`; of up to
    four times ENOUGH_JUDGES samples that many, as far as half of the samples allow.

    Drawn by chance, the same for the same count: data is often sorted, or alternates between classes, and every n-th
    sample would then hold out one class only. With fewer than four samples there is nothing to spare: both lists name
    all of them, and the caller says so.
    """
    if count < 4:
        return list(range(count)), list(range(count))
    judges = max(count // 4, min(ENOUGH_JUDGES, count // 2))
    kept = sorted(random.Random(0).sample(range(count), min(limit, judges)))
    spare = set(kept)
    return [i for i in range(count) if i not in spare], kept


def samples_for(judges: int) -> int:
    """The fewest samples of which `held_out` spares so many, below its limit."""
    return (2 if judges <= ENOUGH_JUDGES else 4) * judges
