"""How each cause of a layer's loss shows, in the facts about it: what the graph says, what its tensors hold, what was
measured. Both a build's weakest layers and `edgec diagnose` look here for a cause; `findings` has the table of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgec.diagnosis.findings import Finding

OUTLIER = 15.0
"""One channel this many times wider than the median leaves the others with 17 of 256 steps."""

NEAR_DEAD = 1e-4
MASK = -1e3
FEW_STEPS = 24
LITTLE_DATA = 5000
SPARSE = 30.0
UNLIKE = 10.0
CLIPPED = 1e-3
BEYOND = 0.05
"""What lies outside by less than this share of the range is cut by a few steps only, and hardly missed."""

ALIVE = 1e-6
"""Channels whose values never exceed this share of the widest one's are dead: their range says nothing."""

CLEAR = 3.0
"""Decibels by which one part of an error must be worse than another to be called the reason."""


@dataclass(frozen=True)
class TensorFacts:
    """What is known of one tensor.

    spread: root of the mean square. peaks: largest magnitude of each channel. count: elements that the range was
    learned from; steps: runs. clipped: share of the judged values beyond the grid, None when not measured; beyond: how
    far the farthest one lies outside, as a share of the grid's width.
    """

    name: str
    minimum: float
    maximum: float
    spread: float = 0.0
    peaks: np.ndarray | None = None
    count: int = 0
    steps: int = 0
    clipped: float | None = None
    beyond: float = 0.0


@dataclass(frozen=True)
class Parts:
    """What is left, in dB, when only one part of a layer is rounded: its constants, what it reads, what it writes."""

    weights_db: float | None = None
    inputs_db: float | None = None
    output_db: float | None = None


@dataclass(frozen=True)
class LayerFacts:
    """What is known of one layer.

    normalization: the node that squares, where the layer is a part of a normalization in single steps.
    activation: the name of the activation that it is a part of.
    joined: (node, ratio, wide tensor, narrow tensor) of a Concat that gives one scale to unlike ranges.
    weights: float32 with output channels first; dead: output channels that hold more noise than signal.
    saturated_biases: how many biases stand at the limit of int32. measured: `dead` and `clipped` were looked for.
    """

    node: str
    op: str
    tensors: tuple[TensorFacts, ...]
    normalization: str | None = None
    activation: str | None = None
    joined: tuple[str, float, str, str] | None = None
    weights: np.ndarray | None = None
    depthwise: bool = False
    dead: tuple[int, ...] = ()
    saturated_biases: int = 0
    measured: bool = False
    parts: Parts = Parts()


def find(facts: LayerFacts) -> Finding:
    """The most telling cause of a layer's loss: a property that explains it, or else the part that it is lost in."""
    for look in _BY_PROPERTY:
        if (finding := look(facts)) is not None:
            return finding
    return _by_part(facts)


def _normalization(facts: LayerFacts) -> Finding | None:
    """Squares of activations span twice the decades that the activations do."""
    if facts.normalization is None:
        return None
    text = "it squares its input, as in a decomposed LayerNorm: variances do not fit into 256 even steps"
    if facts.normalization != facts.node:
        text = (
            f"it is a step of a decomposed LayerNorm around the square {facts.normalization!r}: variances do not fit "
            "into 256 even steps"
        )
    return Finding("decomposed-normalization", facts.normalization, text)


def _activation(facts: LayerFacts) -> Finding | None:
    if facts.activation is None:
        return None
    return Finding(
        "decomposed-activation",
        facts.node,
        f"it is one step of a decomposed {facts.activation}: each step is rounded, where one operator rounds once",
    )


def _mask(facts: LayerFacts) -> Finding | None:
    for item in facts.tensors:
        if item.minimum < MASK and item.maximum < -item.minimum / 10:
            return Finding(
                "mask-constant",
                facts.node,
                f"a mask constant ({item.minimum:.3g}) shares the tensor {item.name!r} with values of ordinary size, "
                "and leaves them a step or two",
                {"tensor": item.name, "minimum": item.minimum, "maximum": item.maximum},
            )
    return None


def _tied(facts: LayerFacts) -> Finding | None:
    if facts.joined is None or facts.joined[1] <= UNLIKE:
        return None
    node, ratio, wide, narrow = facts.joined
    return Finding(
        "tied-ranges",
        node,
        f"the Concat {node!r} forces one scale on inputs of unlike ranges: {wide!r} is {_times(ratio)} as wide as "
        f"{narrow!r}",
        {"ratio": ratio, "wide": wide, "narrow": narrow},
    )


def _saturated_bias(facts: LayerFacts) -> Finding | None:
    if not facts.saturated_biases:
        return None
    return Finding(
        "bias-overflow",
        facts.node,
        f"{facts.saturated_biases} of its biases do not fit into 32 bits at its scales: it computes wrong sums",
        {"biases": facts.saturated_biases},
    )


