"""The user's metric of what a build has made, and whether it fell too far.

Where the payload was executed on some of the samples only, its own value on so few says little: of 31 answers one more
or less is three points. So the drop is that of its quantized reference, on all samples, and besides what the payload
loses against that reference on the samples that both ran on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import UsageError
from edgec.metric.measure import ROUNDING, Measure, Run

FEW = 100
"""With fewer executed samples than this, one of them alone may cost what it costs: one accident is no rate."""


@dataclass(frozen=True)
class Executed:
    """Where the payload ran: positions among the metric's samples, and what gives its outputs there, one a sample."""

    positions: Sequence[int]
    outputs: Callable[[], Sequence[Any]]


@dataclass(frozen=True)
class Measured:
    """document: as in parity.json. complaints: why the metric refuses what was made. warnings: what it lets pass."""

    document: dict[str, Any]
    complaints: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def measured(measure: Measure, reference: Run | None, executed: Executed | None) -> Measured:
    """The metric of the quantized `reference` and of the payload; None for what there is not, or was not executed."""
    fake = None if reference is None else measure.outputs(reference)
    before = None if fake is None else measure.value(fake)
    if executed is not None and len(executed.positions) == len(measure):
        after = measure.value(executed.outputs())
        document = _document(measure, reference=before, artifact=after, drop=measure.drop(after))
        return Measured(document, measure.complaints(after))
    complaints = () if before is None else measure.complaints(before)
    quantization = None if before is None else measure.drop(before)
    document = _document(measure, reference=before, drop=quantization)
    if executed is None:
        return Measured(document, complaints)
    part = measure.some(executed.positions)
    try:
        originals = part.original_outputs()
        original = part.value(originals)
    except UsageError as error:  # of all samples it could be taken before
        text = f"can't be taken of the {len(part)} samples that the artifact was executed on: {error.what}"
        return Measured(document, complaints, (f"the metric {measure.request.name} {text}",))
    known = originals if fake is None else [fake[position] for position in executed.positions]
    theirs = list(executed.outputs())
    base, artifact = part.value(known), part.value(theirs)
    lowering = max(0.0, base - artifact)  # what so few samples seem to win, they win by chance
    document["drop"] = (quantization or 0.0) + lowering
    document["executed"] = {
        "samples": len(part),
        "original": original,
        "reference": None if fake is None else base,
        "artifact": artifact,
    }
    limit = measure.request.max_drop
    if complaints or limit is None or document["drop"] <= limit + ROUNDING:
        return Measured(document, complaints)
    text = (
        f"the metric {measure.request.name} is {base:.6g} for the reference and {artifact:.6g} for the artifact on the "
        f"{len(part)} samples that it was executed on; with what the reference loses on all {len(measure)} samples it "
        f"falls by {document['drop']:.4g} (at most {limit:g})"
    )
    least = document["drop"] - lowering
    if len(part) < FEW and any(
        least + max(0.0, base - part.value(_swapped(theirs, known, position))) <= limit + ROUNDING
        for position in range(len(part))
    ):
        return Measured(document, (), (f"{text}; one sample alone makes the difference, so it is let pass",))
    return Measured(document, (text,))


def _swapped(theirs: Sequence[Any], known: Sequence[Any], position: int) -> list[Any]:
    """The outputs with those of one sample from the other side."""
    return [*theirs[:position], known[position], *theirs[position + 1 :]]


def _document(
    measure: Measure, *, reference: float | None = None, artifact: float | None = None, drop: float | None = None
) -> dict[str, Any]:
    """The metric in parity.json. artifact: on all samples; what it is on some is entered under "executed"."""
    return {
        "name": measure.request.name,
        "original": measure.original,
        "reference": reference,
        "artifact": artifact,
        "drop": drop,
        "max_drop": measure.request.max_drop,
        "samples": len(measure),
        "executed": None,
        "labels": measure.request.labels_name,
        "evaluation": "own" if measure.request.evaluation is not None else "held out",
    }
