"""Each element for itself."""

from __future__ import annotations

from edgec.backends.tvm.support.question import EIGHT_BITS, Question, objection
from edgec.ir import kinds


@objection.register
def _(kind: kinds.Binary, asked: Question) -> str | None:
    a, b = asked.inputs
    same = kind.function == "add" and a.shape == b.shape and b.dtype in EIGHT_BITS
    constant = any(asked.graph.values[name].is_constant for name in asked.operation.inputs)
    return None if same and not constant else "there is a kernel for sums of two values of one shape only"
