"""Each element for itself: tables of functions of one integer, arithmetic of two, and integers on another grid."""

from __future__ import annotations

from edgec.backends.tvm.support.question import EIGHT_BITS, Question, objection
from edgec.ir import kinds
from edgec.ir.kinds import Kind


@objection.register(kinds.Unary)
@objection.register(kinds.HardSigmoid)
@objection.register(kinds.LeakyRelu)
@objection.register(kinds.Clip)
@objection.register(kinds.Binary)
@objection.register(kinds.PRelu)
@objection.register(kinds.Quantize)
def _(kind: Kind, asked: Question) -> str | None:
    for of in asked.inputs:
        if of.dtype not in EIGHT_BITS:
            return f"an operand is {of.dtype}"
        if of.quantization is None or of.quantization.axis is not None:
            return "an operand has a scale for each channel"
    return None
