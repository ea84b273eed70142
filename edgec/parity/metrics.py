"""How far a candidate's outputs are from the reference's, per output and per channel.

    comparer = Comparer()
    for feeds in steps:
        comparer.add(original.run(feeds), artifact.run(feeds))
    comparisons = comparer.result()

Statistics are accumulated, so memory does not grow with the number of samples (but for one number a decision and row).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgec.errors import ParityGateError
from edgec.parity.channels import CAP_DB, DEAD_DB, AxisStatistics, decibels
from edgec.parity.decisions import Choices, Flips, Labels, Thresholds
from edgec.parity.kinds import SUM_TOLERANCE, Evidence, Kind, degenerate_reason, detect_kind

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Slice:
    """Channels of an output that are unlike its others, and are judged for themselves.

    channels: which, in words ("0-3"). largest: the reference's largest absolute value there.
    sqnr_centred_db: of all of them together, each about its own mean.
    flips, decisions: of scores (values within 0..1), how many confident decisions at one half change, and how many
        confident yeses there are; None for other values.
    """

    channels: str
    largest: float
    sqnr_centred_db: float
    flips: int | None
    decisions: int | None


@dataclass(frozen=True)
class OutputComparison:
    """One output, reference against candidate, over all steps. dB figures are clamped to ±120.

    kind: what the output was judged as, see `edgec.parity.kinds`.
    steps: how many outputs were compared.
    degenerate: why the reference proves nothing on this data, in words; None when it does.
    finite: whether the candidate is free of NaN and infinity where the reference is.
    sqnr_db: energy of the reference over energy of the error. sqnr_centred_db: the same about the reference's mean, for
        each channel its own; None with one value a channel.
    nsr: the mean over steps of noise over signal, each clipped to 1. channel_nsr: the mean over channels.
    cosine, cosine_p01: mean and first percentile of the rows' cosines (the whole step where there are no rows).
    top1_agreement: share of decisions that stay (argmax; or yes/no at one half for probabilities).
    confident_flips: share of confident decisions that change; flips and decisions are the counts behind it.
    expected_flips: share of confident decisions that should change, by how far margins shift; None where decisions are
        no choices of a class, or enough of them to be counted.
    sequences, changed_sequences: outputs that hold one decision after another, and how many of them read otherwise;
        None where decisions stand alone.
    slices: where channels are unlike things (boxes beside scores), each kind of them.
    channel_axis, channels: what a channel is here. silent_channels: how many carried no signal and were not judged.
    channel_sqnr_p05_db: fifth percentile of the channels' centred SQNR; None with too few values a channel.
    dead_channels: share of the judged channels below 3 dB. worst_channels: (index, dB), the worst first.
    dice_mean, dice_worst: overlap of the masks above one half ("map" only).
    max_lsb, mean_lsb: absolute error in quantization steps of the output.
    exact_share: share of equal elements (integers only).
    rare, rare_share: how many elements of the reference are not its most frequent value, and the share of them that is
        equal; None but for integers of at most 256 different values.
    """

    name: str
    kind: Kind
    steps: int
    degenerate: str | None
    finite: bool
    sqnr_db: float
    sqnr_centred_db: float | None
    nsr: float
    channel_nsr: float | None
    cosine: float | None
    cosine_p01: float | None
    max_abs: float
    mean_abs: float
    top1_agreement: float | None
    confident_flips: float | None
    flips: int | None
    decisions: int | None
    channel_axis: int | None
    channels: int | None
    silent_channels: int | None
    channel_sqnr_p05_db: float | None
    dead_channels: float | None
    worst_channels: tuple[tuple[int, float], ...]
    dice_mean: float | None
    dice_worst: float | None
    max_lsb: float | None
    mean_lsb: float | None
    exact_share: float | None
    rare: int | None = None
    rare_share: float | None = None
    expected_flips: float | None = None
    sequences: int | None = None
    changed_sequences: int | None = None
    slices: tuple[Slice, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, floats to six significant digits."""
        return {key: _rounded(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> OutputComparison:
        """The reverse of `to_json`, up to its rounding."""
        fields = dict(document)
        fields["worst_channels"] = tuple((int(index), float(value)) for index, value in fields["worst_channels"])
        fields["notes"] = tuple(fields["notes"])
        fields["slices"] = tuple(Slice(**item) for item in fields["slices"])
        return cls(**fields)


class Comparer:
    """Collects pairs of outputs, one `add` a step.

    steps: output name to its quantization step, for errors in LSB.
    state: names of outputs that a recurrent model feeds to its next step.
    """

    def __init__(
        self,
        steps: Mapping[str, float] | None = None,
        state: Collection[str] = (),
    ) -> None:
        self._lsb = dict(steps or {})
        self._state = frozenset(state)
        self._outputs: dict[str, _Output] = {}

    def add(self, reference: Outputs, candidate: Outputs) -> None:
        """One step. Raises ParityGateError when the candidate lacks an output or gives it another shape."""
        for name, expected in reference.items():
            actual = candidate.get(name)
            if actual is None or actual.shape != expected.shape:
                found = "lacks it" if actual is None else f"gives the shape {list(actual.shape)}"
                raise ParityGateError(
                    f"Output {name!r} does not have the form of the original's",
                    f"The original gives the shape {list(expected.shape)}; the candidate {found}.",
                    "Nothing was shipped. Please report this with the model: a backend must keep the model's outputs.",
                )
            if name not in self._outputs:
                self._outputs[name] = _Output(name, expected)
            self._outputs[name].add(expected, actual)

    def result(self) -> list[OutputComparison]:
        """One comparison for each output, in the model's order."""
        outputs = self._outputs.values()
        return [output.result(self._lsb.get(output.name), output.name in self._state) for output in outputs]


def compare(
    reference: Sequence[Outputs],
    candidate: Sequence[Outputs],
    steps: Mapping[str, float] | None = None,
    state: Collection[str] = (),
) -> list[OutputComparison]:
    """Compare two runs, one entry of the sequences a step; see `Comparer` for the arguments."""
    comparer = Comparer(steps, state)
    for expected, actual in zip(reference, candidate, strict=True):
        comparer.add(expected, actual)
    return comparer.result()


class _Output:
    """What is known of one output so far."""

    def __init__(self, name: str, first: np.ndarray) -> None:
        self.name = name
        self.evidence = Evidence(name, first.dtype, first.shape)
        self.samples: list[tuple[float, float]] = []  # energy and noise of each step
        self.cosines: list[float] = []
        self.absolute_sum = 0.0
        self.max_abs = 0.0
        self.values = 0
        self.finite = True
        self.equal = 0
        self.whole = AxisStatistics(0, 1)
        self.axes = {axis: AxisStatistics(axis, first.shape[axis]) for axis in self.evidence.channel_axes()}
        self.choices = Choices(axis) if (axis := self.evidence.choice_axis()) is not None else None
        self.thresholds: Thresholds | None = Thresholds()
        self.labels = Labels() if first.dtype.kind in "biu" else None

    def add(self, expected: np.ndarray, actual: np.ndarray) -> None:
        self.equal += int((expected == actual).sum())
        if self.labels is not None:
            self.labels.add(expected, actual)
        a, b = expected.astype(np.float64), actual.astype(np.float64)
        if not np.isfinite(a).all() or not np.isfinite(b).all():
            agreed = (a == b) | (np.isnan(a) & np.isnan(b))  # -inf of a mask is fine where both have it
            self.finite &= bool((np.isfinite(b) | agreed).all())
            self.evidence.saw_non_finite(a)
            blank = ~np.isfinite(a)
            a = np.where(blank, 0.0, a)
            b = np.where(blank | ~np.isfinite(b), 0.0, b)
        self.evidence.add(a)
        error = np.abs(a - b)
        energy, noise = float((a * a).sum()), float((error * error).sum())
        self.samples.append((energy, noise))
        norms = math.sqrt(energy) * float(np.linalg.norm(b))
        if a.size > 1 and energy > 0:
            self.cosines.append(float((a * b).sum()) / norms if norms > 0 else 0.0)
        self.values += a.size
        self.absolute_sum += float(error.sum())
        self.max_abs = max(self.max_abs, float(error.max(initial=0.0)))
        if a.size == 0:
            return
        self.whole.add(a.reshape(1, -1), b.reshape(1, -1))
        for axis in self.axes.values():
            axis.add(a, b)
        if self.choices is not None:
            self.choices.add(a, b)
            if a.ndim == 4 and self.choices.largest_sum_error > SUM_TOLERANCE:
                self.choices = None  # a feature map, not a choice of class for every pixel
        if not self.evidence.within_unit:
            self.thresholds = None
        if self.thresholds is not None:
            self.thresholds.add(a, b)

    def result(self, lsb: float | None, state: bool) -> OutputComparison:
        kind = detect_kind(self.evidence, self.choices, self.thresholds, state)
        energy, noise = sum(e for e, _ in self.samples), sum(n for _, n in self.samples)
        channels = self._channels(kind)
        sqnr = None if channels is None else channels.sqnr()
        parts = channels.slices() if channels is not None and kind == "features" else []
        judged = np.zeros(0, bool) if channels is None else channels.judged(parts)
        flips = self._flips(kind)
        sequences = self.choices.sequences() if kind == "classes" and self.choices is not None else None
        rows = np.array(self.cosines) if channels is None or not self.evidence.has_rows else channels.cosines()
        worst: tuple[tuple[int, float], ...] = ()
        p05 = dead = channel_nsr = None
        if channels is not None and sqnr is not None and judged.any():
            order = [int(i) for i in np.argsort(sqnr, kind="stable") if judged[i]]
            worst = tuple((i, float(sqnr[i])) for i in order[:5])
            p05 = float(np.percentile(sqnr[judged], 5))
            dead = float((sqnr[judged] < DEAD_DB).mean())
            ratio = channels.noise[judged] / np.maximum(channels.energy[judged], 1e-300)
            channel_nsr = float(np.minimum(ratio, 1.0).mean())
        dice = self.thresholds.dice if kind == "map" and self.thresholds is not None else []
        mean_abs = self.absolute_sum / max(self.values, 1)
        rare = self.labels.rare() if kind == "integer" and self.labels is not None else None
        return OutputComparison(
            name=self.name,
            kind=kind,
            steps=len(self.samples),
            degenerate=degenerate_reason(self.evidence, kind, self.choices, self.thresholds),
            finite=self.finite,
            sqnr_db=decibels(energy, noise),
            sqnr_centred_db=(channels or self.whole).pooled_sqnr(),
            nsr=self._nsr(),
            channel_nsr=channel_nsr,
            cosine=float(rows.mean()) if rows.size else None,
            cosine_p01=float(np.percentile(rows, 1)) if rows.size else None,
            max_abs=self.max_abs,
            mean_abs=mean_abs,
            top1_agreement=flips.agreement if flips else None,
            confident_flips=flips.rate if flips else None,
            flips=flips.flips if flips else None,
            decisions=flips.confident if flips else None,
            channel_axis=channels.axis if channels else None,
            channels=len(channels.energy) if channels else None,
            silent_channels=int((~judged).sum()) if channels else None,
            channel_sqnr_p05_db=p05,
            dead_channels=dead,
            worst_channels=worst,
            dice_mean=float(np.mean(dice)) if dice else None,
            dice_worst=float(min(dice)) if dice else None,
            max_lsb=self.max_abs / lsb if lsb else None,
            mean_lsb=mean_abs / lsb if lsb else None,
            exact_share=self.equal / max(self.values, 1) if kind == "integer" else None,
            rare=rare[1] if rare else None,
            rare_share=1 - rare[0] / rare[1] if rare and rare[1] else None,
            expected_flips=self._expected_flips(kind),
            sequences=sequences.compared if sequences else None,
            changed_sequences=sequences.changed if sequences else None,
            slices=() if channels is None else tuple(_slice(channels, part) for part in parts),
            notes=self.evidence.notes(kind, self.choices, self.thresholds),
        )

    def _channels(self, kind: Kind) -> AxisStatistics | None:
        if kind == "integer" or not self.axes:
            return None
        axes = list(self.axes.values())
        if kind == "classes" and self.choices is not None:
            return self.axes.get(self.choices.axis, axes[0])
        return max(axes, key=lambda axis: axis.spread())

    def _flips(self, kind: Kind) -> Flips | None:
        if kind == "classes" and self.choices is not None and self.choices.decisions:
            return self.choices.flips()
        if kind in ("map", "probability") and self.thresholds is not None and self.thresholds.values:
            return self.thresholds.flips()
        return None

    def _expected_flips(self, kind: Kind) -> float | None:
        if kind != "classes" or self.choices is None:
            return None
        sums = self.evidence.within_unit and self.choices.largest_sum_error <= SUM_TOLERANCE
        return self.choices.expected_flips(probabilities=sums)

    def _nsr(self) -> float:
        """Noise over signal, the mean over steps, each clipped to 1 so that no single step can dominate.

        A step's signal is taken as at least a tenth of the mean step's: near-silent steps are not all noise.
        """
        if not self.samples:
            return 0.0
        typical = sum(energy for energy, _ in self.samples) / len(self.samples)
        if typical <= 0:
            return float(any(noise > 0 for _, noise in self.samples))
        return sum(min(1.0, noise / max(energy, typical / 10)) for energy, noise in self.samples) / len(self.samples)


def _slice(channels: AxisStatistics, part: np.ndarray) -> Slice:
    scores = channels.reads_like_scores(part)
    return Slice(
        channels=_ranges(part.tolist()),
        largest=float(np.maximum(np.abs(channels.minimum[part]), np.abs(channels.maximum[part])).max()),
        sqnr_centred_db=channels.pooled_sqnr_of(part),
        flips=int(channels.flipped[part].sum()) if scores else None,
        decisions=int(channels.clear_yes[part].sum()) if scores else None,
    )


def _ranges(indices: Sequence[int]) -> str:
    """[0, 1, 2, 5] as "0-2, 5"; long lists are cut."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:_RUNS]]
    return ", ".join(shown) + (" and others" if len(runs) > _RUNS else "")


_RUNS = 6  # ranges of channels that are written out


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else math.copysign(CAP_DB, value)
    if isinstance(value, tuple | list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