def _near_dead(facts: LayerFacts) -> Finding | None:
    if facts.weights is None:
        return None
    largest = np.abs(facts.weights.reshape(len(facts.weights), -1)).max(axis=1, initial=0.0)
    tiny = set(np.flatnonzero(largest < NEAR_DEAD * largest.max(initial=0.0)).tolist())
    lost = sorted(tiny & set(facts.dead)) if facts.dead else []
    if not tiny or (facts.measured and not lost):
        return None
    shown = lost or sorted(tiny)
    return Finding(
        "near-dead-channels",
        facts.node,
        f"{len(shown)} of {len(largest)} output channels have next to no weights beside a bias, and hold more noise "
        "than signal once they are rounded"
        if lost
        else f"{len(shown)} of {len(largest)} output channels have next to no weights",
        {"channels": shown[:16]},
    )


def _saturation(facts: LayerFacts) -> Finding | None:
    measured = [item for item in facts.tensors if (item.clipped or 0.0) > CLIPPED and item.beyond > BEYOND]
    worst = max(measured, key=lambda item: item.clipped or 0.0, default=None)
    if worst is None or worst.clipped is None:
        return None
    return Finding(
        "saturation",
        facts.node,
        f"{_percent(worst.clipped)} of the values of {worst.name!r} lie beyond the range that it was given: they are "
        "cut off",
        {"tensor": worst.name, "clipped_share": worst.clipped, "minimum": worst.minimum, "maximum": worst.maximum},
    )


def _outlier(facts: LayerFacts) -> Finding | None:
    worst: tuple[float, int, str] | None = None
    for item in facts.tensors:
        if item.peaks is None:
            continue
        alive = item.peaks[item.peaks > ALIVE * item.peaks.max(initial=0.0)]
        if len(alive) < 4:
            continue
        ratio = float(alive.max() / np.median(alive))
        if ratio > OUTLIER and (worst is None or ratio > worst[0]):
            worst = ratio, int(item.peaks.argmax()), item.name
    if worst is None:
        return None
    return Finding(
        "outlier-channel",
        facts.node,
        f"channel {worst[1]} of {worst[2]!r} reaches {_times(worst[0])} the range of the median channel",
        {"tensor": worst[2], "channel": worst[1], "ratio": worst[0]},
    )


def _long_tail(facts: LayerFacts) -> Finding | None:
    for item in facts.tensors:
        peak = max(abs(item.minimum), abs(item.maximum))
        if item.spread > 0 and peak > SPARSE * item.spread:
            return Finding(
                "long-tail",
                facts.node,
                f"a few values of {item.name!r} reach {peak / item.spread:.0f} times its standard deviation",
                {"tensor": item.name, "ratio": peak / item.spread},
            )
    return None


def _little_data(facts: LayerFacts) -> Finding | None:
    for item in facts.tensors:
        if 0 < item.steps < FEW_STEPS and item.count < LITTLE_DATA and item.clipped != 0:
            return Finding(
                "little-data",
                facts.node,
                f"its range was taken from {item.count} values of {item.name!r} only: more calibration data may help",
                {"tensor": item.name, "values": item.count},
            )
    return None


_BY_PROPERTY: tuple[Callable[[LayerFacts], Finding | None], ...] = (
    _normalization,
    _mask,
    _saturated_bias,
    _little_data,
    _saturation,
    _tied,
    _near_dead,
    _outlier,
    _activation,
    _long_tail,
)


def _by_part(facts: LayerFacts) -> Finding:
    parts = facts.parts
    weights, activations = parts.weights_db, _least(parts.inputs_db, parts.output_db)
    known = {key: value for key, value in vars(parts).items() if value is not None}
    if weights is not None and (activations is None or weights < activations - CLEAR):
        depthwise = (
            " (it convolves each channel by itself, so no sum evens its rounding out)" if facts.depthwise else ""
        )
        text = f"the rounding of its weights costs the most: {weights:.1f} dB with nothing else rounded{depthwise}"
        return Finding("weight-rounding", facts.node, text, known)
    if activations is None:
        text = "the step of its grid is coarse beside what its readers make of it"
        return Finding("activation-rounding", facts.node, text, known)
    where = "what it reads" if activations == parts.inputs_db else "its output"
    if weights is not None and activations > weights - CLEAR:
        text = (
            f"its weights ({weights:.1f} dB) and {where} ({activations:.1f} dB) cost about the same when rounded alone"
        )
        return Finding("weight-rounding" if weights <= activations else "activation-rounding", facts.node, text, known)
    text = f"the rounding of {where} costs the most: {activations:.1f} dB with nothing else rounded"
    return Finding("activation-rounding", facts.node, text, known)


def _least(*values: float | None) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio < 1000 else "more than 1000 times"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
