"""Pooling, reductions, resizing."""

from __future__ import annotations

from edgec.backends.tvm.support.question import Question, objection
from edgec.ir import kinds
from edgec.ir.passes.integer_kinds import same_grid


@objection.register
def _(kind: kinds.MaxPool2D, asked: Question) -> str | None:
    return None if same_grid(asked.inputs[0], asked.output) else "its result is on another grid"


@objection.register
def _(kind: kinds.Reduce, asked: Question) -> str | None:
    whole = kind.function == "mean" and kind.axes == (1, 2) and asked.inputs[0].rank == 4
    return None if whole else "there is a kernel for means of whole images only"
