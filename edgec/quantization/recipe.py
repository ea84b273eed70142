"""A recipe: how a model is quantized, in a few words that carry over to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgec.digest import digest_of
from edgec.quantization.profiles import Profile
from edgec.quantization.ranges import Method

Rounding = Literal["nearest", "gptq"]


@dataclass(frozen=True)
class Recipe:
    """How a model is quantized.

    method: how ranges are taken from histograms. clip: cut ranges where every reader saturates.
    bias_correction: let biases make up for the mean shift of rounded weights.
    rounding: of weights, to the nearest step each, or so that the errors of a layer's outputs cancel (GPTQ).
    rescale: exponent of the per-channel factors that move from activations into the next weights; None: none do.
    ranges: (tensor, method) for tensors whose range is taken in another way, in the order of their names.
    int16: tensors with 16 bits; all that share a scale with them have as many. keep_float: nodes to leave alone.
    """

    profile: Profile
    method: Method = "minmax"
    clip: bool = True
    bias_correction: bool = True
    rounding: Rounding = "nearest"
    rescale: float | None = None
    ranges: tuple[tuple[str, Method], ...] = ()
    int16: frozenset[str] = frozenset()
    keep_float: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Plain data, the same for equal recipes."""
        return {
            "profile": self.profile,
            "method": self.method,
            "clip": self.clip,
            "bias_correction": self.bias_correction,
            "rounding": self.rounding,
            "rescale": self.rescale,
            "ranges": dict(self.ranges),
            "int16": sorted(self.int16),
            "keep_float": sorted(self.keep_float),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Recipe:
        """The reverse of `to_json`."""
        fields = dict(document)
        fields["ranges"] = tuple(sorted(fields["ranges"].items()))
        fields["int16"] = frozenset(fields["int16"])
        fields["keep_float"] = frozenset(fields["keep_float"])
        return cls(**fields)

    @property
    def digest(self) -> str:
        """What a recipe is known by."""
        return digest_of(self.to_json())
