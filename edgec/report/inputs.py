"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class ReportInputs:
    """The documents that the stages of one build left; None for a stage that was not reached.

    model: path, sha256, macs, parameters and, if known, bytes. build: one entry of `builds` of the --json document.
    ingest, contract, simplify, canonicalize, inputs, quantize, compress, lower, parity, latency: the stage's JSON of
        that name.
    contact_sheet: a PNG of what the model saw. recipe: the preprocessing recipe. target: the target's fields.
    choice: what became of each backend, where several were tried. analysis: what the model is like (docs/inspect.md).
    cost: what an inference costs, of a target with prices (`edgec.cost.cost_document`).
    """

    model: Document
    build: Document
    target: Document
    ingest: Document | None = None
    contract: Document | None = None
    simplify: Document | None = None
    canonicalize: Document | None = None
    inputs: Document | None = None
    contact_sheet: bytes | None = None
    quantize: Document | None = None
    compress: Document | None = None
    lower: Document | None = None
    parity: Document | None = None
    latency: Document | None = None
    recipe: Document | None = None
    choice: Document | None = None
    analysis: Document | None = None
    cost: Document | None = None
