"""What a user of the model would decide from its outputs, and how often the candidate decides otherwise.

A decision counts as confident when the reference was clearly for it: an argmax whose margin over the runner-up exceeds
a quarter of the median margin, or a probability more than 0.25 from one half. Flips of close calls prove nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MARGIN_SHARE = 0.25
CLEAR = 0.25
MASK_FLOOR = 1e-4
"""Masks that cover less than this share of a map in both runs have no Dice coefficient worth reporting."""

FEW = 300
"""With fewer confident decisions than this, counting flips says little: how far margins shift is looked at, too."""

LONGEST_SEQUENCE = 512
"""Rows of more decisions than this are no sequence that is read as a whole (a detector has thousands of anchors)."""

_REMEMBERED = 4096  # decisions whose shifts of margin are kept
_LEAST_PROBABILITY = 1e-7

MOST_LABELS = 256
"""Integers of more different values than this are not taken for classes."""


@dataclass(frozen=True)
class Flips:
    """`flips` of `confident` confident decisions changed; `agreement` is the share of all decisions that stay."""

    agreement: float
    flips: int
    confident: int

    @property
    def rate(self) -> float:
        """Flips per confident decision, at most 1."""
        return min(1.0, self.flips / self.confident) if self.confident else 0.0


@dataclass(frozen=True)
class Sequences:
    """Of `compared` sequences of decisions, `changed` read otherwise: repeats counted once, a confident decision
    among those that flip."""

    compared: int
    changed: int


def lower_bound(flips: int, decisions: int) -> float:
    """The rate that is exceeded with 90 % confidence (lower end of Wilson's score interval, one-sided).

    1 flip of 8 decisions is a rate of 0.125, but no proof that more than 0.04 of all decisions flip.
    """
    return _wilson(flips, decisions, -1) if decisions > 0 else 0.0


def upper_bound(flips: int, decisions: int) -> float:
    """The rate that is not exceeded with 90 % confidence: what so many decisions can't rule out."""
    return _wilson(flips, decisions, 1) if decisions > 0 else 1.0


def _wilson(flips: int, decisions: int, side: int, z: float = 1.2816) -> float:
    rate = min(1.0, flips / decisions)
    square = z * z / decisions
    half = z * math.sqrt(rate * (1 - rate) / decisions + square / (4 * decisions))
    return min(1.0, max(0.0, (rate + square / 2 + side * half) / (1 + square)))


class Choices:
    """Argmax along `axis`: one decision for each vector along it. Margins are kept, one number a decision."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self._shifts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] | None = []
        self._margins: list[np.ndarray] = []
        self._flipped: list[np.ndarray] = []
        self.decisions = 0
        self._read_otherwise: list[np.ndarray] = []
        self._lengths: list[int] = []
        self.chosen: set[int] = set()
        self.largest_sum_error = 0.0
        self.smallest_top = math.inf
        self.tops: list[np.ndarray] = []

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One step's output, float64, same shapes."""
        a = np.moveaxis(reference, self.axis, -1).reshape(-1, reference.shape[self.axis])
        b = np.moveaxis(candidate, self.axis, -1).reshape(a.shape)
        top_two = np.partition(a, -2, axis=1)[:, -2:]
        choice = a.argmax(axis=1)
        self._margins.append((top_two[:, 1] - top_two[:, 0]).astype(np.float32))
        other = b.argmax(axis=1)
        self._flipped.append(choice != other)
        self.decisions += len(choice)
        if reference.ndim == 3 and self.axis != 0:
            pairs = zip(*(each.reshape(len(reference), -1) for each in (choice, other)), strict=True)
            self._read_otherwise.append(np.array([not np.array_equal(_read(x), _read(y)) for x, y in pairs]))
            self._lengths.append(len(a) // len(reference))
        self._remember(top_two, b, choice)
        self.chosen.update(np.unique(choice).tolist())
        self.tops.append(top_two[:, 1].astype(np.float32))
        self.largest_sum_error = max(self.largest_sum_error, float(np.abs(a.sum(axis=1) - 1).max(initial=0.0)))
        self.smallest_top = min(self.smallest_top, float(top_two[:, 1].min(initial=math.inf)))

    def flips(self) -> Flips:
        margins, flipped = np.concatenate(self._margins), np.concatenate(self._flipped)
        confident = margins > MARGIN_SHARE * float(np.median(margins))
        return Flips(float(1 - flipped.mean()), int(flipped[confident].sum()), int(confident.sum()))

    def sequences(self) -> Sequences | None:
        """Of outputs that hold one decision after another (rank 3: batch, positions, classes in either order), how many
        read otherwise. None where decisions stand alone, and beyond LONGEST_SEQUENCE of them.

        A text of forty characters is wrong when one of them is: a small rate of flips may spoil most texts.
        """
        lengths = set(self._lengths)
        if not lengths or min(lengths) < 2 or max(lengths) > LONGEST_SEQUENCE:
            return None
        limit = MARGIN_SHARE * float(np.median(np.concatenate(self._margins)))
        changed = compared = 0
        for otherwise, length, margins, flipped in zip(
            self._read_otherwise, self._lengths, self._margins, self._flipped, strict=True
        ):
            confident = (flipped & (margins > limit)).reshape(-1, length).any(axis=1)
            changed += int((otherwise & confident).sum())
            compared += len(otherwise)
        return Sequences(compared, changed)

    def _remember(self, top_two: np.ndarray, candidate: np.ndarray, choice: np.ndarray) -> None:
        """Winner and runner-up of the reference; the same class and its strongest rival in the candidate."""
        if self._shifts is None or self.decisions > _REMEMBERED:
            self._shifts = None
            return
        rows = np.arange(len(candidate))
        rivals = candidate.copy()
        rivals[rows, choice] = -np.inf
        self._shifts.append((top_two[:, 1], top_two[:, 0], candidate[rows, choice], rivals.max(axis=1)))

    def expected_flips(self, probabilities: bool) -> float | None:
        """The share of confident decisions that should flip, were each one's margin to shift as any other's did.

        Among n decisions a flip is seen at best once in n; how far margins shift is seen n times. Every confident
        margin is set against every shift, n^2 pairs, which supposes that shifts do not depend on margins. So that they
        do not where values are probabilities (which saturate), margins are then taken between logarithms. The largest
        shift is left out: one accident is no rate.

        None with FEW or more confident decisions: those flip often enough to be counted.
        """
        if not self._shifts:
            return None
        winner, second, kept, rival = (np.concatenate(parts) for parts in zip(*self._shifts, strict=True))
        if probabilities:
            winner, second, kept, rival = (
                np.log(np.maximum(values, _LEAST_PROBABILITY)) for values in (winner, second, kept, rival)
            )
        margins = winner - second
        shifts = np.sort(margins - (kept - rival))[:-1]
        confident = margins[margins > MARGIN_SHARE * float(np.median(margins))]
        if not 0 < len(confident) < FEW or not len(shifts):
            return None
        return float(np.mean(1 - np.searchsorted(shifts, confident, side="right") / len(shifts)))

    def median_top(self) -> float:
        """The median of the winning values."""
        return float(np.median(np.concatenate(self.tops)))


def _read(choices: np.ndarray) -> np.ndarray:
    """A sequence of choices, repeats counted once: where a letter ends and the next begins may shift a little."""
    return np.asarray(choices[np.concatenate([[True], choices[1:] != choices[:-1]])])


class Thresholds:
    """Yes or no at one half, for every value on its own.

    What the model finds is the yes: flips in either direction are counted against the confident yeses, since a thousand
    false alarms are many where there were ten finds, even among a million correct noes.
    """

    def __init__(self) -> None:
        self.values = 0
        self.same = 0
        self.flipped = 0
        self.clear_yes = 0
        self.clear_no = 0
        self.yes = 0
        self.coverage: list[float] = []
        self.dice: list[float] = []

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One step's output, float64, same shapes."""
        yes, answer = reference > 0.5, candidate > 0.5
        clear = np.abs(reference - 0.5) > CLEAR
        both = int((yes & answer).sum())
        marked, found = int(yes.sum()), int(answer.sum())
        self.values += yes.size
        self.yes += marked
        self.coverage.append(marked / max(1, yes.size))
        self.same += int((yes == answer).sum())
        self.flipped += int(((yes != answer) & clear).sum())
        self.clear_yes += int((yes & clear).sum())
        self.clear_no += int((~yes & clear).sum())
        if max(marked, found) > MASK_FLOOR * yes.size:
            self.dice.append(2 * both / (marked + found))

    def flips(self) -> Flips:
        return Flips(self.same / max(self.values, 1), self.flipped, self.clear_yes or self.clear_no)


class Labels:
    """Integers that name classes: how often each stands in the reference, and how often the candidate says the same.

    Of a mask that is background almost everywhere, nearly all elements stay equal when the candidate finds nothing. So
    the elements that differ from the most frequent value are counted on their own.
    """

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, int]] = {}

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """One step's output, integers or booleans, same shapes."""
        if len(self._counts) > MOST_LABELS:
            return
        values, places, counts = np.unique(reference.ravel(), return_inverse=True, return_counts=True)
        equal = np.bincount(places.ravel(), (reference == candidate).ravel(), len(values))
        for value, count, same in zip(values.tolist(), counts.tolist(), equal.tolist(), strict=True):
            known = self._counts.get(int(value), (0, 0))
            self._counts[int(value)] = (known[0] + count, known[1] + int(same))

    def rare(self) -> tuple[int, int] | None:
        """(how many changed, how many there are) of the elements that are not the reference's most frequent value.

        None when the integers have more than MOST_LABELS values: those are counts or positions, not classes.
        """
        if not self._counts or len(self._counts) > MOST_LABELS:
            return None
        most = max(self._counts.values())
        total, same = (sum(pair[i] for pair in self._counts.values()) - most[i] for i in (0, 1))
        return total - same, total
