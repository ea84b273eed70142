"""The causes that a loss can have, by name, and what helps against each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cause:
    """id: stable, for programs. title: two or three words. remedy: what helps; {node} is the layer's name."""

    id: str
    title: str
    remedy: str


CAUSES: dict[str, Cause] = {
    cause.id: cause
    for cause in (
        Cause(
            "decomposed-normalization",
            "decomposed normalization",
            "Keep its arithmetic in float: --force normalizations-in-float, or --profile islands.",
        ),
        Cause(
            "decomposed-activation",
            "decomposed activation",
            "Export the activation as one operator, or keep its parts in float: --profile islands.",
        ),
        Cause(
            "mask-constant",
            "mask constant",
            "Write a smaller constant into the model (-30 masks as well before a Softmax), or keep the layer in float: "
            "--keep-float {node}.",
        ),
        Cause(
            "tied-ranges",
            "tied ranges",
            "Keep the node in float: --keep-float {node}; or take its inputs as outputs of their own.",
        ),
        Cause(
            "outlier-channel",
            "outlier channel",
            "Divide the channels to even sizes: --force rescale; or --keep-float {node}.",
        ),
        Cause(
            "bias-overflow",
            "overflowing bias",
            "Keep the layer in float: --keep-float {node}; and look at why its bias is so large.",
        ),
        Cause(
            "near-dead-channels",
            "near-dead channels",
            "Prune these channels from the model, or keep the layer in float: --keep-float {node}.",
        ),
        Cause(
            "saturation",
            "values beyond the range",
            "Calibrate on data that reaches as far as real use (more samples, or more varied ones); "
            "--force range-method chooses ranges that cut less.",
        ),
        Cause(
            "long-tail",
            "a long tail",
            "Cut the tail off: --force range-method, or --force tensor-ranges.",
        ),
        Cause("little-data", "too little data", "Calibrate on more samples: --calib with 100 to 500 of them."),
        Cause(
            "weight-rounding",
            "rounded weights",
            "Round weights with regard to each other: --force gptq and --force bias-correction; "
            "or --keep-float {node}.",
        ),
        Cause(
            "activation-rounding",
            "rounded activations",
            "--force rescale, or leave the layer in float: --keep-float {node}.",
        ),
        Cause("spread", "many small errors", "--force gptq, --force rescale or --profile islands lower all of them."),
        Cause(
            "data-mismatch",
            "other data than calibration's",
            "Calibrate on data like that which is judged, prepared by the same recipe (--calib, --preprocess).",
        ),
        Cause(
            "degenerate-data",
            "data that proves nothing",
            "Give data on which the original model does something: samples like those of real use.",
        ),
        Cause("other-model", "another model", "Give the model that the artifact was built from: --model."),
        Cause(
            "other-preprocessing",
            "another preprocessing",
            "Leave --preprocess out: the artifact carries its own recipe.",
        ),
        Cause(
            "other-build",
            "another build",
            "Give the data and the flags that the artifact was built with; or build it again with these.",
        ),
        Cause("lowering", "lowering", "Try another --backend or --target, and please report the model."),
    )
}


@dataclass(frozen=True)
class Finding:
    """A cause at a layer. node: None where it concerns the whole model. evidence: the numbers behind the sentence."""

    cause: str
    node: str | None
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def remedy(self) -> str:
        return CAUSES[self.cause].remedy.format(node=self.node)

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "title": CAUSES[self.cause].title,
            "node": self.node,
            "sentence": self.sentence,
            "remedy": self.remedy,
            "evidence": dict(self.evidence),
        }
