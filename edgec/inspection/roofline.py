"""The roofline of a processor, and where layers lie below it.

A layer takes at least its multiply-accumulates at the processor's peak, and at least its bytes through the memory;
what is longer bounds it (Williams, Waterman and Patterson: Roofline, CACM 52(4), 2009). It is a bound, not a
prediction: tensors that stay in a cache are faster than the memory, and no kernel reaches the peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgec.inspection.layers import Bytes, Layer

Bound = Literal["compute", "memory"]


@dataclass(frozen=True)
class Roofline:
    """threads: that the peaks are of; 0: as many as the engine takes. The rest as in `edgec.targets.Performance`."""

    source: str
    threads: int
    float32_gmacs: float
    int8_gmacs: float
    memory_gb_per_s: float

    def seconds(self, layer: Layer, *, int8: bool) -> tuple[float, Bound] | None:
        """The least time that a layer can take, and what bounds it; None where nothing is computed or moved."""
        if layer.bytes is None:
            return None
        compute = layer.macs / ((self.int8_gmacs if int8 else self.float32_gmacs) * 1e9)
        memory = (layer.bytes.int8 if int8 else layer.bytes.float32) / (self.memory_gb_per_s * 1e9)
        if not max(compute, memory):
            return None
        return (compute, "compute") if compute >= memory else (memory, "memory")

    def int8_gain(self, layer: Layer) -> float | None:
        """How many times as fast as float32 a layer can be in INT8, each at its own roof."""
        floats, integers = self.seconds(layer, int8=False), self.seconds(layer, int8=True)
        return None if floats is None or integers is None else floats[0] / integers[0]


def amdahl(weights: Sequence[float], gains: Sequence[float | None]) -> float | None:
    """How many times as fast the whole can be: the sum of the parts over the sum of the parts over their gains.

    weights: what the parts take now. gains: None for a part that stays as it is.
    """
    before = sum(weights)
    after = sum(weight / (gain or 1.0) for weight, gain in zip(weights, gains, strict=True))
    return before / after if after else None


def whole_gain(
    layers: Sequence[Layer], roofline: Roofline, milliseconds: Mapping[str, float] | None, floats: set[str]
) -> float | None:
    """How many times as fast the model can be in INT8 at most, in an engine that fuses what can be fused.

    Layers are weighted by their measured time, or, where nothing was measured, by their time at the roof. floats: nodes
    that stay in float32. What neither computes nor moves anything, since it is part of the node before, weighs nothing:
    where the engine that was measured did not fuse it, its time is that engine's, and no part of what INT8 leaves.
    """
    gains = [None if layer.node in floats else roofline.int8_gain(layer) for layer in layers]
    if milliseconds is not None:
        measured = [0.0 if layer.bytes == Bytes() else milliseconds.get(layer.node, 0.0) for layer in layers]
        if any(measured):
            return amdahl(measured, gains)
    return amdahl([(roofline.seconds(layer, int8=False) or (0.0, ""))[0] for layer in layers], gains)
